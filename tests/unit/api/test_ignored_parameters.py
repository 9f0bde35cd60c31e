from __future__ import annotations

import pytest

from server.api.ignored_parameters import ignored_parameters


def header(*names: str) -> str:
    (value,) = ignored_parameters(names).values()
    return value


def test_plain_names_stand_as_they_are() -> None:
    assert header("reasoning_effort", "top-a", "x.y") == "reasoning_effort, top-a, x.y"


def test_nothing_ignored_is_no_header() -> None:
    assert ignored_parameters([]) == {}


@pytest.mark.parametrize("name", ["\x1f", "a\r\nset-cookie: b", "é", "🙂", "a, b", "\ud800"])
def test_no_name_can_break_the_header_or_stand_for_two(name: str) -> None:
    value = header("first", name, "last")
    assert value.encode("latin-1").decode("ascii").isprintable()
    assert value.count(", ") == 2


@pytest.mark.parametrize("names", [[f"name_{index}" for index in range(1000)], ["x" * 5000], ["a", "é" * 5000]])
def test_the_header_is_bounded(names: list[str]) -> None:
    value = header(*names)
    assert len(value) < 1100
    assert value.endswith("...")
    assert all(name in names for name in value.split(", ")[:-1])
