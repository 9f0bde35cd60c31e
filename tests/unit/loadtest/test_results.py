"""Figures of a run, against what can be counted by hand."""

from __future__ import annotations

import csv
import json
import math
from array import array
from pathlib import Path
from typing import Any

import pytest

from loadtest import results
from loadtest.measures import LEFT_OUT, MET, MISSED, verdict
from loadtest.plan import Setting
from loadtest.record import Record, Try
from loadtest.run import Run, Server
from loadtest.scenario_schema import Objective, Scenario
from loadtest.strict import Misfit, parsed
from loadtest.watcher import Seen
from loadtest.worker import Part

SLO = Objective(ttft=0.5, tpot=0.1, e2e=2.0)


def answered(number: int, at: float, ttft: float = 0.2, tokens: int = 5, itl: float = 0.05, **values: Any) -> Record:
    times = array("d", [ttft + itl * n for n in range(tokens)])
    fields = {
        "tenant": "a", "status": 200, "ttft": ttft, "e2e": times[-1], "finished": True, "finish_reason": "stop",
        "prompt_tokens": 10, "completion_tokens": tokens, "tries": [Try(0.0, 200, times[-1])], "times": times,
    }  # fmt: skip
    return Record(number, at=at, **{**fields, **values})


def refused(number: int, at: float, *tries: Try, code: str = "overloaded", **values: Any) -> Record:
    status = tries[-1].status
    return Record(number, "a", at, status=status, code=code if status != 200 else "", tries=list(tries), **values)


def the_run(records: list[Record], keys: dict[str, str] | None = None, **values: Any) -> Run:
    one = {"arrivals": {"process": "poisson", "rate": 1}}
    tenants = [{**one, "name": "a"}, {**one, "name": "b", "well_behaved": False}]
    plain = {"name": "s", "duration": 10, "slo": SLO.model_dump(), "tenants": tenants}
    scenario = parsed(Scenario, {**plain, **values}, "s")
    part = Part(records, [0.0001] * 100, 0.1, 10.0, sum(each.turn == 0 for each in records), 3)
    return Run(scenario, Setting("m", keys=keys or {}), records, [part], Seen(), 1.7e9, 100.0, 10.0)


def told(records: list[Record], **values: Any) -> results.Result:
    return results.result(the_run(records, **values), Server("http://user:secret@h:1/v1"))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (answered(0, 0), MET),
        (answered(0, 0, ttft=0.6), MISSED),
        (answered(0, 0, itl=0.2, tokens=4), MISSED),
        (answered(0, 0, tokens=40), MISSED),
        (answered(0, 0, finished=False, code="engine_died"), MISSED),
        (answered(0, 0, finished=False, cancelled=True), LEFT_OUT),
        (answered(0, 0, ttft=0.7, finished=False, cancelled=True), MISSED),
        (Record(0, "a", 0, e2e=0.3, cancelled=True, tries=[Try(0)]), LEFT_OUT),
        (Record(0, "a", 0, e2e=0.7, cancelled=True, tries=[Try(0)]), MISSED),
        (Record(0, "a", 0, finished=True, status=200, tries=[Try(0, 200)]), MISSED),
        (refused(0, 0, Try(0, 503, 0.01)), MISSED),
        # Though it was let in when it came back, and quickly.
        (answered(0, 0, tries=[Try(0, 503, 0.01, 0.1), Try(0.1, 200)]), MISSED),
    ],
)
def test_what_counts_for_goodput(record: Record, expected: str) -> None:
    assert verdict(record, SLO) == expected


def test_without_an_objective_only_failures_are_misses() -> None:
    assert verdict(answered(0, 0, ttft=99.0), Objective()) == MET
    assert verdict(refused(0, 0, Try(0, 429)), Objective()) == MISSED


def test_the_figures_are_those_that_can_be_counted() -> None:
    records = [
        *(answered(n, 0.5 * n, ttft=0.1 * (n + 1)) for n in range(8)),
        refused(8, 5.0, Try(0, 503, 0.01, 2.0), Try(2.0, 200, 2.5), finished=True, ttft=2.1, times=array("d", [2.1])),
        refused(9, 6.0, Try(0, 503, 0.02, 4.0), Try(4.0, 503, 4.01)),
        refused(10, 7.0, Try(0, 429, 0.03), code="tenant_quota"),
        answered(11, 8.0, finished=False, code="engine_died"),
        answered(12, 9.0, finished=False, cancelled=True, tenant="b"),
    ]
    found = told(records)
    figures = found["figures"]
    assert (figures["requests"], figures["finished"], figures["refused"], figures["cancelled"]) == (13, 9, 3, 1)
    assert figures["goodput_per_second"] == pytest.approx(5 / 10)
    assert figures["attainment"] == pytest.approx(5 / 12), "who went away by itself is not judged"
    # What the first that was let in later had been told at first is known by its status alone.
    assert figures["refusals"] == {"503": 1, "503 overloaded": 1, "429 tenant_quota": 1}
    assert figures["errors"] == {"engine_died": 1}
    assert figures["ttft"]["p50"] == pytest.approx(0.4)
    assert figures["ttft"]["count"] == 10, "who was let in on coming back waited because it was told to"
    assert figures["itl"]["p50"] == pytest.approx(0.05, rel=0.01)
    back = figures["retry_after"]
    assert (back["told"], back["came_back"], back["let_in"], back["met"]) == (2, 2, 1, 1)
    assert figures["goodput_with_retries_per_second"] == pytest.approx(6 / 10)
    assert back["told_seconds"]["max"] == 4.0
    assert figures["refusal_seconds"]["max"] == 0.03
    assert found["gates"]["passed"] is False, "one of thirteen failed, none may"
    assert found["exit_code"] == results.MISSED_SLO


def test_the_warm_up_does_not_count() -> None:
    records = [answered(n, float(n), ttft=9.0 if n < 3 else 0.2) for n in range(10)]
    figures = told(records, warmup=3)["figures"]
    assert (figures["requests"], figures["attainment"], figures["ttft"]["max"]) == (7, 1.0, 0.2)
    assert figures["offered_per_second"] == 1.0


def test_tokens_are_told_by_kind_and_when_they_came() -> None:
    records = [
        answered(0, 1.0, tokens=10, cached_tokens=6, reasoning_tokens=4),
        # Half of this one comes after the end.
        answered(1, 9.0, ttft=0.5, itl=0.1, tokens=10),
    ]
    rates = told(records)["figures"]["tokens_per_second"]
    assert rates["prompt"] == pytest.approx(2.0)
    assert rates["cached"] == pytest.approx(0.6)
    assert rates["reasoning"] == pytest.approx(0.4)
    assert rates["answer"] == pytest.approx(0.6 + 0.5, abs=0.11)
    assert rates["output"] == pytest.approx(rates["reasoning"] + rates["answer"])
    assert told(records)["figures"]["cached_share"] == pytest.approx(0.3)


def test_fairness_is_over_tokens_for_weight() -> None:
    records = [answered(n, n / 2, tenant="a" if n % 4 else "b") for n in range(16)]
    found = told(records)["fairness"]
    assert found["jain"] == pytest.approx(16**2 / (2 * (12**2 + 4**2)))
    one = {"arrivals": {"process": "poisson", "rate": 1}}
    weighed = told(records, tenants=[{**one, "name": "a", "weight": 3}, {**one, "name": "b"}])["fairness"]
    assert weighed["jain"] == pytest.approx(1.0)
    assert found["worst_well_behaved"] == "a", "the other one is not well-behaved"
    assert weighed["worst_well_behaved"] in ("a", "b")


def test_who_asks_for_little_is_no_sign_of_unfairness() -> None:
    # a asks for 3 and gets them; b asks for 17 and gets 7.
    records = [answered(n, n / 2 + 1, tenant="a") for n in range(3)]
    records += [answered(n, n / 3 + 0.1, tenant="b") for n in range(3, 10)]
    records += [refused(n, n / 3, Try(0, 503, 0.01)) for n in range(10, 20)]
    for each in records[10:]:
        each.tenant = "b"
    found = told(records)["fairness"]
    assert found["demand_per_second"]["b"] == pytest.approx(17 * 20 / 10)
    assert found["jain"] == pytest.approx(10**2 / (2 * (3**2 + 7**2)))
    assert found["jain_of_shares"] == pytest.approx(1.0)
    # Had a been refused as often as b, it would show.
    wronged = [refused(n, n / 3, Try(0, 503, 0.01)) for n in range(20, 24)]
    assert told([*records, *wronged])["fairness"]["jain_of_shares"] < 0.95


def test_what_the_warm_up_left_running_counts_for_the_server() -> None:
    # Five tokens of 50 ms each, of which the last three come after the warm-up.
    early = answered(0, 2.75, ttft=0.16)
    figures = told([early, answered(1, 5.0)], warmup=3)["figures"]
    assert figures["requests"] == 1
    assert figures["throughput_per_second"] == pytest.approx(2 / 7)
    assert figures["tokens_per_second"]["answer"] == pytest.approx((3 + 5) / 7)


def test_gates_are_of_the_well_behaved() -> None:
    records = [answered(n, n / 2, tenant="b" if n % 2 else "a", ttft=3.0 if n % 2 else 0.1) for n in range(16)]
    assert told(records, gates={"attainment": 0.9})["exit_code"] == results.OK
    late = [answered(n, n / 2, ttft=3.0) for n in range(16)]
    found = told(late, gates={"attainment": 0.9})
    assert found["exit_code"] == results.MISSED_SLO
    assert found["gates"]["reasons"] == ["a: 0.0% met the SLO, not 90.0%"]


def test_an_invalid_run_has_its_own_exit_code() -> None:
    found = told([answered(n, n / 2, lag=0.02) for n in range(16)])
    assert found["exit_code"] == results.INVALID
    assert told([])["exit_code"] == results.INVALID


def test_the_timeline_adds_up() -> None:
    records = [answered(n, n / 2, ttft=0.2) for n in range(16)]
    line = told(records)["timeline"]
    assert line["came"] == [2] * 8 + [0, 0]
    assert sum(line["finished"]) == 16
    assert sum(line["pieces"]) == 16 * 5
    assert line["running"][-1] == 0


def test_results_are_written_and_read_again(tmp_path: Path) -> None:
    found = told([answered(0, 1.0), refused(1, 2.0, Try(0, 503, 0.01, 2.0))])
    results.write(found, tmp_path / "a" / "r.json")
    again = results.read(tmp_path / "a" / "r.json")
    assert again["requests"] == found["requests"]
    assert again["figures"]["goodput_per_second"] == found["figures"]["goodput_per_second"]
    assert again["tenants"]["b"]["attainment"] is None, "there is no nan in JSON"
    results.write_csv(found, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["met", "missed"]
    assert rows[1]["tries"] == "503"
    (tmp_path / "other.json").write_text("{}")
    for name in ("other.json", "none.json"):
        with pytest.raises(Misfit):
            results.read(tmp_path / name)


def test_no_secret_is_in_a_result() -> None:
    key = "sk-0123456789abcdef"
    records = [refused(0, 1.0, Try(0, 429, 0.01), code=f"bad_{key}"), answered(1, 2.0, finished=False, code=key[:12])]
    run = the_run(records, keys={"a": key})
    found = results.result(run, Server("http://user:secret@h:1/v1", keys={"a": key}))
    text = json.dumps(found)
    assert key[:8] not in text
    assert "secret" not in text
    assert "user:" not in text
    assert key not in repr(run.setting)
    assert found["figures"]["refusals"] == {"429 redacted": 1}
    assert not math.isnan(found["figures"]["refused_share"])
