"""What the policy is told once: the operator's choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.admission.classes import PriorityClass


@dataclass(frozen=True, slots=True)
class ClassRules:
    """One priority class.

    `ttft_seconds` is the objective for the first token, `total_seconds` for the whole answer; None is none. `share` is
    how full the room may be for this class to enter, while a higher class has been seen lately. Where nothing of a
    tenant's has entered from it for `ageing_seconds`, its oldest request moves up one class.
    """

    ttft_seconds: float | None
    total_seconds: float | None = None
    share: float = 1.0
    ageing_seconds: float | None = None


def default_classes() -> dict[PriorityClass, ClassRules]:
    """Someone at a screen gives up after some ten seconds, a program later, and a batch not in an hour."""
    return {
        PriorityClass.INTERACTIVE: ClassRules(ttft_seconds=10.0),
        PriorityClass.STANDARD: ClassRules(ttft_seconds=30.0, share=0.95, ageing_seconds=10.0),
        PriorityClass.BATCH: ClassRules(ttft_seconds=3600.0, share=0.8, ageing_seconds=300.0),
    }


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's choices; `docs/admission.md` says what each is for.

    Times are in seconds, `input_weight` and `output_weight` in counter units per token (VTC's w_p and w_q).
    `tenant_share` is how full the room may be for a tenant far beyond its fair part of it, while others have been seen
    lately. `bypasses` is how often a request that does not fit is passed by others before they wait for it, and
    `bypass_units` how far ahead of its tenant, in counter units, the tenants may get that pass it.
    """

    classes: Mapping[PriorityClass, ClassRules] = field(default_factory=default_classes)
    input_weight: float = 1.0
    output_weight: float = 2.0
    max_waiting: int = 2048
    static_waiting: int = 512
    bypasses: int = 8
    bypass_units: float = 32_768.0
    look_ahead: int = 4
    prefill_seconds: float = 2.0
    long_tokens: int = 16_384
    long_share: float = 0.5
    tenant_share: float = 0.85
    itl_seconds: float = 0.15
    kv_share: float = 0.97
    stale_seconds: float = 5.0
    stops_at_once: int = 2
    stop_grace_seconds: float = 0.5
    reserve_memory_seconds: float = 60.0
    longest_retry_seconds: float = 60.0
