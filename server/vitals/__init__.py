"""Whether the engine goes on: its heartbeat, and what the probes say of it."""
