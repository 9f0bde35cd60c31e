"""The targets of `make fuzz` for a second each, and every input that ever failed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from server.generation.output_parser import OutputParser
from tests.fuzz.targets import SEEDS, TARGETS

FOUND = sorted((Path(__file__).parent / "found").glob("*/*"))
EXAMPLES = 300


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_taken(name: str) -> None:
    # Of the length of libFuzzer's inputs; longer ones count as better, since they make more choices.
    @given(st.binary(max_size=200))
    @settings(max_examples=EXAMPLES, deadline=None)
    def run(data: bytes) -> None:
        target(float(len(data)))
        TARGETS[name](data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_with_bytes_changed_are_taken(name: str) -> None:
    """A changed file is deeper in a decoder than any random one."""
    chance = random.Random(7)
    for seed in SEEDS[name]:
        TARGETS[name](seed)
        for _ in range(EXAMPLES // len(SEEDS[name])):
            changed = bytearray(seed)
            for _ in range(chance.randint(1, 4)):
                changed[chance.randrange(len(changed))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
            cut = chance.choice((len(changed), len(changed), chance.randrange(len(changed) + 1)))
            TARGETS[name](bytes(changed[:cut]))


def test_what_failed_once_does_not_again() -> None:
    for path in FOUND:
        TARGETS[path.parent.name](path.read_bytes())


def test_a_defect_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No target lets pass what it is there to find: another kind of failure, an answer that changes with the cut."""

    def broken(*given: object, **named: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("tests.fuzz.targets.parse_body", broken)
    for name in ("message_normaliser", "body_parser"):
        with pytest.raises(KeyError):
            TARGETS[name](b"\x00" * 8)
    monkeypatch.setattr("tests.fuzz.targets.decode_pixels", broken)
    with pytest.raises(KeyError):
        TARGETS["media_decoder"](b"x")
    feed = OutputParser.feed
    monkeypatch.setattr(OutputParser, "feed", lambda self, text: feed(self, text[:3]))
    with pytest.raises(AssertionError, match="the cut shows"):
        TARGETS["output_parser"](SEEDS["output_parser"][0])
