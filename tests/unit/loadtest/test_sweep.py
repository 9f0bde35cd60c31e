"""The sweep finds what a server can do, whose limit the test knows."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest import sweep as module
from loadtest.plan import Setting
from loadtest.results import INVALID, MISSED_SLO, OK
from loadtest.run import Server
from loadtest.scenario_schema import Scenario
from loadtest.strict import parsed
from loadtest.sweep import at_rate, knee, sweep

TENANTS = [
    {"name": "a", "arrivals": {"process": "poisson", "rate": 1}},
    {"name": "b", "arrivals": {"process": "constant", "rate": "3x"}},
]


def scenario(**asked: Any) -> Scenario:
    return parsed(Scenario, {"name": "s", "tenants": TENANTS, "sweep": {"first": 1, "factor": 2, **asked}}, "s")


def total(chosen: Scenario) -> float:
    return sum(float(each.arrivals.rate) for each in chosen.tenants)


class Imagined:
    """In SLO up to `good` requests a second; more than `full` do not get through; the sender manages `sendable`."""

    def __init__(self, good: float, full: float, sendable: float = 1e9) -> None:
        self.good, self.full, self.sendable = good, full, sendable
        self.asked: list[float] = []
        self.nonces: list[str] = []

    def run(self, server: Server, chosen: Scenario, known: Setting, **_: Any) -> float:
        self.asked.append(total(chosen))
        self.nonces.append(known.nonce)
        return self.asked[-1]

    def result(self, rate: float, server: Server) -> dict[str, Any]:
        latency = {"p50": 0.1, "p99": 0.2}
        figures = {
            "offered_per_second": rate,
            "throughput_per_second": min(rate, self.full),
            "goodput_per_second": min(rate, self.good),
            "attainment": 1.0 if rate <= self.good else 0.5,
            "refused_share": 0.0,
            "ttft": latency,
            "itl": latency,
            "tokens_per_second": {"output": rate},
        }
        return {"figures": figures, "validity": {"valid": rate <= self.sendable, "reasons": []}}


def swept(monkeypatch: pytest.MonkeyPatch, imagined: Imagined, **asked: Any) -> dict[str, Any]:
    monkeypatch.setattr(module, "run", imagined.run)
    monkeypatch.setattr(module, "result", imagined.result)
    return sweep(Server("http://h:1"), scenario(**asked), Setting("m"))


def test_a_rate_keeps_the_tenants_proportions() -> None:
    rates = [each.arrivals.rate for each in at_rate(scenario(), 8).tenants]
    assert rates == [2.0, 6.0]


def test_the_limit_is_found_between_two_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    imagined = Imagined(good=10, full=14)
    found = swept(monkeypatch, imagined, refine=6)
    assert found["sweep"]["slo_rate"] == pytest.approx(10, rel=0.02)
    assert found["sweep"]["slo_rate"] <= 10
    assert found["sweep"]["knee"] == pytest.approx(14, rel=0.2)
    assert found["exit_code"] == OK
    assert found["figures"]["offered_per_second"] == found["sweep"]["slo_rate"], "the rest is of the best rate"
    rates = [each["rate"] for each in found["sweep"]["points"]]
    assert rates == sorted(rates)
    assert max(rates) >= 2 * 14, "the curve goes on beyond the knee"
    assert len(set(imagined.nonces)) == len(rates), "no rate's prompts are in the server's cache from another's"


def test_two_misses_end_it_and_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    imagined = Imagined(good=10, full=14)
    swept(monkeypatch, imagined, refine=0)
    assert imagined.asked == [1, 2, 4, 8, 16, 32]


def test_a_sender_at_its_end_is_not_taken_for_the_servers_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = swept(monkeypatch, Imagined(good=100, full=100, sendable=10), refine=2)
    assert found["sweep"]["limited_by_generator"]
    assert found["sweep"]["slo_rate"] <= 10
    assert knee(found["sweep"]["points"]) <= 10
    nothing = swept(monkeypatch, Imagined(good=100, full=100, sendable=0.5))
    assert (nothing["exit_code"], nothing["sweep"]["slo_rate"]) == (INVALID, None)


def test_a_server_that_never_meets_it_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = swept(monkeypatch, Imagined(good=0.1, full=0.2))
    assert (found["exit_code"], found["sweep"]["slo_rate"], found["sweep"]["knee"]) == (MISSED_SLO, None, None)
