"""How long an answer will be, learned from the answers so far."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

# Of each answer's length in the mean; answers of one kind of work are alike, and kinds of work change within a day.
_LEARNING = 0.05
_FEW = 8
_MOST_KEYS = 4096

Key = tuple[str | None, bool, str | None]


@dataclass(slots=True)
class _Length:
    mean: float
    deviation: float
    seen: int = 0

    def learn(self, tokens: int) -> None:
        self.seen += 1
        # The plain average of the first answers, a moving one after that.
        step = max(_LEARNING, 1 / self.seen)
        self.deviation += step * (abs(tokens - self.mean) - self.deviation)
        self.mean += step * (tokens - self.mean)


class OutputLengths:
    """Mean output tokens of an answer by tenant, thinking mode and effort.

    A tenant that is new is taken to be like all others of the mode; `prior` is the guess before any answer. The number
    of tenants it remembers is bounded; the one not seen for longest is forgotten.
    """

    def __init__(self, prior: int = 256) -> None:
        self._prior = prior
        self._lengths: OrderedDict[Key, _Length] = OrderedDict()

    def predict(self, tenant: str, thinking: bool, effort: str | None, max_tokens: int) -> int:
        """Expected output tokens of one answer, at least 1 and at most `max_tokens`."""
        for key in ((tenant, thinking, effort), (None, thinking, None)):
            length = self._lengths.get(key)
            if length is not None and (length.seen >= _FEW or key[0] is None):
                return max(1, min(max_tokens, round(length.mean)))
        return max(1, min(max_tokens, self._prior))

    def learn(self, tenant: str, thinking: bool, effort: str | None, tokens: int) -> None:
        """One answer of `tokens` ended by itself; answers that were cut short teach nothing."""
        for key in ((tenant, thinking, effort), (None, thinking, None)):
            length = self._lengths.get(key)
            if length is None:
                length = self._lengths[key] = _Length(float(tokens), 0.0)
                if len(self._lengths) > _MOST_KEYS:
                    self._lengths.popitem(last=False)
            self._lengths.move_to_end(key)
            length.learn(tokens)
