"""Bounds that parsing enforces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Most messages and tools in one request, and the largest schema or grammar for its answer, in bytes of JSON."""

    messages: int
    tools: int
    schema_bytes: int
