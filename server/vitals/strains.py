"""What makes requests wait or be refused while the engine is well: told by the probes' reason and by the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from server.telemetry.logs import get_logger

_log = get_logger("vitals")

# A strain is one once it has been seen for so long, and over once it has not; while it lasts it is logged again.
_BEGIN_SECONDS = 5.0
_END_SECONDS = 15.0
_AGAIN_SECONDS = 60.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Sign:
    """A strain as it is seen now. `reason` goes to whoever probes; `fields`, with names in them, to the log alone."""

    reason: str
    fields: Mapping[str, Any] = field(default_factory=dict)


Look = Callable[[float], Sign | None]
"""What looks for one strain, at a time of the caller's clock."""


@dataclass(slots=True)
class _Strain:
    look: Look
    reason: str = ""
    # Since when it has been seen, when it was last seen, since when it has been one, and when that was last logged.
    seen_since: float | None = None
    seen: float = 0.0
    since: float | None = None
    logged: float = 0.0


class Strains:
    """Looks at each of `looks` (by the event that the log has for it) once a second at most."""

    def __init__(self, looks: Mapping[str, Look], log: Any = _log) -> None:
        self._strains = {event: _Strain(look) for event, look in looks.items()}
        self._log = log
        self._looked = float("-inf")

    @property
    def reason(self) -> str:
        """All that strains the daemon now, in words; empty where nothing does."""
        return "; ".join(each.reason for each in self._strains.values() if each.since is not None)

    def look(self, now: float) -> None:
        """Looks, unless that was a moment ago."""
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        for event, strain in self._strains.items():
            sign = strain.look(now)
            if sign is not None:
                self._seen(now, event, strain, sign)
            elif strain.since is not None and now - strain.seen >= _END_SECONDS:
                self._log.info(f"over: {event}", seconds=round(strain.seen - strain.since, 1))
                strain.since = strain.seen_since = None
            elif strain.since is None:
                strain.seen_since = None

    def _seen(self, now: float, event: str, strain: _Strain, sign: Sign) -> None:
        strain.seen, strain.reason = now, sign.reason
        if strain.seen_since is None:
            strain.seen_since = now
        if strain.since is None and now - strain.seen_since >= _BEGIN_SECONDS:
            strain.since = strain.seen_since
            strain.logged = float("-inf")
        if strain.since is not None and now - strain.logged >= _AGAIN_SECONDS:
            strain.logged = now
            self._log.warning(event, **sign.fields)
