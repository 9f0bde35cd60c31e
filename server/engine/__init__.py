"""The only room that imports vllm, torch or transformers."""
