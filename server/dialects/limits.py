"""Bounds that parsing enforces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Most messages and tools in one request."""

    messages: int
    tools: int
