from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from server.admission.gate import Gate
from server.vitals.condition import Status
from server.vitals.signs import KvFull, Refusals, SlowMedia
from server.vitals.strains import Sign, Strains
from server.vitals.vitals import Vitals


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def ended(tenant: str, outcome: str = "rejected_overloaded") -> Any:
    return SimpleNamespace(tenant=tenant, outcome=outcome)


def test_a_strain_begins_late_ends_late_and_is_logged_once_a_minute() -> None:
    sign: list[Sign | None] = [Sign("it is full", {"used": 0.95})]
    log = Log()
    strains = Strains({"full": lambda now: sign[0]}, log)
    reasons = {}
    for second in range(200):
        if second == 150:
            sign[0] = None
        strains.look(float(second))
        reasons[second] = strains.reason
    assert [second for second in reasons if reasons[second]] == list(range(5, 164))
    assert reasons[10] == "it is full"
    warning = ("warning", "full", {"used": 0.95})
    assert log.lines == [warning, warning, warning, ("info", "over: full", {"seconds": 149.0})]


def test_what_comes_and_goes_within_seconds_is_none() -> None:
    log = Log()
    strains = Strains({"full": lambda now: Sign("full") if now % 8 < 4 else None}, log)
    for second in range(100):
        strains.look(float(second))
    assert (strains.reason, log.lines) == ("", [])


def test_it_is_looked_once_a_second() -> None:
    looked: list[float] = []
    strains = Strains({"any": looked.append}, Log())
    for quarter in range(40):
        strains.look(quarter / 4)
    assert len(looked) == 10


def test_strains_are_the_reason_of_a_daemon_that_serves() -> None:
    gate = Gate(lambda inside: None, lambda outcome: None)
    gate.open()
    vitals = Vitals(gate, phase=str, waiting=int)
    vitals.strains = Strains({"a": lambda now: Sign("one"), "b": lambda now: Sign("two")}, Log())
    for second in range(10):
        vitals.strains.look(float(second))
    told = vitals.condition()
    assert (told.status, told.reason, told.ready, told.live) == (Status.SERVING, "one; two", True, True)
    gate.close()
    assert vitals.condition().reason == "the engine has died"


def test_refusals_tell_one_tenant_from_several_and_name_none_to_probes() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    for _ in range(14):
        refusals.seen(ended("flood"))
    assert refusals(clock.now) is None, "half a request a second"
    for outcome in ("evicted_displaced", "rate_limited"):
        refusals.seen(ended("flood", outcome))
    for outcome in ("stop", "invalid_request", "refused_starting", "client_gone"):
        refusals.seen(ended("calm", outcome))
    sign = refusals(clock.now)
    assert sign is not None
    assert sign.reason == "0.5 requests a second are refused, one tenant's"
    assert sign.fields == {"refused_per_second": 0.53, "tenants": {"flood": 16}, "most_by": "flood"}
    for number in range(20):
        refusals.seen(ended(f"tenant-{number}"))
    assert "several tenants'" in refusals(clock.now).reason
    clock.now += 31
    assert refusals(clock.now) is None


def test_slow_media_name_their_host_in_the_log() -> None:
    clock = Clock()
    media = SlowMedia(clock)
    for _ in range(18):
        media.seen("quick.example", 0.1)
    media.seen("slow.example", 4.0)
    assert media(clock.now) is None, "one is none"
    media.seen("slow.example", 10.0)
    assert media(clock.now) is None, "a tenth"
    media.seen("slow.example", 6.0)
    sign = media(clock.now)
    assert sign is not None
    assert sign.reason == "3 of the last 21 images and videos from addresses took over 2 s"
    assert sign.fields == {"hosts": {"slow.example": 3}, "slow": 3, "of": 21, "slowest_seconds": 10.0}
    clock.now += 61
    assert media(clock.now) is None


def test_a_full_cache_is_told_by_the_engine_or_by_who_waits_for_it() -> None:
    running = {1: SimpleNamespace(tenant="ada", peak=700), 2: SimpleNamespace(tenant="bob", peak=100)}
    room = SimpleNamespace(kv_held=800, kv_limit=1000, running=running)
    controller = SimpleNamespace(waiting=3, short_of=frozenset({"sequences"}), room=room)
    used = [0.5]
    full = KvFull(lambda: controller, lambda: used[0])
    assert full(0.0) is None
    controller.short_of = frozenset({"kv"})
    sign = full(0.0)
    assert sign is not None
    assert sign.reason == "the KV cache is 80% full and 3 requests wait for room"
    assert sign.fields == {"kv_used_ratio": 0.8, "waiting": 3, "tenants": {"ada": 700, "bob": 100}}
    controller.short_of, used[0] = frozenset(), 0.95
    assert "95% full" in full(0.0).reason
    without = KvFull(lambda: None, lambda: used[0])
    assert without(0.0).reason == "the KV cache is 95% full and 0 requests wait for room"
