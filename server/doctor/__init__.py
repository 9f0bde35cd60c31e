"""A look at a machine before a start: `gathering` gets facts, and the rest judges them by functions of facts alone."""
