"""What a caller is told of its quotas: the refusal, and the headers of every answer."""

from __future__ import annotations

import random
from collections.abc import Iterable
from math import ceil

from server.admission.quota_rules import NEVER, Kind, Rule, Standing, Unit
from server.generation.errors import RequestFailed

SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 60.0
"""Between these is what `Retry-After` says."""

_JITTER = 0.1


class RateLimited(RequestFailed):
    """The caller's own quota is used up. 429, with a type and code that say which."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"
    outcome = "rate_limited"

    def __init__(self, message: str, *, code: str, type: str, retry_after: float | None) -> None:
        """`retry_after` in seconds; None tells clients not to try the same again."""
        super().__init__(message, code=code)
        self.type = type
        self.retry_after = retry_after
        if retry_after is None:
            # OpenAI's clients heed it.
            self.headers = {"x-should-retry": "false"}


def refusal(rule: Rule, wait_seconds: float, asked: int, used: float) -> RateLimited:
    """The refusal for a rule that did not let a request pass.

    The wait is spread a little, so that not all who were refused come back at once.
    """
    whose = "This API key" if rule.of_key else "This organization"
    limit = f"{rule.limit:.6g}" if rule.limit < 1e6 else f"{rule.limit:.0f}"
    wait = None if wait_seconds == NEVER else spread(wait_seconds)
    if rule.kind is Kind.SEATS:
        message = f"{whose} may have {limit} requests at a time."
        return RateLimited(message, code="concurrency_exceeded", type="requests", retry_after=wait)
    per = "second" if rule.kind is Kind.SHARE else "day" if rule.daily else "minute"
    figures = f"{rule.unit} per {per}: limit {limit}, used {used:.0f}, requested {asked}."
    if wait is None:
        message = f"{whose} can never have a request of this size, by {figures} Send a shorter input or ask for less."
    else:
        message = f"{whose} has reached its {figures}"
    code = "rate_limit_exceeded"
    if rule.unit is Unit.TOKENS:
        code = "daily_tokens_exceeded" if rule.daily else "tokens_exceeded"
    return RateLimited(message, code=code, type=str(rule.unit), retry_after=wait)


def spread(wait_seconds: float) -> float:
    """A wait within what `Retry-After` may say, made up to a tenth longer by chance."""
    base = min(max(wait_seconds, SHORTEST_SECONDS), LONGEST_SECONDS / (1 + _JITTER))
    return base * random.uniform(1, 1 + _JITTER)


def rate_headers(standings: Iterable[tuple[Rule, Standing]]) -> dict[str, str]:
    """OpenAI's `x-ratelimit-*` headers: of the caller's windows of a unit the one with the least left."""
    least: dict[Unit, tuple[float, Rule, Standing]] = {}
    for rule, standing in standings:
        if rule.kind is Kind.WINDOW:
            left = max(0.0, rule.limit - standing.used)
            if rule.unit not in least or left < least[rule.unit][0]:
                least[rule.unit] = (left, rule, standing)
    headers: dict[str, str] = {}
    for unit, (left, rule, standing) in least.items():
        headers[f"x-ratelimit-limit-{unit}"] = f"{rule.limit:.0f}"
        headers[f"x-ratelimit-remaining-{unit}"] = f"{left:.0f}"
        headers[f"x-ratelimit-reset-{unit}"] = duration(standing.reset_seconds)
    return headers


def duration(seconds: float) -> str:
    """A time as OpenAI writes it: `20ms`, `1s`, `6m0s`, `23h54m0s`."""
    if seconds < 1:
        return f"{ceil(max(0.0, seconds) * 1000)}ms" if seconds > 0 else "0s"
    whole = ceil(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
