"""qwend: an OpenAI-compatible serving daemon for Qwen3.5 on an embedded vLLM engine."""

__version__ = "0.1.0"
