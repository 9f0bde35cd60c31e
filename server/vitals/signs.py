"""What is looked at for strains: refusals by tenant, how long media from addresses take, and the KV cache."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from server.admission.policy.controller import Controller
from server.admission.policy.room import KV
from server.telemetry.record import RequestRecord
from server.vitals.strains import Sign

KV_FULL = "the KV cache is full"
FLOOD = "requests are refused for overload"
MEDIA_SLOW = "media come slowly from addresses"

# The alerts of deploy/prometheus/alerts.yaml have the same bounds, over longer times.
_FULL = 0.9
_REFUSED_PER_SECOND = 0.5
_SLOW_SECONDS = 2.0
_SLOW_PART = 0.1
_FEWEST_SLOW = 2

_SPAN_SECONDS = 30.0
_SLOT_SECONDS = 1.0
_MOST_ITEMS = 1000
_LONGEST_HOST = 100


class KvFull:
    """The engine's cache is full, or requests wait since what runs will fill it."""

    def __init__(self, controller: Callable[[], Controller | None], used: Callable[[], float]) -> None:
        self._controller = controller
        self._used = used

    def __call__(self, now: float) -> Sign | None:
        """See `strains.Look`."""
        controller, used = self._controller(), self._used()
        waiting, wanted = 0, False
        if controller is not None:
            waiting, wanted = controller.waiting, KV in controller.short_of
            used = max(used, controller.room.kv_held / max(1, controller.room.kv_limit))
        if used <= _FULL and not wanted:
            return None
        return Sign(
            f"the KV cache is {100 * used:.0f}% full and {waiting} requests wait for room",
            {"kv_used_ratio": round(used, 3), "waiting": waiting, "tenants": _most_room(controller)},
        )


def _most_room(controller: Controller | None) -> dict[str, int]:
    """The tenants that hold most of the cache, with their tokens at the expected peak."""
    held: Counter[str] = Counter()
    if controller is not None:
        for ticket in controller.room.running.values():
            held[ticket.tenant] += ticket.peak
    return dict(held.most_common(3))


class Refusals:
    """Requests refused for overload or over a quota, by tenant, in half a minute; `seen` takes each record in."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots: deque[tuple[float, Counter[str]]] = deque()

    def seen(self, record: RequestRecord) -> None:
        """A request has ended."""
        outcome = record.outcome
        if outcome != "rate_limited" and not outcome.startswith(("rejected_", "evicted_")):
            return
        now = self._clock()
        if not self._slots or now - self._slots[-1][0] >= _SLOT_SECONDS:
            self._slots.append((now, Counter()))
            self._forget(now)
        self._slots[-1][1][record.tenant] += 1

    def __call__(self, now: float) -> Sign | None:
        """See `strains.Look`."""
        self._forget(now)
        refused: Counter[str] = Counter()
        for _, counts in self._slots:
            refused.update(counts)
        total = refused.total()
        if total <= _REFUSED_PER_SECOND * _SPAN_SECONDS:
            return None
        rate = total / _SPAN_SECONDS
        (tenant, most), *_ = refused.most_common(1)
        who = "one tenant's" if most > total / 2 else "several tenants'"
        return Sign(
            f"{rate:.1f} requests a second are refused, {who}",
            {"refused_per_second": round(rate, 2), "tenants": dict(refused.most_common(3)), "most_by": tenant},
        )

    def _forget(self, now: float) -> None:
        while self._slots and now - self._slots[0][0] > _SPAN_SECONDS:
            self._slots.popleft()


class SlowMedia:
    """How long the media of the last minute took that came from addresses; `seen` takes each of them in."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._items: deque[tuple[float, str, float]] = deque(maxlen=_MOST_ITEMS)

    def seen(self, host: str, seconds: float) -> None:
        """An image or a video from `host` is there, or has failed, after so many seconds."""
        self._items.append((self._clock(), host[:_LONGEST_HOST], seconds))

    def __call__(self, now: float) -> Sign | None:
        """See `strains.Look`."""
        while self._items and now - self._items[0][0] > 2 * _SPAN_SECONDS:
            self._items.popleft()
        slow = Counter(host for _, host, seconds in self._items if seconds > _SLOW_SECONDS)
        count = slow.total()
        if count < _FEWEST_SLOW or count <= _SLOW_PART * len(self._items):
            return None
        return Sign(
            f"{count} of the last {len(self._items)} images and videos from addresses took over {_SLOW_SECONDS:g} s",
            {
                "hosts": dict(slow.most_common(3)),
                "slow": count,
                "of": len(self._items),
                "slowest_seconds": round(max(seconds for _, _, seconds in self._items), 1),
            },
        )
