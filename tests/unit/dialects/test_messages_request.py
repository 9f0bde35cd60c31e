from __future__ import annotations

import json
from typing import Any

import pytest

from server.dialects.limits import Limits
from server.dialects.messages_request import CountTokensRequest, MessagesRequest, to_conversation, to_prompt
from server.dialects.parsing import parse_body
from server.generation.conversation import (
    Conversation,
    ImagePart,
    Message,
    Sampling,
    Structure,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from server.generation.errors import InvalidRequest

LIMITS = Limits(messages=4, tools=2, schema_bytes=200)
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
TOOL = {"name": "f", "description": "Does f", "input_schema": {"type": "object", "properties": {"a": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def text(said: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **fields}


def result(content: Any = "17", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t1", "content": content, **fields}


def request(**fields: Any) -> MessagesRequest:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields}
    return parse_body(MessagesRequest, json.dumps({k: v for k, v in body.items() if v is not ...}).encode())


def conversation(**fields: Any) -> Conversation:
    return to_conversation(request(**fields), LIMITS)


def user(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def messages(*blocks: Any) -> tuple[Message, ...]:
    return conversation(**user(*blocks)).messages


def assistant(*blocks: Any) -> Message:
    """The assistant's message, with a user's before and after it."""
    said = {"role": "user", "content": "Hi"}
    return conversation(messages=[said, {"role": "assistant", "content": list(blocks)}, said]).messages[1]


def test_a_plain_request() -> None:
    asked = conversation(temperature=0.5, top_p=0.9, top_k=3, stop_sequences=["END"])
    assert asked == Conversation(
        messages=(Message("user", "Hi"),),
        sampling=Sampling(temperature=0.5, top_p=0.9, top_k=3, stop=("END",)),
        max_tokens=9,
        cut_to_context=True,
        effort_param="output_config.effort",
        whole=True,
    )
    assert not conversation(stream=True).whole


def test_system_text_comes_first_wherever_it_is() -> None:
    middle = [{"role": "user", "content": "Hi"}, {"role": "system", "content": [text("Be kind.")]}]
    asked = conversation(system=[text("Be brief.", cache_control={"type": "ephemeral"})], messages=middle)
    assert asked.messages == (
        Message("system", (TextPart("Be brief."),)),
        Message("user", "Hi"),
        Message("system", (TextPart("Be kind."),)),
    )
    assert conversation(system="Be brief.").messages[0] == Message("system", "Be brief.")
    assert conversation(system="").messages == (Message("user", "Hi"),)


def test_what_a_user_shows() -> None:
    image = ImagePart("data:image/png;base64,aGk=", "messages[0].content[1].source.data")
    assert messages(text("See:"), PNG) == (Message("user", (TextPart("See:"), image)),)
    by_url = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}, "cache_control": None}
    assert messages(by_url)[0].content == (ImagePart("https://x/y.png", "messages[0].content[0].source.url"),)


def test_results_are_messages_of_their_own_in_their_order() -> None:
    shown = result([text("See:"), PNG], tool_use_id="t2")
    assert messages(result(), shown, text("Go on.")) == (
        Message("tool", "17", tool_call_id="t1"),
        Message(
            "tool",
            (
                TextPart("See:"),
                ImagePart("data:image/png;base64,aGk=", "messages[0].content[1].content[1].source.data"),
            ),
            tool_call_id="t2",
        ),
        Message("user", (TextPart("Go on."),)),
    )
    assert [message.role for message in messages(text("a"), result(), text("b"))] == ["user", "tool", "user"]


def test_an_error_says_so() -> None:
    assert messages(result("no", is_error=True))[0].content == "Error: no"
    assert messages(result([text("no")], is_error=True))[0].content == (TextPart("Error: "), TextPart("no"))
    assert messages(result("no", is_error=False))[0].content == "no"
    assert messages(result(None))[0].content == ""


def test_documents_of_text_are_read() -> None:
    plain = {"type": "text", "media_type": "text/plain", "data": "All."}
    assert messages({"type": "document", "source": plain, "title": "T", "context": "C"})[0].content == (
        TextPart("T\n\nC\n\nAll."),
    )
    blocks = {"type": "content", "content": [text("One."), PNG]}
    assert messages({"type": "document", "source": blocks, "citations": {"enabled": False}})[0].content == (
        TextPart("One."),
        ImagePart("data:image/png;base64,aGk=", "messages[0].content[0].source.content[1].source.data"),
    )
    found = {"type": "search_result", "source": "s", "title": "T", "content": [text("One."), text("Two.")]}
    assert messages(result([found]))[0].content == (TextPart("T\n\ns\n\nOne.\n\nTwo."),)


def test_a_message_of_nothing_but_an_empty_document_is_there_all_the_same() -> None:
    document = {"type": "document", "source": {"type": "content", "content": []}}
    assert messages(document) == messages(document, document) == (Message("user", ()),)
    assert [message.role for message in messages(result(), document)] == ["tool"]


def test_what_the_assistant_thought_said_and_called() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "made up"}
    assert assistant(thought, {"type": "redacted_thinking", "data": "x"}, text("I "), text("call."), call) == Message(
        "assistant", "I call.", reasoning="Hm.", tool_calls=(ToolCall("t1", "f", {"a": 1}),)
    )
    omitted = {"type": "thinking", "thinking": "", "signature": "x"}
    assert assistant(omitted).reasoning is None
    assert assistant(omitted, thought).reasoning == "Hm."


def test_messages_of_the_assistant_that_follow_each_other_are_one() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        text("I call."),
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
    ]
    history = [{"role": "user", "content": "Hi"}, *({"role": "assistant", "content": [block]} for block in blocks)]
    assert conversation(messages=history).messages[1:] == (assistant(*blocks),)


@pytest.mark.parametrize(
    ("last", "continues"),
    [
        ({"role": "assistant", "content": "The answer is ("}, True),
        ({"role": "assistant", "content": [text("The answer is (")]}, True),
        ({"role": "assistant", "content": " "}, False),
        ({"role": "assistant", "content": []}, False),
        ({"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}, False),
        (
            {
                "role": "assistant",
                "content": [text("I call."), {"type": "tool_use", "id": "", "name": "f", "input": {}}],
            },
            False,
        ),
        ({"role": "user", "content": "And?"}, False),
    ],
)
def test_a_last_message_of_the_assistants_is_gone_on_with(last: Any, continues: bool) -> None:
    asked = conversation(messages=[{"role": "user", "content": "Hi"}, last])
    assert asked.continue_final is continues


@pytest.mark.parametrize(
    ("thinking", "effort", "expected"),
    [
        (None, None, (None, None, None)),
        ({"type": "disabled"}, None, (False, None, None)),
        ({"type": "adaptive", "display": "summarized"}, "low", (True, None, "low")),
        ({"type": "enabled", "budget_tokens": 5}, "max", (True, 5, "max")),
    ],
)
def test_thinking(thinking: Any, effort: Any, expected: Any) -> None:
    asked = conversation(thinking=thinking, output_config=effort and {"effort": effort})
    assert (asked.thinking, asked.thinking_budget, asked.effort) == expected


def test_thinking_may_be_left_out_of_the_answer() -> None:
    assert not request(thinking={"type": "adaptive", "display": "omitted"}).shows_thinking
    for shown in (None, {"type": "disabled"}, {"type": "adaptive"}, {"type": "adaptive", "display": "updates"}):
        assert request(thinking=shown).shows_thinking


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice()),
        ({"type": "auto"}, ToolChoice()),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(parallel=False)),
        ({"type": "any"}, ToolChoice(required=True)),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(required=True, parallel=False)),
        ({"type": "tool", "name": "f"}, ToolChoice(required=True, names=frozenset({"f"}), parallel=False)),
    ],
)
def test_tools_and_which_to_call(choice: Any, expected: ToolChoice) -> None:
    asked = conversation(
        tools=[TOOL, {"type": "custom", "name": "g", "input_schema": {}, "strict": True}], tool_choice=choice
    )
    assert asked.tools == (
        Tool("f", "Does f", TOOL["input_schema"]),
        Tool("g", None, {"type": "object", "properties": {}}, strict=True),
    )
    assert asked.tool_choice == expected


def test_no_tool_may_be_called() -> None:
    assert conversation(tools=[TOOL], tool_choice={"type": "none"}).tools == ()


def test_the_form_of_the_answer_under_both_names() -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    assert conversation(output_config={"format": form}).structure == Structure(
        "json_schema", SCHEMA, "output_config.format.schema"
    )
    assert conversation(output_format=form).structure == Structure("json_schema", SCHEMA, "output_format.schema")
    assert conversation(output_format=form, output_config={"format": form}).structure is not None


@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({}, None),
        ({"service_tier": "auto"}, None),
        ({"service_tier": "standard_only", "speed": "fast"}, "default"),
        ({"speed": "fast"}, "fast"),
        ({"speed": "standard"}, None),
    ],
)
def test_the_tier(fields: dict[str, Any], tier: str | None) -> None:
    assert request(**fields).tier == tier


def test_fields_that_nobody_knows_are_told() -> None:
    assert request(zz=1, metadata={"user_id": "x"}, betas=["b"]).ignored == ["zz"]


def test_tokens_are_counted_of_the_same_prompt() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "system": "S", "tools": [TOOL]}
    asked = to_prompt(parse_body(CountTokensRequest, json.dumps(body).encode()), LIMITS)
    whole = conversation(system="S", tools=[TOOL])
    assert (asked.messages, asked.tools) == (whole.messages, whole.tools)


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"max_tokens": ...}, "max_tokens", "Missing"),
        ({"max_tokens": 0}, "max_tokens", "greater"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "user", "content": "x"}] * 5}, "messages", "at most 4"),
        ({"tools": [TOOL] * 3}, "tools", "at most 2"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema", "Missing"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]", "'web_search_20250305'"),
        ({"tools": [TOOL, {"type": "bash_20250124", "name": "bash"}]}, "tools[1]", "'bash_20250124'"),
        ({"tool_choice": {"type": "any"}}, "tool_choice", "no tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice", "'g'"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens", "Missing"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, "thinking.budget_tokens", "less than"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type", "'between_tools'"),
        ({"output_config": {"effort": "ultra"}}, "output_config.effort", "'max'"),
        (
            {
                "output_format": {"type": "json_schema", "schema": {}},
                "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
            },
            "output_format",
            "different",
        ),
        (
            {"output_format": {"type": "json_schema", "schema": {"description": "x" * 300}}},
            "output_format.schema",
            "larger",
        ),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers", "give the model a tool"),
        ({"container": "c"}, "container", "Nothing is run"),
        ({"thread": {"type": "create"}}, "thread", "whole conversation"),
        ({"service_tier": "priority"}, "service_tier", "'auto'"),
        (user({"type": "document", "source": {"type": "base64", "data": "x"}}), "messages[0].content[0].source", "PDF"),
        (
            user({"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": True}}),
            "messages[0].content[0].citations",
            "no citations",
        ),
        (user({"type": "image", "source": {"type": "file"}}), "messages[0].content[0].source.type", "'file'"),
        (user({"type": "tool_use", "id": "", "name": "f", "input": {}}), "messages[0].content[0].type", "'tool_use'"),
        (user(result([{"type": "tool_reference"}])), "messages[0].content[0].content[0].type", "'tool_reference'"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
            "messages[0].content[0].type",
            "'server_tool_use'",
        ),
        ({"messages": [{"role": "assistant", "content": [PNG]}]}, "messages[0].content[0].type", "'image'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "'tool'"),
        ({"system": [PNG]}, "system[0].type", "'text'"),
    ],
)
def test_what_makes_no_sense_here_is_refused_by_name(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        conversation(**fields)
    assert refused.value.param == param
    assert says in refused.value.message
