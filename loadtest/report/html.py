"""The page of a result."""

from __future__ import annotations

from html import escape
from typing import Any

import yaml

from loadtest.compare import counted
from loadtest.histogram import Histogram
from loadtest.report.svg import Axis, Series, chart
from loadtest.results import Result

_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:24px auto;max-width:1180px;padding:0 16px;color:#222}
h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:28px 0 8px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:3px 10px;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}th{font-weight:600}
.banner{padding:10px 14px;border-radius:6px;margin:14px 0;color:#fff}.ok{background:#2e7d4f}.bad{background:#b3362b}
.tiles{display:flex;flex-wrap:wrap;gap:10px}.tiles div{border:1px solid #ddd;border-radius:6px;padding:8px 14px}
.tiles b{display:block;font-size:19px}.charts{display:flex;flex-wrap:wrap;gap:14px}
svg{max-width:100%;height:auto;font:11px system-ui,sans-serif}
pre{background:#f5f5f5;padding:12px;overflow:auto}.dim{color:#777}
"""
# Nothing may be fetched, whatever a name in the result says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_PARTS = ("p50", "p90", "p99", "p99.9")


def page(found: Result) -> str:
    """The whole report as one HTML document."""
    scenario, figures = found["scenario"], found["figures"]
    name = escape(scenario["name"])
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Load test: {name}</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}</style></head><body>',
        f"<h1>Load test: {name}</h1><p>{escape(scenario.get('description', ''))}</p>",
        f'<p class="dim">{escape(found["target"]["base_url"])}, model {escape(found["target"]["model"])}, '
        f"{escape(found['started'])}, seed {scenario.get('seed', 1)}, {found['tool']['name']} "
        f"{escape(found['tool']['version'])}</p>",
        _banner(found),
        _tiles(found),
    ]
    if "sweep" in found:
        parts += ["<h2>Rates</h2>", _sweep(found["sweep"])]
    parts += [
        "<h2>Latency</h2>",
        _latency(figures, found["tenants"]),
        '<p class="dim">Seconds from the intended moment of sending. TTFT, TPOT and end to end are of requests '
        "that were not refused; ITL lies between pieces of an answer.</p>",
        _distributions(found),
        "<h2>Tenants</h2>",
        _tenants(found),
        "<h2>Refusals and errors</h2>",
        _refusals(found),
        "<h2>Over time</h2>",
        _timeline(found["timeline"]),
        "<h2>The sender</h2>",
        _sender(found["validity"]),
        f"<h2>Scenario</h2><details><summary>{name}.yaml, as it was run</summary>",
        f"<pre>{escape(yaml.safe_dump(scenario, sort_keys=False, allow_unicode=True))}</pre></details></body></html>",
    ]
    return "".join(parts)


def _number(value: Any, digits: int = 3) -> str:
    if value is None or value != value:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def _percent(value: Any) -> str:
    return "–" if value is None or value != value else f"{100 * value:.1f} %"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{escape(each)}</th>" for each in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _banner(found: Result) -> str:
    valid, passed = found["validity"], found["gates"]
    if not valid["valid"]:
        return _told(
            "bad", "This run is not valid: it says more about the sender than about the server.", valid["reasons"]
        )
    if not passed["passed"]:
        return _told("bad", "Valid, but not what the scenario asks for.", passed["reasons"])
    return _told("ok", "Valid; everything that the scenario asks for came true.", [])


def _told(kind: str, text: str, reasons: list[str]) -> str:
    return f'<div class="banner {kind}">{escape(text)}{"".join(f"<br>{escape(each)}" for each in reasons)}</div>'


def _tiles(found: Result) -> str:
    figures, fair = found["figures"], found["fairness"]
    tokens = figures["tokens_per_second"]
    tiles = [
        ("offered, requests/s", _number(figures["offered_per_second"])),
        ("goodput, requests/s", _number(figures["goodput_per_second"])),
        ("met the SLO", _percent(figures["attainment"])),
        *(
            [("goodput with those who came back as told", _number(figures["goodput_with_retries_per_second"]))]
            if figures["retry_after"]["came_back"]
            else []
        ),
        ("refused", _percent(figures["refused_share"])),
        ("TTFT p50 / p99, s", f"{_number(figures['ttft'].get('p50'))} / {_number(figures['ttft'].get('p99'))}"),
        ("answer tokens/s", _number(tokens["answer"])),
        ("reasoning tokens/s", _number(tokens["reasoning"])),
        ("prompt tokens/s", _number(tokens["prompt"])),
        ("prompt tokens cached", _percent(figures["cached_share"])),
        ("Jain's index of tokens / of fair shares", f"{_number(fair['jain'])} / {_number(fair['jain_of_shares'])}"),
    ]
    return f'<div class="tiles">{"".join(f"<div><b>{value}</b>{label}</div>" for label, value in tiles)}</div>'


def _sweep(sweep: dict[str, Any]) -> str:
    points = sweep["points"]
    head = [
        "rate",
        "offered/s",
        "through/s",
        "goodput/s",
        "in SLO",
        "refused",
        "TTFT p50",
        "TTFT p99",
        "ITL p99",
        "tokens/s",
        "",
    ]
    rows = [
        [
            _number(each["rate"]), _number(each["offered"]), _number(each["throughput"]), _number(each["goodput"]),
            _percent(each["attainment"]), _percent(each["refused_share"]), _number(each["ttft_p50"]),
            _number(each["ttft_p99"]), _number(each["itl_p99"]), _number(each["output_tokens"]),
            "" if each["valid"] else "not valid",
        ]
        for each in points
    ]  # fmt: skip
    told = (
        f"Highest rate at which {_percent(sweep['attainment'])} met the SLO: {_number(sweep['slo_rate'])} requests/s. "
        f"Knee (throughput follows what is offered up to here): {_number(sweep['knee'])} requests/s."
    )
    offered = Axis("offered, requests/s")
    curves = [
        Series(label, [(each["offered"], each[key]) for each in points], dots=True)
        for label, key in (("throughput", "throughput"), ("goodput", "goodput"))
    ]
    ideal = Series("all of it", [(0.0, 0.0), *((each["offered"], each["offered"]) for each in points)], dashed=True)
    tails = [
        Series(key.replace("_", " "), [(e["offered"], e[key]) for e in points if e[key]], dots=True)
        for key in ("ttft_p50", "ttft_p99")
    ]
    pictures = chart("Goodput against offered load", [*curves, ideal], offered, Axis("requests/s"))
    pictures += chart("Time to the first token against offered load", tails, offered, Axis("seconds", log=True))
    return f'<p>{told} The figures below are of that rate.</p><div class="charts">{pictures}</div>{_table(head, rows)}'


def _latency(figures: dict[str, Any], tenants: dict[str, Any]) -> str:
    rows = []
    kinds = (("ttft", "TTFT"), ("itl", "ITL"), ("tpot", "TPOT"), ("e2e", "end to end"))
    for name, each in [("all", figures), *(tenants.items() if len(tenants) > 1 else ())]:
        rows += [
            [
                f"{label}, {name}",
                *(_number(each[kind].get(part), 4) for part in _PARTS),
                _number(each[kind].get("count")),
            ]
            for kind, label in kinds
            if each[kind]
        ]
    return _table(["seconds", *_PARTS, "count"], rows)


def _cumulative(values: list[float]) -> list[tuple[float, float]]:
    ordered = sorted(values)
    return [(value, (place + 1) / len(ordered)) for place, value in enumerate(ordered)]


def _distributions(found: Result) -> str:
    requests = counted(found, None)
    pictures = []
    for column, title in (("ttft", "Time to the first token"), ("e2e", "End to end")):
        series = []
        for tenant in found["tenants"]:
            values = [
                value
                for value, whose, tries, reason in zip(
                    requests[column], requests["tenant"], requests["tries"], requests["finish_reason"], strict=True
                )
                if whose == tenant and value is not None and tries == [200] and (column == "ttft" or reason)
            ]
            series.append(Series(tenant, _cumulative(values), steps=True))
        pictures.append(chart(title, series, Axis("seconds", log=True), Axis("part of the requests", top=1.0)))
    itl = [
        Series(tenant, Histogram({int(k): v for k, v in buckets.items()}).cumulative(), steps=True)
        for tenant, buckets in found["itl_buckets"].items()
    ]
    pictures.insert(1, chart("Between pieces (ITL)", itl, Axis("seconds", log=True), Axis("part of the gaps", top=1.0)))
    return f'<div class="charts">{"".join(pictures)}</div>'


def _tenants(found: Result) -> str:
    head = ["tenant", "requests", "offered/s", "goodput/s", "in SLO", "refused", "errors", "cancelled", "prompt tok/s",
            "cached", "reasoning tok/s", "answer tok/s"]  # fmt: skip
    rows = []
    for name, each in [("all", found["figures"]), *found["tenants"].items()]:
        tokens = each["tokens_per_second"]
        rows.append(
            [
                name, _number(each["requests"]), _number(each["offered_per_second"]),
                _number(each["goodput_per_second"]), _percent(each["attainment"]), _percent(each["refused_share"]),
                _number(sum(each["errors"].values())), _number(each["cancelled"]), _number(tokens["prompt"]),
                _percent(each["cached_share"]), _number(tokens["reasoning"]), _number(tokens["answer"]),
            ]
        )  # fmt: skip
    fair = found["fairness"]
    told = ""
    if fair["jain"] is not None:
        told = (
            f"Jain's index over tokens for weight: {_number(fair['jain'])}; over tokens for what a max-min fair server "
            f"would have given each, who may ask for less than its share: {_number(fair['jain_of_shares'])}. "
        )
    if fair["worst_well_behaved"]:
        told += (
            f"Worst p99 TTFT of a well-behaved tenant: {_number(fair['worst_well_behaved_ttft_p99'])} s "
            f"({fair['worst_well_behaved']}); least part in SLO: {_percent(fair['least_attainment'])}."
        )
    return f"{_table(head, rows)}<p>{escape(told)}</p>"


def _refusals(found: Result) -> str:
    figures = found["figures"]
    rows = [[f"refused: {reason}", _number(count)] for reason, count in figures["refusals"].items()]
    rows += [[f"error: {reason}", _number(count)] for reason, count in figures["errors"].items()]
    if not rows:
        return "<p>None.</p>"
    back, told = figures["retry_after"], figures["retry_after"]["told_seconds"]
    if figures["refused"]:
        rows.append(["refusals that told when to come back", _number(back["told"])])
        rows.append(["  seconds told, p50 / p99", f"{_number(told.get('p50'))} / {_number(told.get('p99'))}"])
        rows.append(["seconds until refused, p50 / p99", _pair(figures["refusal_seconds"])])
    if back["came_back"]:
        part = back["let_in"] / back["came_back"]
        rows.append(["came back just then", _number(back["came_back"])])
        rows.append(["  of these let in", f"{_number(back['let_in'])} ({_percent(part)})"])
        rows.append(["  of these in the SLO, counted from then", _number(back["met"])])
    return _table(["", ""], rows)


def _pair(values: dict[str, float]) -> str:
    return f"{_number(values.get('p50'))} / {_number(values.get('p99'))}"


def _timeline(timeline: dict[str, Any]) -> str:
    def each_second(name: str, key: str) -> Series:
        return Series(name, [(float(at), float(value)) for at, value in enumerate(timeline[key])], steps=True)

    time = Axis("seconds")
    asked = [each_second(name, name) for name in ("came", "finished", "refused", "failed") if any(timeline[name])]
    server = timeline["server"]
    inside = [each_second("running, as the clients see it", "running")]
    inside += [
        Series(f"server: {name}", list(zip(server["at"], values, strict=True)))
        for name, values in server.items()
        if name not in ("at", "kv cache") and server["at"]
    ]
    pictures = [
        chart("Requests a second", asked, time, Axis("requests/s")),
        chart("Running and waiting", inside, time, Axis("requests")),
        chart("Pieces of answers a second", [each_second("pieces", "pieces")], time, Axis("pieces/s")),
    ]
    if server["at"] and "kv cache" in server:
        used = Series("server: kv cache", list(zip(server["at"], server["kv cache"], strict=True)))
        pictures.append(chart("KV cache", [used], time, Axis("part used", top=1.0)))
    note = "" if server["at"] else '<p class="dim">The server offers no metrics that are known here.</p>'
    events = [
        [f"{each['at']:g} s: POST {each['post']}", str(each.get("status", each.get("error")))]
        for each in timeline["events"]
    ]
    return f'<div class="charts">{"".join(pictures)}</div>{note}{_table(["event", "answer"], events) if events else ""}'


def _sender(valid: dict[str, Any]) -> str:
    rows = [
        [label, *(_number(1000 * valid[key][part]) if valid[key] else "–" for part in ("p50", "p99", "max"))]
        for label, key in (("requests sent late by, ms", "lag"), ("event loop late by, ms", "loop_lag"))
    ]
    told = (
        f"{valid['workers']} process(es), the busiest with {_percent(valid['cpu_share'])} of a core; "
        f"{valid['connections']} connections opened."
    )
    return f"{_table(['', 'p50', 'p99', 'most'], rows)}<p>{escape(told)}</p>"
