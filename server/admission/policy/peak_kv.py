"""The most KV tokens that the running sequences will hold at once, if their predicted lengths come true.

LightLLM's formula, as in the VTC artifact's request queue: sort by what remains, longest first; when the j-th is done,
it and those before it have each grown by what remained of it, and the ones after it are gone. The peak is
max over j of sum(have_i for i <= j) + j * remain_j.
"""

from __future__ import annotations

import numpy as np


class PeakKv:
    """Running requests, each of one or more sequences, as KV tokens held and tokens still to come.

    `fits` costs O(1) while everything together fits. Near the limit what runs is sorted once (some 20 us for 256) for
    all that is asked before it changes.
    """

    def __init__(self, most: int) -> None:
        self._have = np.zeros(max(most, 1), dtype=np.int64)
        self._remain = np.zeros(max(most, 1), dtype=np.int64)
        # A request of several sequences stands here once: `have` of all, `remain` of each, times `count`.
        self._count = np.zeros(max(most, 1), dtype=np.int64)
        self._used = 0
        # What runs by what remains, most first, as negative numbers; and for each place of that order the tokens held
        # up to there, the sequences, the peaks, the highest peak up to there, and the highest from there on for a
        # request more of one sequence. None when something has changed.
        self._order: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None
        self._failed: tuple[int, int, int, int] | None = None
        self._owner: list[object] = []
        self.held = 0
        self.total = 0

    def add(self, owner: object, have: int, remain: int, count: int = 1) -> int:
        """Takes a request in; returns its slot, which `moved` may change when another leaves."""
        self._order = None
        slot = self._used
        if slot == len(self._have):
            for name in ("_have", "_remain", "_count"):
                setattr(self, name, np.concatenate([getattr(self, name), np.zeros(slot, dtype=np.int64)]))
        self._have[slot], self._remain[slot], self._count[slot] = have, remain, count
        self._owner.append(owner)
        self._used += 1
        self.held += have
        self.total += have + remain * count
        return slot

    def grow(self, slot: int, tokens: int, remain: int) -> None:
        """A request has made `tokens` more, and each of its sequences is expected to make `remain` yet."""
        self._order = None
        count = int(self._count[slot])
        self.held += tokens
        self.total += tokens + (remain - int(self._remain[slot])) * count
        self._have[slot] += tokens
        self._remain[slot] = remain

    def remove(self, slot: int) -> object | None:
        """Takes a request out; returns the owner that stands in its slot now, if another had to move there."""
        self._order = None
        have, remain, count = int(self._have[slot]), int(self._remain[slot]), int(self._count[slot])
        self.held -= have
        self.total -= have + remain * count
        self._used -= 1
        last = self._used
        owner = self._owner.pop()
        if slot == last:
            return None
        for each in (self._have, self._remain, self._count):
            each[slot] = each[last]
        self._owner[slot] = owner
        return owner

    def fits(self, have: int, remain: int, count: int, capacity: int) -> bool:
        """Whether the peak stays within `capacity` KV tokens if this request comes in."""
        if self.total + have + remain * count <= capacity:
            return True
        if self.held + have > capacity:
            return False
        if self._order is not None and self._failed is not None:
            # What takes no less than something that did not fit does not fit either.
            least = self._failed
            if have >= least[0] and remain >= least[1] and count >= least[2] and capacity <= least[3]:
                return False
        if self.peak(have, remain, count) <= capacity:
            return True
        self._failed = have, remain, count, capacity
        return False

    def peak(self, have: int = 0, remain: int = 0, count: int = 0) -> int:
        """The peak of what runs, with one more request if `count` is not 0."""
        if not self._used:
            return have + remain * count
        falling, held, counts, peaks, before, after = self._order or self._sort()
        if not count:
            return int(before[-1])
        # Those that remain as long or longer come before the new one; it adds to the peaks of those after it.
        at = int(falling.searchsorted(-remain, side="right"))
        most = have + remain * count
        if at:
            most = max(int(before[at - 1]), most + int(held[at - 1]) + remain * int(counts[at - 1]))
        if at < self._used:
            later = after[at] if count == 1 else (peaks[at:] - count * falling[at:]).max()
            most = max(most, have + int(later))
        return most

    def _sort(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        used, self._failed = self._used, None
        falling = -self._remain[:used]
        order = falling.argsort(kind="stable")
        falling = falling[order]
        held, counts = self._have[:used][order].cumsum(), self._count[:used][order].cumsum()
        peaks = held - counts * falling
        after = np.maximum.accumulate((peaks - falling)[::-1])[::-1]
        self._order = falling, held, counts, peaks, np.maximum.accumulate(peaks), after
        return self._order
