from __future__ import annotations

from typing import Any

import pytest

from server.telemetry.audit import Audit
from server.telemetry.record import result_of
from server.telemetry.request_log import REDACTED, Redaction


def test_many_failures_give_few_lines_and_say_how_many_were_left_out() -> None:
    lines: list[dict[str, Any]] = []
    now = [0.0]
    audit = Audit(lambda event, **fields: lines.append(fields), per_second=2, burst=5, clock=lambda: now[0])
    for _ in range(1000):
        audit("auth_failure", path="/v1/models")
    assert len(lines) == 5
    now[0] = 1.0
    audit("auth_failure", path="/v1/models")
    assert (len(lines), lines[-1]["left_out_before"]) == (6, 995)
    audit("admin", path="/admin/drain")
    assert (len(lines), "left_out_before" in lines[-1]) == (7, False)


@pytest.mark.parametrize(
    "secret", ["ada@example.com", "sk-abcdefghijklmnop", "4111 1111 1111 1111", "ghp_0123456789abcdef"]
)
def test_what_looks_like_a_secret_is_redacted(secret: str) -> None:
    assert Redaction()(f"It is {secret}, really.") == f"It is {REDACTED}, really."


def test_own_patterns_and_the_bound_on_length() -> None:
    assert Redaction([r"ZX-\d+"])("case ZX-12") == f"case {REDACTED}"
    assert len(Redaction()("a" * 10**6)) == 8192


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        ("stop", "finished"),
        ("client_gone", "cancelled"),
        ("rejected_overloaded", "refused"),
        ("evicted_deadline_exceeded", "deadline"),
        ("interrupted", "drain"),
        ("refused_starting", "refused"),
        ("engine_dead", "failed"),
        ("error", "failed"),
    ],
)
def test_every_outcome_has_its_word(outcome: str, result: str) -> None:
    assert result_of(outcome) == result
