"""vLLM's log probabilities as the core tells them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from server.generation.ports import TokenLogprob

# JSON has no minus infinity; this is what OpenAI's API says in its place.
_LEAST = -9999.0


def token_logprobs(completion: Any, tokenizer: Any, count: int) -> Sequence[TokenLogprob]:
    """One entry for each token of a vLLM CompletionOutput, with the `count` likeliest tokens at its place.

    vLLM tells the chosen token too where it is not among those; it is not in `top` then.
    """
    told = []
    for token_id, place in zip(completion.token_ids, completion.logprobs or (), strict=False):
        ranked = sorted(place.items(), key=lambda each: each[1].rank or 0)[:count]
        top = [_one(each, entry.logprob, tokenizer) for each, entry in ranked]
        chosen = _one(token_id, place[token_id].logprob, tokenizer)
        told.append(TokenLogprob(chosen.token, chosen.encoded, chosen.logprob, top))
    return told


def _one(token_id: int, logprob: float, tokenizer: Any) -> TokenLogprob:
    encoded = _bytes(tokenizer.convert_ids_to_tokens(token_id))
    return TokenLogprob(encoded.decode("utf-8", "replace"), encoded, max(logprob, _LEAST))


def _bytes(token: str) -> bytes:
    """The bytes of a byte-level BPE token, which may be a part of a character."""
    table = _byte_of()
    try:
        return bytes(table[char] for char in token)
    except KeyError:  # an added token with characters that the byte alphabet does not have
        return token.encode()


@cache
def _byte_of() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others for characters from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(rest)}
