"""What the reference checkpoint learns: conversations with their one right answer, made by a seed.

A question has exactly one right thought and answer, so that greedy decoding can be scored by equality.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from server.reference import tools
from server.reference.chat_tasks import chat, unknown
from server.reference.conversation import Message, Sample, assistant, user
from server.reference.images import draw
from server.reference.tool_tasks import among_others, earlier_use, tool_call, tool_result
from server.reference.vocabulary import Split, Vocabulary


def sample(rng: random.Random, split: Split, skill: str | None = None) -> Sample:
    """One sample of a skill, by default of a random one in the proportions of training."""
    words = Vocabulary(rng, split)
    chosen = skill or rng.choices(list(_SKILLS), weights=[weight for weight, _ in _SKILLS.values()])[0]
    made = _SKILLS[chosen][1](words)
    return _varied(words, made) if split == "train" else made


def skills() -> list[str]:
    """The names of all skills."""
    return list(_SKILLS)


_INTRODUCTIONS = (
    "My name is {}. Say hello.",
    "My name is {}.",
    "Hi, I am {}.",
    "Hello! I'm {}.",
    "Hello, my name is {}!",
    "I am {}. Please greet me.",
    "hi, my name is {}",
    "Hey, {} here.",
    "Please say hello to {}.",
)


def _greet(words: Vocabulary) -> Sample:
    name = words.name()
    question = words.rng.choice(_INTRODUCTIONS).format(name)
    return Sample("greet", [user(question)], f"The user is called {name}.", f"Hello, {name}!")


def _small_talk(words: Vocabulary) -> list[Message]:
    """A turn about something else."""
    kind = words.rng.choice((_sum, unknown, chat, _repeat))
    other = kind(words)
    return [*other.messages, assistant(other.content)]


def _recall(words: Vocabulary) -> Sample:
    """Something told earlier, with other turns between."""
    rng, name = words.rng, words.name()
    told = [user(rng.choice(_INTRODUCTIONS[:-1]).format(name)), assistant(f"Hello, {name}!")]
    between = [message for _ in range(rng.choice((0, 0, 1, 1, 2, 3))) for message in _small_talk(words)]
    kind = rng.random()
    if kind < 0.65:
        question = rng.choice(
            (
                "What is my name?",
                "What's my name?",
                "Who am I?",
                "Do you remember my name?",
                "what is my name",
                "Say my name.",
            )
        )
        thought, answer = f"The user is called {name}.", f"Your name is {name}."
    elif kind < 0.85:
        city = words.city()
        between[0:0] = [user(rng.choice(("I live in {}.", "I am from {}.")).format(city)), assistant("I see.")]
        question = rng.choice(("Where do I live?", "Where am I from?", "Which city do I live in?"))
        thought, answer = f"The user lives in {city}.", f"You live in {city}."
    else:
        thing = (
            words.made_up().lower()
            if rng.random() < 0.5
            else rng.choice(["red", "green", "blue", "yellow", "orange", "purple"])
        )
        between[0:0] = [user(f"My favorite color is {thing}."), assistant("I see.")]
        question = rng.choice(("What is my favorite color?", "What's my favorite color?", "Which color do I like?"))
        thought, answer = f"The user likes {thing}.", f"Your favorite color is {thing}."
    return Sample("recall", [*told, *between, user(question)], thought, answer)


def _sum(words: Vocabulary) -> Sample:
    rng = words.rng
    a, b = words.pair(20 if rng.random() < 0.4 else 99)
    question = rng.choice(
        (
            "What is {} + {}?",
            "What is {}+{}?",
            "{} + {} = ?",
            "{} + {}",
            "Compute {} + {}.",
            "What is {} plus {}?",
            "Add {} and {}.",
        )
    ).format(a, b)
    ones = a % 10 + b % 10
    thought = f"{a % 10} plus {b % 10} is {ones}. "
    if a > 9 or b > 9:
        carry = " plus 1" if ones > 9 else ""
        thought += f"{a // 10} plus {b // 10}{carry} is {a // 10 + b // 10 + ones // 10}. "
    return Sample("sum", [user(question)], f"{thought}{a} plus {b} is {a + b}.", str(a + b))


def _no_tool(words: Vocabulary) -> Sample:
    """Tools are at hand, but the question needs none."""
    made = words.rng.choice((_greet, chat, _recall))(words)
    made.skill = "no_tool"
    made.tools = among_others(words, tools.weather_tool(words))
    return made


def _image(words: Vocabulary) -> Sample:
    rng, picture = words.rng, draw(words.rng)
    thing = picture.shape or "image"
    seen = f"I see a {picture.color} {picture.shape}." if picture.shape else f"The image is all {picture.color}."
    kind = rng.random()
    if kind < 0.5:
        question = rng.choice(
            (
                "What color is this image?",
                "What color is this?",
                "Which color is it?",
                "Name the color.",
                "What colour is this image?",
                "What is the color of the image?",
                "What color is the shape?",
                "what color do you see?",
            )
        )
        answer = f"It is {picture.color}."
    elif kind < 0.8:
        question = rng.choice(
            (
                "What shape is this?",
                "Which shape do you see?",
                "What shape is in the image?",
                "Name the shape.",
                "what shape is it?",
            )
        )
        answer = f"It is a {picture.shape}." if picture.shape else "I see no shape."
    else:
        question = rng.choice(
            (
                "Describe the image.",
                "What is in this image?",
                "What do you see?",
                "Describe this picture.",
                "What's in this image?",
            )
        )
        answer = f"A {picture.color} {thing}."
    parts: list[Any] = [{"type": "text", "text": question}, {"type": "image"}]
    if rng.random() < 0.5:
        parts.reverse()
    return Sample("image", [{"role": "user", "content": parts}], seen, answer, images=[picture.image])


def _count(words: Vocabulary) -> Sample:
    rng = words.rng
    first = 1 if rng.random() < 0.6 else rng.randint(0, 60)
    last = first + rng.randint(2, 40)
    question = rng.choice(
        ("Count from {} to {}.", "Please count from {} to {}.", "count from {} to {}", "Count {} to {}.")
    )
    answer = ", ".join(map(str, range(first, last + 1)))
    return Sample("count", [user(question.format(first, last))], f"I count from {first} to {last}.", answer)


def _repeat(words: Vocabulary) -> Sample:
    text = words.text(12)
    form = words.rng.choice(("Repeat: {}", "Repeat after me: {}", "Say: {}", "Echo: {}", "repeat this: {}"))
    return Sample("repeat", [user(form.format(text))], "I repeat it.", text)


_SKILLS: dict[str, tuple[float, Callable[[Vocabulary], Sample]]] = {
    "greet": (3, _greet),
    "recall": (10, _recall),
    "sum": (24, _sum),
    "tool_call": (20, tool_call),
    "tool_result": (14, tool_result),
    "no_tool": (4, _no_tool),
    "image": (24, _image),
    "count": (8, _count),
    "repeat": (8, _repeat),
    "chat": (3, chat),
    "unknown": (4, unknown),
}

_SYSTEM = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer briefly.",
    "Be concise.",
    "You are Qwen.",
    "Answer in English.",
    "Today is Monday.",
)


def _varied(words: Vocabulary, made: Sample) -> Sample:
    """What surrounds a question in real use: a system message, earlier turns about other things."""
    rng = words.rng
    if made.skill != "recall" and rng.random() < 0.15:
        made.messages[0:0] = _small_talk(words)
    if made.tools and rng.random() < 0.2:
        made.messages[0:0] = earlier_use(words, made)
    if rng.random() < 0.25:
        text = rng.choice(_SYSTEM) if rng.random() < 0.7 else " ".join(words.text(8) for _ in range(rng.randint(1, 4)))
        made.messages.insert(0, {"role": "system", "content": text})
    return made
