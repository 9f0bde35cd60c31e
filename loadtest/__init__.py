"""Load on the daemon, made and measured: against a simulated engine (`simulation`)."""
