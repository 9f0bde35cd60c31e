"""A grammar is tried on bytes before the engine meets it: one that is slow to follow would hold up all sequences there.

xgrammar follows a grammar with a parser that keeps all readings of the text so far. Where the text can be read in many
ways, such as `(.*)*` many times over, each further character costs more than the one before, without end and on the
engine's own thread. No rule tells such grammars apart for sure, so each is walked for a while: texts that it allows,
most of them long runs of one character, since runs are where readings multiply.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from server.generation.errors import InvalidRequest

# Seconds of one thread's own time for building and walking; what people write takes a hundredth of it.
_MOST_SECONDS = 0.5
_WALKS = 6
_WALK_BYTES = 800
# Every walk, and every this many of its steps, start and choose anew.
_RUN_BYTES = 400
_END = 256
# A property that may be left out leads to all that may follow it, so building grows faster than their square.
_MOST_OPTIONAL = 500


def try_grammar(build: Callable[[Any], Any], *, walks: int = _WALKS) -> None:
    """Builds a grammar with xgrammar's compiler for bytes and walks it.

    Takes up to about half a second, so call it in a thread; xgrammar holds no lock of the interpreter's meanwhile.
    Raises InvalidRequest where it is too costly or allows no text at all, and whatever the compiler raises.
    """
    from xgrammar import GrammarCompiler

    began = time.thread_time()
    compiled = build(GrammarCompiler(_byte_tokens(), max_threads=1, cache_enabled=False))
    deadline = began + _MOST_SECONDS
    for seed in range(walks):
        _walk(compiled, random.Random(seed), deadline)


def bound_options(schemas: Iterable[Any]) -> None:
    """Raises InvalidRequest where schemas have so many optional properties that building them would take seconds."""
    cost = 0
    left = list(schemas)
    while left:
        value = left.pop()
        if isinstance(value, dict):
            properties, required = value.get("properties"), value.get("required")
            if isinstance(properties, dict):
                named = required if isinstance(required, list) else ()
                cost += max(0, len(properties) - len(named)) ** 2
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    if cost > _MOST_OPTIONAL**2:
        raise too_complex(f"has too many optional properties; {_MOST_OPTIONAL} in one object are the most")


def too_complex(why: str) -> InvalidRequest:
    """The refusal of a grammar that would cost others their speed."""
    return InvalidRequest(f"What binds the answer {why}.", code="too_complex")


def _walk(compiled: Any, chance: random.Random, deadline: float) -> None:
    from xgrammar import GrammarMatcher, allocate_token_bitmask

    matcher = GrammarMatcher(compiled, terminate_without_stop_token=False)
    mask = allocate_token_bitmask(1, _END + 1)
    last, run = -1, 0
    for step in range(_WALK_BYTES):
        if time.thread_time() > deadline:
            raise too_complex("takes too long to follow")
        if last >= 0 and run < _RUN_BYTES and matcher.accept_token(last):
            run += 1
            continue
        matcher.fill_next_token_bitmask(mask)
        allowed = _bytes_in(mask)
        if not allowed:
            if step == 0 and not mask.any():
                raise InvalidRequest("What binds the answer allows no text at all.")
            return
        last, run = _choice(allowed, chance), 0
        if not matcher.accept_token(last):
            return


def _choice(allowed: list[int], chance: random.Random) -> int:
    """A letter or digit mostly: other characters end a string or open something new."""
    words = [byte for byte in allowed if chr(byte).isalnum() and byte < 128]
    return chance.choice(words if words and chance.random() < 0.8 else allowed)


def _bytes_in(mask: Any) -> list[int]:
    words = [word & 0xFFFFFFFF for word in mask[0].tolist()]
    return [byte for byte in range(_END) if words[byte >> 5] >> (byte & 31) & 1]


@cache
def _byte_tokens() -> Any:
    from xgrammar import TokenizerInfo, VocabType

    vocabulary = [bytes([byte]) for byte in range(256)]
    return TokenizerInfo([*vocabulary, b"<end>"], vocab_type=VocabType.RAW, stop_token_ids=[_END])
