"""Which prefixes the engine has computed lately: an estimate of what a prompt will not cost.

The engine's own cache is in another process and tells nobody what it holds; but what it computed lately is known here.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence

# How much of an estimate to believe at first; the engine's answers correct it (a hybrid model keeps its recurrent state
# at few places of a prompt, so that a prefix that was computed is not always one that can be gone on from).
_TRUST = 0.5
_LEARNING = 0.05


def prefix_chain(
    token_ids: Sequence[int], block_tokens: int, *, salt: str | None = None, media: Mapping[int, str] | None = None
) -> list[bytes]:
    """One digest for each whole block of a prompt, each of which stands for the whole prefix up to there.

    `media` has the content hash of each image by the place of its first token: their placeholder tokens are all alike.
    Only prompts of the same `salt` share digests. Some 2 ms for 100,000 tokens: for a thread.
    """
    digest = hashlib.blake2b((salt or "").encode(), digest_size=16).digest()
    chain = []
    places = sorted((media or {}).items())
    for start in range(0, len(token_ids) - block_tokens + 1, block_tokens):
        block = hashlib.blake2b(digest, digest_size=16)
        block.update(array("q", token_ids[start : start + block_tokens]).tobytes())
        while places and places[0][0] < start + block_tokens:
            block.update(places.pop(0)[1].encode())
        digest = block.digest()
        chain.append(digest)
    return chain


class PrefixIndex:
    """Digests of the last `most` blocks that the engine has computed."""

    def __init__(self, block_tokens: int, most: int) -> None:
        self._block_tokens = block_tokens
        self._most = most
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._trust = _TRUST

    def cached(self, chain: Sequence[bytes], prompt_tokens: int) -> int:
        """Expected prompt tokens from the cache. The last token is always computed, as in the engine."""
        hit = self._hit(chain)
        return min(prompt_tokens - 1, int(hit * self._block_tokens * self._trust)) if prompt_tokens else 0

    def add(self, chain: Sequence[bytes]) -> None:
        """The engine has computed this prompt."""
        # From the end, so that of a chain that is forgotten in part the beginning stays.
        for digest in reversed(chain):
            self._known[digest] = None
            self._known.move_to_end(digest)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def learn(self, chain: Sequence[bytes], cached_tokens: int) -> None:
        """The engine says how many tokens of a prompt it found in its cache. Call before `add`."""
        if hit := self._hit(chain):
            share = min(1.0, cached_tokens / (hit * self._block_tokens))
            self._trust += _LEARNING * (share - self._trust)

    def _hit(self, chain: Sequence[bytes]) -> int:
        """Blocks of the longest known prefix."""
        low, high = 0, len(chain)
        # A prefix is known up to a place and not after it.
        while low < high:
            middle = (low + high + 1) // 2
            if chain[middle - 1] in self._known:
                low = middle
            else:
                high = middle - 1
        return low
