"""Load, made and measured: on a daemon (`open_loop`) and on a simulated engine (`simulation`)."""
