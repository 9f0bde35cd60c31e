"""The result of a run as JSON and CSV. It holds no key and no text of any prompt or answer."""

from __future__ import annotations

import csv
import importlib.metadata
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from loadtest.histogram import Histogram
from loadtest.measures import fairness, figures, gaps, met_when_told, verdict
from loadtest.record import Record
from loadtest.run import Run, Server
from loadtest.strict import Misfit
from loadtest.timeline import timeline
from loadtest.validity import validity

FORMAT = 1
OK, MISSED_SLO, INVALID = 0, 1, 3
COLUMNS = (
    "number", "tenant", "turn", "at", "lag", "status", "code", "ttft", "tpot", "e2e", "gap", "verdict", "finish_reason",
    "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "tries", "told_retry_after",
)  # fmt: skip
Result = dict[str, Any]


def result(run: Run, server: Server) -> Result:
    """Everything that is told of a run."""
    scenario = run.scenario
    _without_keys(run)
    verdicts = [verdict(each, scenario.slo_of(each.tenant)) for each in run.records]
    counted = [
        (record, judged)
        for record, judged in zip(run.records, verdicts, strict=True)
        if scenario.warmup <= record.at < scenario.duration
    ]
    by_tenant: dict[str, Any] = {}
    itl: dict[str, Histogram] = {}
    for tenant in scenario.tenants:
        mine = [(record, judged) for record, judged in counted if record.tenant == tenant.name]
        records, judged = [each for each, _ in mine], [each for _, each in mine]
        itl[tenant.name] = gaps(records)
        everything = [each for each in run.records if each.tenant == tenant.name]
        kept = sum(met_when_told(each, scenario.slo_of(tenant.name)) for each in records)
        by_tenant[tenant.name] = figures(
            records, judged, everything, scenario.warmup, scenario.duration, itl[tenant.name], kept
        )
    records, judged = [each for each, _ in counted], [each for _, each in counted]
    kept = sum(each["retry_after"]["met"] for each in by_tenant.values())
    whole = figures(
        records, judged, run.records, scenario.warmup, scenario.duration, Histogram().merge(itl.values()), kept
    )
    found: Result = {
        "format": FORMAT,
        "tool": {"name": "qwend-loadtest", "version": version(), "python": platform.python_version()},
        "started": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="seconds"),
        "target": {"base_url": server.target.shown, "model": run.setting.model},
        "tokens_per_word": run.setting.pace.tokens_per_word,
        "capacity": run.setting.capacity,
        "scenario": scenario.model_dump(mode="json", exclude_none=True),
        "validity": validity(run),
        "figures": whole,
        "tenants": by_tenant,
        "fairness": fairness(scenario, run.records, by_tenant),
        "timeline": timeline(run.records, max(run.seconds, scenario.duration), run.seen),
        "itl_buckets": {name: {str(k): v for k, v in each.counts.items()} for name, each in itl.items()},
        "requests": columns(run.records, verdicts),
    }
    found["gates"] = gates(found, run)
    found["exit_code"] = exit_code(found)
    return found


def _without_keys(run: Run) -> None:
    """A server may say a client's key in what it calls its error; a code may be cut short in the middle of one."""
    beginnings = {key[:8] for key in run.setting.keys.values() if len(key) >= 8}
    for record in run.records:
        if record.code and any(each in record.code for each in beginnings):
            record.code = "redacted"


def version() -> str:
    """Of the installed package; `unknown` in a checkout that is not installed."""
    try:
        return importlib.metadata.version("qwend")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def gates(found: Result, run: Run) -> dict[str, Any]:
    """What the scenario asks of its run, and whether that came true."""
    wanted = run.scenario.gates
    reasons = []
    for tenant in run.scenario.tenants:
        if tenant.well_behaved and found["tenants"][tenant.name]["attainment"] < wanted.attainment:
            part = found["tenants"][tenant.name]["attainment"]
            reasons.append(f"{tenant.name}: {part:.1%} met the SLO, not {wanted.attainment:.1%}")
    errors, requests = sum(found["figures"]["errors"].values()), found["figures"]["requests"]
    if requests and errors / requests > wanted.errors:
        named = ", ".join(f"{count} {name}" for name, count in found["figures"]["errors"].items())
        reasons.append(f"{errors} of {requests} requests failed: {named}")
    return {"passed": not reasons, "reasons": reasons}


def exit_code(found: Result) -> int:
    """0: valid, and what the scenario asks came true; 1: it did not; 3: the run says nothing about the server."""
    if not found["validity"]["valid"]:
        return INVALID
    return OK if found["gates"]["passed"] else MISSED_SLO


def columns(records: list[Record], verdicts: list[str]) -> dict[str, list[Any]]:
    """One list for each column, in the order of the requests."""
    found: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for record, judged in zip(records, verdicts, strict=True):
        row: dict[str, Any] = {name: getattr(record, name, None) for name in COLUMNS}
        row |= {
            "verdict": judged,
            "tries": [each.status for each in record.tries],
            "told_retry_after": record.tries[0].retry_after if record.tries else None,
        }
        for name, value in row.items():
            found[name].append(round(value, 6) if isinstance(value, float) else value)
    return found


def write(found: Result, path: Path) -> None:
    """As JSON; null stands where there is no number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(found))


def read(path: Path) -> Result:
    """A result that was written. Raises Misfit for any other file."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise Misfit(f"{path}: {type(error).__name__}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or "requests" not in found:
        raise Misfit(f"{path} is no result of this version of qwend-loadtest")
    return found


def write_csv(found: Result, path: Path) -> None:
    """The requests, one a line."""
    requests = found["requests"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in zip(*(requests[name] for name in COLUMNS), strict=True):
            writer.writerow(" ".join(map(str, each)) if isinstance(each, list) else each for each in row)
