"""Open-loop load, scenarios and their reports."""
