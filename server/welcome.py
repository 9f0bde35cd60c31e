"""What `qwend serve` prints when it is ready: something to try at once."""

from __future__ import annotations


def welcome(host: str, port: int, model: str) -> str:
    """A few lines for a terminal, with a command that works as it stands."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    url = f"http://{shown}:{port}/v1"
    return f"""
  qwend serves {model} at {url}

  curl {url}/chat/completions -H 'content-type: application/json' -d '{{
    "model": "{model}",
    "messages": [{{"role": "user", "content": "My name is Ada. Say hello."}}]}}'

  Add "stream": true for a stream, "enable_thinking": false for an answer without thinking.
  Health: http://{shown}:{port}/health   Metrics: http://{shown}:{port}/metrics   API: http://{shown}:{port}/docs
  Ctrl-C ends it.
"""
