"""Recorded load in the formats that are public: Azure's LLM inference trace, Mooncake's, and ShareGPT's conversations.

The real files are not part of this package; `samples/` has a made-up one of each shape. None says who sent what.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent / "samples"
# Each of Mooncake's hash ids stands for so many tokens.
MOONCAKE_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded request: seconds from the first one, tokens in and out, ids of its prompt's blocks."""

    at: float
    prompt: int
    output: int
    blocks: Sequence[int] = ()


def azure(path: Path, most: int | None = None) -> Iterator[Row]:
    """TIMESTAMP, ContextTokens, GeneratedTokens; the first is at 0. Raises ValueError for another shape."""
    with path.open(encoding="utf-8", newline="") as lines:
        start = None
        reader = csv.DictReader(lines)
        missing = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path.name} is no Azure trace: it has no column {', '.join(sorted(missing))}")
        for row in itertools.islice(reader, most):
            # Seven digits of a second are one more than Python reads.
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
            start = at if start is None else start
            yield Row(at - start, max(int(row["ContextTokens"]), 1), max(int(row["GeneratedTokens"]), 1))


def mooncake(path: Path, most: int | None = None) -> Iterator[Row]:
    """JSON lines: timestamp in ms, input_length, output_length, hash_ids of its blocks of 512 tokens.

    Raises ValueError for another shape.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(itertools.islice(lines, most), 1):
            try:
                row = json.loads(line)
                prompt, output = max(row["input_length"], 1), max(row["output_length"], 1)
                yield Row(row["timestamp"] / 1000, prompt, output, tuple(row.get("hash_ids", ())))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path.name} is no Mooncake trace: line {number}: {error!r}") from None


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a person said first, and how many words the answer had."""

    prompt: str
    answer_words: int


def sharegpt(path: Path, most: int | None = None) -> list[Conversation]:
    """The first exchange of each conversation of a list of {conversations: [{from, value}, ...]}.

    Raises ValueError for another shape, or when no conversation begins with a person who gets an answer.
    """
    try:
        everything: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        found = []
        for entry in everything:
            turns = entry.get("conversations") or entry.get("conversation") or []
            if len(turns) < 2 or turns[0]["from"] not in ("human", "user") or not turns[0]["value"].strip():
                continue
            found.append(Conversation(turns[0]["value"], max(1, len(turns[1]["value"].split()))))
            if most is not None and len(found) >= most:
                break
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is no ShareGPT file: {error!r}") from None
    if not found:
        raise ValueError(f"{path.name} has no conversation that begins with a person and an answer")
    return found
