"""A discrete-event simulator of an engine under load, with the daemon's own admission policy in front of it."""
