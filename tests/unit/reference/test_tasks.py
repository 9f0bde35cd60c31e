"""The training tasks: the same for the same seed, and held-out words that training never sees."""

from __future__ import annotations

import random

import pytest

from server.reference.tasks import sample, skills
from server.reference.vocabulary import Split, Vocabulary, held_out


def test_the_same_seed_makes_the_same_samples() -> None:
    first, second = ([sample(random.Random(seed), "train") for seed in range(50)] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert (one.messages, one.thought, one.content, one.calls) == (
            other.messages,
            other.thought,
            other.content,
            other.calls,
        )
        assert [image.tobytes() for image in one.images] == [image.tobytes() for image in other.images]


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_each_split_has_its_own_words(split: Split) -> None:
    words = Vocabulary(random.Random(1), split)
    for _ in range(300):
        a, b = words.pair(99)
        for word in (words.made_up(), words.name(), words.symbol(), f"{a}+{b}"):
            assert held_out(word) == (split == "held-out")


@pytest.mark.parametrize("skill", skills())
@pytest.mark.parametrize("split", ["train", "held-out"])
def test_every_sample_asks_and_answers(skill: str, split: Split) -> None:
    for seed in range(30):
        made = sample(random.Random(seed), split, skill)
        assert made.skill == skill
        assert made.messages[-1]["role"] == ("tool" if skill == "tool_result" else "user")
        assert made.thought
        assert bool(made.content) != bool(made.calls)
        parts = [
            part for message in made.messages if isinstance(message["content"], list) for part in message["content"]
        ]
        assert sum(part["type"] == "image" for part in parts) == len(made.images)


def test_called_tools_are_on_offer_and_their_values_are_in_the_question() -> None:
    for seed in range(200):
        made = sample(random.Random(seed), "train", "tool_call")
        offered = {tool["function"]["name"]: tool["function"]["parameters"]["properties"] for tool in made.tools}
        for name, arguments in made.calls:
            assert set(arguments) <= set(offered[name])
            for value in arguments.values():
                assert isinstance(value, bool) or str(value) in made.messages[-1]["content"]


def test_sums_are_right() -> None:
    for seed in range(200):
        made = sample(random.Random(seed), "held-out", "sum")
        a, b = (int(word) for word in made.thought.rpartition(". ")[2].split(" is ")[0].split(" plus "))
        assert made.content == str(a + b)
        assert made.thought.endswith(f"{a} plus {b} is {a + b}.")
