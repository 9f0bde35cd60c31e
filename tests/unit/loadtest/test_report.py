"""The report is one page that fetches nothing, whatever is in the result."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from loadtest.record import Try
from loadtest.report.html import page
from loadtest.report.svg import Axis, Series, chart
from loadtest.results import Result
from loadtest.summary import summary
from tests.unit.loadtest.test_results import answered, refused, told

VOID = {"meta", "br"}


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs


@pytest.fixture
def found() -> Result:
    records = [answered(n, n / 4, ttft=0.1 + n / 100, tenant="ab"[n % 2]) for n in range(30)]
    records += [refused(30, 8.0, Try(0, 503, 0.01, 1.0), Try(1.0, 503)), answered(31, 9, finished=False, code="died")]
    found = told(records)
    found["timeline"]["server"] = {"at": [0.0, 1.0], "running": [1.0, 2.0], "kv cache": [0.1, 0.2]}
    found["timeline"]["events"] = [{"at": 5.0, "post": "http://127.0.0.1:1/admin/drain", "status": 200}]
    points = [
        {
            "rate": float(n), "offered": n * 1.02, "throughput": min(n, 3.0), "goodput": min(n, 2.8), "attainment": 1.0,
            "refused_share": 0.0, "ttft_p50": 0.1, "ttft_p99": 0.2, "itl_p99": 0.01, "output_tokens": 10.0,
            "valid": n < 5, "reasons": [],
        }
        for n in range(1, 6)
    ]  # fmt: skip
    found["sweep"] = {"points": points, "attainment": 0.95, "slo_rate": 3.0, "knee": 3.0}
    return found


def test_the_page_is_whole_and_fetches_nothing(found: Result) -> None:
    text = page(found)
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert not {name for name, _ in parser.attributes} & {"src", "href", "xlink:href", "action", "onload"}
    assert "<script" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    for told_there in ("503 overloaded", "died", "Goodput against offered load", "KV cache", "not valid"):
        assert told_there in text
    assert text.count("<svg") == 9


def test_pictures_are_well_formed(found: Result) -> None:
    for picture in re.findall(r"<svg.*?</svg>", page(found), re.DOTALL):
        ElementTree.fromstring(picture)


def test_names_cannot_become_markup(found: Result) -> None:
    evil = "<script>alert(1)</script>"
    found["tenants"][evil] = found["tenants"].pop("a")
    found["itl_buckets"][evil] = found["itl_buckets"].pop("a")
    found["scenario"]["description"] = found["target"]["model"] = evil
    found["figures"]["errors"] = {evil: 1}
    found["fairness"]["worst_well_behaved"] = evil
    assert "<script" not in page(found)


def test_the_page_says_when_a_run_is_not_valid(found: Result) -> None:
    found["validity"] |= {"valid": False, "reasons": ["the sender was late"]}
    assert "not valid" in page(found)
    assert "NOT VALID: the sender was late" in summary(found)


def test_what_was_written_as_json_can_be_shown(found: Result) -> None:
    import json

    assert "Latency" in page(json.loads(json.dumps(found)))


def test_a_run_without_requests_can_be_shown() -> None:
    empty = told([])
    assert "nothing to show" in page(empty)
    assert "no request was sent" in summary(empty)


@pytest.mark.parametrize(
    "points", [[], [(1.0, 1.0)], [(0.0, 0.0)], [(1.0, 5.0), (1.0, 5.0)], [(n / 10, n * 1e6) for n in range(5000)]]
)
@pytest.mark.parametrize("log", [False, True])
def test_charts_have_no_bad_numbers(points: list[tuple[float, float]], log: bool) -> None:
    picture = chart("t & <t>", [Series("s", points, steps=True, dots=True)], Axis("x", log=log), Axis("y", log=log))
    ElementTree.fromstring(picture)
    assert "nan" not in picture
    assert "inf" not in picture
    assert len(picture) < 80_000


def test_points_lie_where_the_axes_say() -> None:
    picture = chart("t", [Series("s", [(0, 0), (5, 50), (10, 100)])], Axis("x"), Axis("y"), width=574, height=266)
    line = re.search(r'<polyline points="([^"]+)"', picture).group(1)
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, pair.split(","))) for pair in line.split())
    assert (x1 - x0) == pytest.approx(x2 - x1, abs=0.2)
    assert (y0 - y1) == pytest.approx(y1 - y2, abs=0.2)
    assert x0 < x2
    assert y0 > y2
