"""Who may run, when, and what a refusal says."""
