"""What a request asks of admission: its class, its time limits, and who sent it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from blake3 import blake3

from server.admission.classes import PriorityClass
from server.admission.policy.ticket import Ask
from server.admission.tenants import Caller
from server.generation.errors import InvalidRequest
from server.generation.expectation import Expectation

_FINGERPRINT_BYTES = 16

TIMEOUT_HEADER = "x-request-timeout-ms"
_LONGEST_MS = 24 * 3600 * 1000

# OpenAI's service tiers; `auto` is what the tenant's requests are by default.
_CLASSES = {
    "priority": PriorityClass.INTERACTIVE,
    "fast": PriorityClass.INTERACTIVE,
    "default": PriorityClass.STANDARD,
    "scale": PriorityClass.STANDARD,
    "flex": PriorityClass.BATCH,
}
_TIERS = {
    PriorityClass.INTERACTIVE: "priority",
    PriorityClass.STANDARD: "default",
    PriorityClass.BATCH: "flex",
}


def priority_class(tier: str | None, caller: Caller) -> PriorityClass:
    """The class of a request with this `service_tier`, no higher than its tenant may have. Raises InvalidRequest."""
    tenant = caller.tenant
    if tier is None or tier == "auto":
        return tenant.default_class
    if tier not in _CLASSES:
        known = ", ".join(("auto", *_CLASSES))
        raise InvalidRequest(f"Invalid 'service_tier': it must be one of {known}.", param="service_tier")
    return min(_CLASSES[tier], tenant.max_class)


def tier_name(priority: PriorityClass) -> str:
    """OpenAI's name for a class, as answers tell it."""
    return _TIERS[priority]


def ask(
    expectation: Expectation,
    caller: Caller,
    priority: PriorityClass,
    timeout_seconds: float | None,
    fingerprint: bytes,
) -> Ask:
    """What admission is asked. The client's own time limit bounds the tenant's objectives."""
    tenant = caller.tenant
    return Ask(
        tenant=tenant.name,
        weight=tenant.weight,
        priority=priority,
        prompt_tokens=expectation.prompt_tokens,
        max_tokens=expectation.max_tokens,
        answers=expectation.answers,
        thinking=expectation.thinking,
        effort=expectation.effort,
        ttft_seconds=_least(tenant.ttft_seconds, timeout_seconds),
        total_seconds=_least(tenant.total_seconds, timeout_seconds),
        fingerprint=fingerprint,
    )


def timeout_seconds(headers: Mapping[str, str]) -> float | None:
    """How long the client waits for its answer, by its `x-request-timeout-ms`. Raises InvalidRequest."""
    text = headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = math.nan
    if not 1 <= milliseconds <= _LONGEST_MS:
        raise InvalidRequest(
            f"Invalid '{TIMEOUT_HEADER}': it must be milliseconds from 1 to {_LONGEST_MS}.", param=TIMEOUT_HEADER
        )
    return milliseconds / 1000


def fingerprint(caller: Caller, body: bytearray) -> bytes:
    """Tells a client that comes back with the same request from a new one."""
    key = hashlib.blake2b(caller.tenant.name.encode(), digest_size=blake3.key_size).digest()
    return blake3(body, key=key).digest(_FINGERPRINT_BYTES)


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)
