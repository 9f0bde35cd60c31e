"""How long the engine's steps take, learned while it runs: a + b * tokens + c * KV tokens, by recursive least squares
with forgetting (Haykin, Adaptive Filter Theory, ch. 9).
"""

from __future__ import annotations

from dataclasses import dataclass

_FORGET = 0.995
_UNCERTAIN = 1e4
# Steps of no length and steps that are stalls teach nothing.
_SHORTEST, _LONGEST = 1e-5, 30.0
# A step that takes so much longer than is known of them is a stall, as while a GPU's kernel is compiled; after so many
# in a row it is what is known that is wrong.
_STALL_FACTOR, _STALL_SECONDS, _MOST_STALLS = 8.0, 0.25, 4
# KV tokens in units that keep the numbers of the fit of one size.
_KV_UNIT = 1e-4
_TOKEN_UNIT = 1e-2


@dataclass(frozen=True, slots=True)
class StepCosts:
    """Seconds of a step: `fixed`, for each token computed in it, and for each KV token of its sequences."""

    fixed: float = 0.02
    token: float = 1e-4
    kv_token: float = 0.0

    def seconds(self, tokens: float, kv_tokens: float) -> float:
        """The length of a step."""
        return self.fixed + self.token * tokens + self.kv_token * kv_tokens


class EngineModel:
    """Fits StepCosts to the steps that it is shown; `prior` holds until then."""

    def __init__(self, prior: StepCosts | None = None) -> None:
        self.costs = prior or StepCosts()
        self._weights = [self.costs.fixed, self.costs.token / _TOKEN_UNIT, self.costs.kv_token / _KV_UNIT]
        self._covariance = [[_UNCERTAIN if row == column else 0.0 for column in range(3)] for row in range(3)]
        self.steps = 0
        self._stalls = 0

    def learn(self, seconds: float, tokens: float, kv_tokens: float) -> None:
        """One step of the engine."""
        if not _SHORTEST < seconds < _LONGEST:
            return
        if seconds > _STALL_FACTOR * self.costs.seconds(tokens, kv_tokens) + _STALL_SECONDS:
            self._stalls += 1
            if self._stalls <= _MOST_STALLS:
                return
        else:
            self._stalls = 0
        self.steps += 1
        features = (1.0, tokens * _TOKEN_UNIT, kv_tokens * _KV_UNIT)
        covariance = self._covariance
        spread = [sum(row[k] * features[k] for k in range(3)) for row in covariance]
        scale = _FORGET + sum(features[k] * spread[k] for k in range(3))
        gain = [each / scale for each in spread]
        error = seconds - sum(self._weights[k] * features[k] for k in range(3))
        # While nothing varies, forgetting would blow the uncertainty up without end.
        forget = _FORGET if covariance[0][0] + covariance[1][1] + covariance[2][2] < _UNCERTAIN else 1.0
        for row in range(3):
            self._weights[row] += gain[row] * error
            for column in range(row, 3):
                # Both halves from one: rounding that tells them apart grows from step to step.
                updated = (covariance[row][column] - gain[row] * spread[column]) / forget
                covariance[row][column] = covariance[column][row] = updated
        fixed, token, kv = self._weights
        # A step never gets shorter by more work, whatever the noise of a few steps says.
        self.costs = StepCosts(max(fixed, 1e-4), max(token * _TOKEN_UNIT, 1e-7), max(kv * _KV_UNIT, 0.0))

    def prefill_rate(self, step_tokens: int, decoding: int, kv_tokens: float) -> float:
        """Prompt tokens a second while `decoding` sequences go on beside them in steps of `step_tokens`."""
        room = max(step_tokens - decoding, step_tokens // 8, 1)
        return room / self.costs.seconds(room + decoding, kv_tokens)

    def decode_seconds(self, decoding: int, kv_tokens: float) -> float:
        """Engine time that one output token takes of a step that it shares with `decoding` others in all."""
        decoding = max(decoding, 1)
        return self.costs.seconds(decoding, kv_tokens) / decoding
