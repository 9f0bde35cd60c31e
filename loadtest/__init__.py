"""Load, made and measured: on any OpenAI-compatible server (`qwend-loadtest`) and on a simulated engine (`simulation`).

Nothing here but `simulation` imports the daemon: what measures a server must not depend on it.
"""
