"""The checkpoint's chat template behaves as Qwen3.5's does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
import pytest

import server.reference

TEMPLATE = Path(server.reference.__file__).with_name("checkpoint") / "chat_template.jinja"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
QUESTION = {"role": "user", "content": "Hi"}


class Refused(Exception):
    pass


def refuse(message: str) -> None:
    raise Refused(message)


def render(messages: list[dict[str, Any]], **arguments: Any) -> str:
    """As transformers and vLLM render it."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(messages=messages, **arguments)


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def test_thinking_is_on_unless_switched_off() -> None:
    start = "<|im_start|>user\nHi<|im_end|>\n"
    assert render([QUESTION]) == start
    assert render([QUESTION], add_generation_prompt=True) == start + "<|im_start|>assistant\n<think>\n"
    assert (
        render([QUESTION], add_generation_prompt=True, enable_thinking=False)
        == start + "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_system_message() -> None:
    text = render([{"role": "system", "content": "Be brief."}, QUESTION])
    assert text == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"


def test_tools_come_before_the_callers_system_text() -> None:
    text = render([{"role": "system", "content": "Be brief."}, QUESTION], tools=[TOOL, TOOL])
    head, system_end, _ = text.partition("<|im_end|>")
    lines = json.dumps(TOOL)
    assert head.startswith(
        "<|im_start|>system\n# Tools\n\nYou have access to the following functions:\n\n"
        f"<tools>\n{lines}\n{lines}\n</tools>\n\n"
    )
    assert "<function=" in head
    assert head.endswith("\n\nBe brief.")
    assert system_end


def test_calls_and_their_results() -> None:
    messages = [
        QUESTION,
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "I call f.",
            "tool_calls": [call("f", city="Zubavo", on=True, most=3, none=None, tags=["a", "ü"]), call("g")],
        },
        {"role": "tool", "content": "one"},
        {"role": "tool", "content": [{"type": "text", "text": "two"}]},
    ]
    assert render(messages) == (
        "<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nI call f.\n</think>\n\nLet me see.\n\n"
        "<tool_call>\n<function=f>\n<parameter=city>\nZubavo\n</parameter>\n<parameter=on>\ntrue\n</parameter>\n"
        "<parameter=most>\n3\n</parameter>\n<parameter=none>\nnull\n</parameter>\n"
        '<parameter=tags>\n["a", "ü"]\n</parameter>\n</function>\n</tool_call>\n'
        "<tool_call>\n<function=g>\n</function>\n</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response><|im_end|>\n"
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"role": "assistant", "content": "Hello", "reasoning_content": "A greeting."},
        {"role": "assistant", "content": "<think>\nA greeting.\n</think>\n\nHello"},
    ],
)
def test_only_turns_after_the_last_query_keep_their_thinking(answer: dict[str, Any]) -> None:
    kept = "<|im_start|>assistant\n<think>\nA greeting.\n</think>\n\nHello<|im_end|>\n"
    assert render([QUESTION, answer]).endswith(kept)
    assert "A greeting." not in render([QUESTION, answer, QUESTION])
    # A tool's result in a user turn is no query.
    result = {"role": "user", "content": "<tool_response>\n1\n</tool_response>"}
    assert kept in render([QUESTION, answer, result])


@pytest.mark.parametrize(
    ("part", "token"),
    [
        ({"type": "image"}, "image"),
        ({"type": "image_url", "image_url": {"url": "x"}}, "image"),
        ({"image": "x"}, "image"),
        ({"type": "video"}, "video"),
        ({"video": "x"}, "video"),
    ],
)
def test_images_and_videos_become_placeholders(part: dict[str, Any], token: str) -> None:
    text = render([{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}])
    assert text == f"<|im_start|>user\n<|vision_start|><|{token}_pad|><|vision_end|>What?<|im_end|>\n"


SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "No messages provided."),
        ([SYSTEM], "No user query found in messages."),
        ([{"role": "user", "content": "<tool_response>\n1\n</tool_response>"}], "No user query found in messages."),
        ([QUESTION, SYSTEM], "System message must be at the beginning."),
        ([QUESTION, {"role": "developer", "content": "x"}], "Unexpected message role."),
        ([{"role": "system", "content": [{"type": "image"}]}, QUESTION], "System message cannot contain images."),
        ([{"role": "system", "content": [{"type": "video"}]}, QUESTION], "System message cannot contain videos."),
        ([{"role": "user", "content": [{"type": "audio"}]}], "Unexpected item type in content."),
    ],
)
def test_refusals_have_the_words_of_qwen(messages: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(Refused) as refusal:
        render(messages)
    assert str(refusal.value) == words
