"""Lines that change with every request are left out of the system text, and nothing else is."""

from __future__ import annotations

import re
import time

import pytest

from server.generation.conversation import Conversation, Message, TextPart
from server.generation.template_messages import template_messages
from server.settings import Settings

HEADER = "x-anthropic-billing-header: cc_version=2.1.42.9f3; cc_entrypoint=cli; cch=0a1b2;"
DEFAULT = tuple(map(re.compile, Settings().generation.strip_system_lines))
HI = Message("user", "Hi")


def system(*texts: str | tuple[str, ...], patterns: tuple[re.Pattern[str], ...] = DEFAULT) -> str | None:
    """The system message that these become, each text or tuple of parts a message of its own."""
    messages = [
        Message("system", text if isinstance(text, str) else tuple(TextPart(part) for part in text)) for text in texts
    ]
    first, *_ = template_messages(Conversation((*messages, HI)), {}, patterns)
    return first["content"] if first["role"] == "system" else None


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        ([HEADER], None),
        ([f"{HEADER}\nYou are kind."], "You are kind."),
        ([f"You are kind.\n{HEADER}"], "You are kind."),
        ([f"You are\n{HEADER}\n\nkind."], "You are\n\nkind."),
        ([(HEADER, "You are kind.", "Be brief.")], "You are kind.\nBe brief."),
        ([("You are kind.", "", "Be brief.")], "You are kind.\n\nBe brief."),
        ([HEADER, "You are kind."], "You are kind."),
        ([f"See {HEADER}"], f"See {HEADER}"),
        ([f" {HEADER}"], f" {HEADER}"),
        (["You are kind.\r\n"], "You are kind.\r\n"),
    ],
)
def test_the_default_leaves_the_billing_header_out(texts: list[str], left: str | None) -> None:
    assert system(*texts) == left


def test_without_patterns_all_stays() -> None:
    assert system(f"{HEADER}\nYou are kind.", patterns=()) == f"{HEADER}\nYou are kind."


def test_any_pattern_does_and_only_in_system_text() -> None:
    patterns = (re.compile("now: "), re.compile("id: [0-9]+$"))
    assert system("now: 12:30\nid: 7\nid: 7x", patterns=patterns) == "id: 7x"
    messages = template_messages(Conversation((Message("user", "now: 12:30"),)), {}, patterns)
    assert messages[0]["content"] == "now: 12:30"


def test_the_work_is_bounded() -> None:
    """However much text there is: it is done on the event loop."""
    texts = ["\n" * 8_000_000, "y" * 4_000_000 + "\nx-anthropic-billing-header: 1"]
    began = time.perf_counter()
    texts[0].split("\n")
    looked_at_all = time.perf_counter() - began
    began = time.perf_counter()
    assert system(*texts) == "\n\n".join(texts), "beyond the first lines all stays"
    assert time.perf_counter() - began < looked_at_all / 3
    # A pattern that is slow on a long line sees only its beginning.
    assert system("a" * 1_000_000, patterns=(re.compile("a*b"),)) == "a" * 1_000_000
