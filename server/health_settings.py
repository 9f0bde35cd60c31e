"""Settings of the engine's health and of what is done when it is lost."""

from __future__ import annotations

from pydantic import Field

from server.section import Section


class HealthSettings(Section):
    """When an engine counts as stalled, and what the probes say; see `docs/operations.md`."""

    step_seconds: float = Field(
        60.0,
        gt=0,
        description="How long the engine may have work without making a step. It must be well above its longest step: "
        "`max_num_batched_tokens` of a prompt at the end of a full context, or the largest image or video.",
    )
    compile_seconds: float = Field(
        900.0,
        gt=0,
        description="The same while compilers run for the engine, as they do for shapes that are new to it.",
    )
    end_stalled_seconds: float = Field(
        60.0,
        ge=0,
        description="How long a stalled engine may take to go on before the daemon ends as if it had died; 0 for ever.",
    )
    start_seconds: float = Field(
        7200.0, ge=0, description="How long a start may take before the daemon gives it up; 0 for ever."
    )
    canary_seconds: float = Field(
        60.0,
        ge=0,
        description="After how long without a step the engine is asked for one token, so that one that hangs is found "
        "before a client finds it; 0 for never.",
    )
    saturated_waiting: int | None = Field(
        None,
        ge=1,
        description="From how many waiting requests on readiness is off, until fewer than half of them wait; none "
        "leaves it on, since admission refuses what cannot be served in time.",
    )


class SuperviseSettings(Section):
    """`qwend serve --supervise`: a parent that keeps the port and starts the daemon anew when it dies."""

    on: bool = Field(False, description="Whether there is such a parent; `--supervise`.")
    backoff_seconds: float = Field(1.0, ge=0, description="Pause before the first new start; twice as long each time.")
    longest_backoff_seconds: float = Field(60.0, ge=0, description="Longest pause before a new start.")
    quick_seconds: float = Field(
        300.0, ge=0, description="A death sooner than this after becoming ready is a quick one; later ones start anew."
    )
    quick_deaths: int = Field(5, ge=1, description="So many quick deaths in a row end the parent as well.")
