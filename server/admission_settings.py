"""The settings of admission: the priority classes and the limits; see `docs/admission.md`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from server.section import Section


class ClassSettings(Section):
    """One priority class."""

    ttft_seconds: float | None = Field(None, gt=0, description="Objective for the first token; none waits without end.")
    total_seconds: float | None = Field(None, gt=0, description="Objective for the whole answer.")
    share: float = Field(
        1.0, gt=0, le=1, description="How full the engine may be for this class to enter, while higher ones come."
    )
    ageing_seconds: float | None = Field(
        None, gt=0, description="After how long without service a tenant's oldest request moves up one class."
    )


class ClassesSettings(Section):
    """The priority classes, in the order they are served."""

    interactive: ClassSettings = ClassSettings(ttft_seconds=10.0)
    standard: ClassSettings = ClassSettings(ttft_seconds=30.0, share=0.95, ageing_seconds=10.0)
    batch: ClassSettings = ClassSettings(ttft_seconds=3600.0, share=0.8, ageing_seconds=300.0)

    @field_validator("interactive")
    @classmethod
    def _none_is_above(cls, interactive: ClassSettings) -> ClassSettings:
        if interactive.ageing_seconds is not None:
            raise ValueError("`ageing_seconds` has no effect here: no class is above this one")
        return interactive

    @field_validator("standard", "batch")
    @classmethod
    def _all_age(cls, settings: ClassSettings) -> ClassSettings:
        if settings.ageing_seconds is None:
            raise ValueError("`ageing_seconds` is needed: without it a request could wait forever")
        return settings


class AdmissionSettings(Section):
    """Who runs, when; see `docs/admission.md`."""

    enabled: bool = Field(True, description="Without it every request goes straight to the engine.")
    classes: ClassesSettings = ClassesSettings()
    overload_status: Literal[429, 503] = Field(503, description="HTTP status of a refusal for our own overload.")
    max_waiting: int = Field(2048, ge=1, description="Most requests that wait or are being rendered.")
    static_waiting: int = Field(
        512, ge=1, description="The same while forecasts have been too wrong to refuse anybody by."
    )
    bypasses: int = Field(8, ge=0, description="Most requests that pass one that does not fit yet.")
    prefill_seconds: float = Field(
        2.0, gt=0, description="Prompt tokens on their way at once, as the time that the engine computes them in."
    )
    long_tokens: int = Field(16_384, ge=1, description="From how many tokens to compute a prompt is long.")
    long_share: float = Field(0.5, gt=0, lt=1, description="Part of the prefill that long prompts may take.")
    tenant_share: float = Field(
        0.85,
        gt=0,
        le=1,
        description="How full the room may be for a tenant far beyond its fair part of it while others come too.",
    )
    itl_seconds: float = Field(0.15, gt=0, description="Mean time of a step above which fewer requests run at once.")
    kv_share: float = Field(0.97, gt=0, le=1, description="Part of the KV cache that predicted peaks may fill.")
    stale_seconds: float = Field(
        5.0, gt=0, description="After how long without a step of a busy engine nobody is let in."
    )
    stops_at_once: int = Field(2, ge=0, description="Most batch requests stopped at a time to make room; 0 stops none.")
    stop_grace_seconds: float = Field(0.5, ge=0, description="Time between such stops.")
    longest_retry_seconds: float = Field(60.0, ge=1, le=60, description="Longest `Retry-After`.")
