"""Pure functions between wire JSON and core types, one file per dialect. No I/O."""
