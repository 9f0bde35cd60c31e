"""Core types, message normalisation, the Qwen output parser and the pipeline that ties them to the engine."""
