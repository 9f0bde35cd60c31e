"""Trying grammars out: what compiles passes once for all, what does not says why, what lasts or crashes is ended."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from server.engine.grammar_checker import Grammar, GrammarChecker, GrammarRefused
from server.generation.errors import InvalidRequest, Unavailable

SLOW = Grammar(
    "json",
    '{"type": "object", "properties": {'
    + ", ".join(
        f'"p{n}": {{"type": "string", "pattern": "^([a-z]{{1,1000}}|[0-9]{{1,900}}){{1,300}}$"}}' for n in range(400)
    )
    + "}}",
)


def checker(**changes: Any) -> GrammarChecker:
    from xgrammar import TokenizerInfo, VocabType

    info = TokenizerInfo([bytes([n]) for n in range(256)], VocabType.RAW, stop_token_ids=[0])
    settings: dict[str, Any] = {"any_whitespace": False, "seconds": 2.0, "at_once": 1, "memory_bytes": 2**32}
    return GrammarChecker(info.serialize_json(), **{**settings, **changes})


@pytest.fixture
async def checking() -> Any:
    made = checker()
    await made.start()
    await made.check(Grammar("regex", "warm"), None)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (Grammar("json", '{"type": "string"}'), Grammar("json", '{"type": "thing"}')),
        (Grammar("regex", "a{1,5}"), Grammar("regex", "(a")),
        (Grammar("grammar", 'root ::= "a"'), Grammar("grammar", "root ::= missing")),
        (
            Grammar("structural_tag", '{"type": "structural_tag", "format": {"type": "any_text"}}'),
            Grammar("structural_tag", "{}"),
        ),
    ],
)
async def test_what_compiles_passes_and_what_does_not_says_why(
    checking: GrammarChecker, good: Grammar, bad: Grammar
) -> None:
    await checking.check(good, None)
    for _ in range(2):
        with pytest.raises(GrammarRefused, match=r"."):
            await checking.check(bad, None)


async def test_what_takes_too_long_is_ended_and_the_next_need_not_wait(checking: GrammarChecker) -> None:
    process = checking._workers[0]._process
    began = time.monotonic()
    with pytest.raises(InvalidRequest, match="more than 2 seconds") as caught:
        await checking.check(SLOW, "tools")
    assert (caught.value.param, caught.value.code) == ("tools", "too_complex")
    assert time.monotonic() - began < 6
    await checking.check(Grammar("regex", "next"), None)
    # By the same process: a new one would take seconds to start.
    assert checking._workers[0]._process is process


async def test_what_passed_is_known_even_while_the_process_is_busy(checking: GrammarChecker) -> None:
    busy = asyncio.create_task(checking.check(SLOW, None))
    await asyncio.sleep(0.2)
    await checking.check(Grammar("regex", "warm"), None)
    assert not busy.done()
    busy.cancel()
    # A client that leaves does not free the process before its time, and does not break it.
    await asyncio.wait([busy])
    await checking.check(Grammar("regex", "other"), None)


async def test_who_waits_longer_than_one_may_take_is_told_to_come_again() -> None:
    made = checker(seconds=1.0)
    await made.start()
    await made.check(Grammar("regex", "warm"), None)
    tasks = [asyncio.create_task(made.check(Grammar("json", SLOW.source + " " * n), None)) for n in range(3)]
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(error) for error in ended} == {InvalidRequest, Unavailable}
    made.close()


async def test_too_much_memory_and_crashes_are_the_grammars_fault() -> None:
    made = checker(memory_bytes=2**27, seconds=20.0)
    try:
        with pytest.raises((InvalidRequest, GrammarRefused)):
            await made.check(SLOW, "response_format")
        await made.check(Grammar("regex", "fine"), None)
    finally:
        made.close()
