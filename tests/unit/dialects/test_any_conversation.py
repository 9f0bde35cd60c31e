"""Any conversation that OpenAI's API would take becomes one that the chat template renders, with nothing lost."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from server.dialects.chat_request import ChatRequest, to_conversation
from server.dialects.limits import Limits
from server.dialects.parsing import parse_body
from server.generation.template_messages import template_messages
from tests.unit.reference.test_template import render

LIMITS = Limits(messages=100, tools=10, schema_bytes=10_000)

# Words that no other text of the conversation holds, so that each can be looked for; and what templates stumble over.
ODD = ["", " ", "\n", "{{ x }}", "{% if %}", "é🙂", "\x00", '"', "<tool_call>", "<think>", "</tool_response>"]


class Words:
    """Texts with a word of their own in each."""

    def __init__(self) -> None:
        self._count = 0

    def one(self, odd: str) -> str:
        self._count += 1
        return f"{odd}w{self._count}w{odd}"


def texts(words: Words, data: st.DataObject) -> tuple[Any, list[str]]:
    """A message's content, whole or in parts, and the texts in it."""
    count = data.draw(st.integers(1, 3))
    found = [words.one(data.draw(st.sampled_from(ODD))) for _ in range(count)]
    if data.draw(st.booleans()):
        return found[0], found[:1]
    return [{"type": "text", "text": text} for text in found], found


ARGUMENTS = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=3,
)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_conversation_is_rendered_and_nothing_is_lost(data: st.DataObject) -> None:
    words = Words()
    messages: list[dict[str, Any]] = []
    system, said, given_arguments = [], [], []
    roles = data.draw(st.lists(st.sampled_from(["system", "developer", "user", "assistant", "tool"]), max_size=8))
    last_user = max((index for index, role in enumerate(roles) if role == "user"), default=-1)
    # The template wants something that a user asked; where that is nowhere, the conversation begins with it.
    if last_user < 0:
        roles, last_user = ["user", *roles], 0
    for index, role in enumerate(roles):
        content, found = texts(words, data)
        message: dict[str, Any] = {"role": role, "content": content}
        (system if role in ("system", "developer") else said).extend(found)
        if role == "assistant":
            if data.draw(st.booleans()):
                reasoning = words.one("")
                field = data.draw(st.sampled_from(["reasoning", "reasoning_content"]))
                message[field] = reasoning
                # Thinking of before the last question is Qwen's to forget.
                said += [reasoning] if index > last_user else []
            if data.draw(st.booleans()):
                message["refusal"] = words.one("")
                said.append(message["refusal"])
            if data.draw(st.booleans()):
                arguments = data.draw(ARGUMENTS)
                given_arguments.append(arguments)
                name = words.one("").strip()
                said.append(name)
                function = {"name": name, "arguments": data.draw(st.sampled_from([arguments, json.dumps(arguments)]))}
                message["tool_calls"] = [{"id": "c", "type": "function", "function": function}]
            message |= {"audio": None, "function_call": None, "annotations": []}
        elif role == "tool":
            message["tool_call_id"] = "c"
        if data.draw(st.booleans()):
            message["name"] = "somebody"
        messages.append(message)
    body = json.dumps({"model": "m", "messages": messages}).encode()
    prepared = template_messages(to_conversation(parse_body(ChatRequest, body), LIMITS), {})

    assert [message["role"] for message in prepared].count("system") == bool(system)
    calls = [call["function"]["arguments"] for message in prepared for call in message.get("tool_calls", [])]
    assert calls == given_arguments
    # vLLM gives the template the thinking under both names.
    shown = [
        {**message, "reasoning_content": message["reasoning"]} if "reasoning" in message else message
        for message in prepared
    ]
    prompt = render(shown, add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>assistant\n<think>\n")
    at = 0
    for text in [*system, *said]:
        word = text.strip()
        # Reasoning comes before the content that it led to; all else in the order in which it was sent.
        assert word in prompt, text
    for text in system:
        at = prompt.index(text.strip(), at)
    if system:
        assert at < prompt.index("<|im_end|>")
