from __future__ import annotations

import json
from typing import Any

import pytest

from server.dialects.chat_request import ChatRequest, to_conversation
from server.dialects.limits import Limits
from server.dialects.parsing import parse_body
from server.generation.conversation import Conversation, ImagePart, TextPart, ToolChoice
from server.generation.errors import InvalidRequest
from server.generation.template_messages import template_messages

LIMITS = Limits(messages=10, tools=3, schema_bytes=1000)
HELLO = [{"role": "user", "content": "hello"}]


def conversation(**fields: Any) -> Conversation:
    body = {"model": "m", "messages": HELLO, **fields}
    return to_conversation(parse_body(ChatRequest, json.dumps(body).encode()), LIMITS)


def tool(name: str, **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "song"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": HELLO * 11}, "messages"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": "5"}, "max_completion_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": 2**64}, "seed"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": [1]}, "stop[0]"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stop_token_ids": list(range(129))}, "stop_token_ids"),
        ({"thinking_budget": -1}, "thinking_budget"),
        ({"cache_salt": ""}, "cache_salt"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"modalities": ["audio"]}, "modalities[0]"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
        ({"structured_outputs": {"xml": "x"}}, "structured_outputs.xml"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"guided_regex": "a" * 1000}, "guided_regex"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": "[]"}, "guided_json"),
        ({"guided_json": 5}, "guided_json"),
        ({"guided_json": '{"a": ' * 5000 + "1" + "}" * 5000}, "guided_json"),
        ({"guided_json": '{"a": "\\ud800"}'}, "guided_json"),
        ({"structured_outputs": {"json": "no"}}, "structured_outputs.json"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$id": "x" * 1000}}}},
            "response_format.json_schema.schema",
        ),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
        ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "guided_regex"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [tool("bad name")]}, "tools[0].function.name"),
        ({"tools": [tool("f", parameters=[])]}, "tools[0].function.parameters"),
        ({"tools": [tool("f")] * 4}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "some", "tools": [tool("f")]}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "g"}}, "tools": [tool("f")]}, "tool_choice"),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("g")]}}},
            "tool_choice",
        ),
        ({"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}, "chat_template_kwargs.chat_template"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs.enable_thinking"),
        ({"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False}}, "enable_thinking"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        conversation(**fields)
    assert refused.value.param == param
    assert refused.value.status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b"[]", b"5", b'{"model": "\xff"}', b"null"])
def test_bodies_that_are_no_object_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_body(ChatRequest, body)
    assert refused.value.status == 400


def test_what_is_refused_says_what_to_do_instead() -> None:
    for fields, advice in (({"functions": [{}]}, "use `tools`"), ({"bad_words": ["no"]}, "Use `logit_bias`")):
        with pytest.raises(InvalidRequest, match=f"does not support it. .*{advice}"):
            conversation(**fields)
    # Clients that send every field send most of them empty.
    assert conversation(functions=[], bad_words=[], echo=False, audio=None, web_search_options=None)


def test_tokens_are_counted_at_the_end_whatever_else_is_asked_for() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = json.dumps({"model": "m", "messages": HELLO, "stream": True, "stream_options": options}).encode()
    assert parse_body(ChatRequest, body).include_usage


def test_unknown_fields_are_accepted_and_reported() -> None:
    body = json.dumps({"model": "m", "messages": HELLO, "zeta": 1, "alpha": {}}).encode()
    assert parse_body(ChatRequest, body).ignored == ["alpha", "zeta"]


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, None),
        ({"enable_thinking": False}, False),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": True}}, True),
    ],
)
def test_thinking_is_read_from_either_place(fields: dict[str, Any], thinking: bool | None) -> None:
    assert conversation(**fields).thinking is thinking


def test_developer_messages_are_system_messages_and_all_are_merged_first() -> None:
    parsed = conversation(
        messages=[
            {"role": "developer", "content": "one"},
            *HELLO,
            {"role": "system", "content": [{"type": "text", "text": "two"}]},
        ]
    )
    assert template_messages(parsed, {}) == [
        {"role": "system", "content": "one\n\ntwo"},
        {"role": "user", "content": "hello"},
    ]


def test_earlier_tool_calls_become_objects_and_garbled_ones_do_not_end_the_conversation() -> None:
    def call(arguments: Any) -> dict[str, Any]:
        return {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}

    given = ['{"a": 1}', {"a": 1}, "{broken", "[1]", ""]
    parsed = conversation(
        messages=[*HELLO, {"role": "assistant", "content": None, "tool_calls": [call(each) for each in given]}]
    )
    message = template_messages(parsed, {})[1]
    read = [each["function"]["arguments"] for each in message["tool_calls"]]
    assert read == [{"a": 1}, {"a": 1}, {}, {}, {}]
    assert message["content"] == ""


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thinking_in_the_history_is_kept_for_the_template(field: str) -> None:
    parsed = conversation(messages=[*HELLO, {"role": "assistant", "content": "hi", field: "hm"}])
    assert template_messages(parsed, {})[1]["reasoning"] == "hm"


def test_images_keep_their_place() -> None:
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:x"}},
    ]
    parsed = conversation(messages=[{"role": "user", "content": parts}])
    image = ImagePart("data:x", "messages[0].content[1].image_url.url")
    assert parsed.messages[0].content == (TextPart("look"), image)
    assert template_messages(parsed, {image: "pixels"})[0]["content"][1] == {"type": "image", "image": "pixels"}


@pytest.mark.parametrize(
    ("given", "kept"), [(None, "auto"), ("auto", "auto"), ("low", "low"), ("high", "high"), ("original", "high")]
)
def test_detail_is_kept(given: str | None, kept: str) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:x", "detail": given}}
    (image,) = conversation(messages=[{"role": "user", "content": [part]}]).media
    assert image.detail == kept


@pytest.mark.parametrize(
    "kind", ["image_pil", "image_embeds", "video_embeds", "audio_embeds", "prompt_embeds", "audio_url", "video"]
)
def test_parts_that_would_reach_the_engine_unchecked_are_refused(kind: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{kind}' is not one of") as refused:
        conversation(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": kind, kind: "x"}]}])
    assert refused.value.param == "messages[0].content[1].type"


@pytest.mark.parametrize("field", ["uuid", "image_pil", "image_embeds", "video_embeds", "prompt_embeds"])
def test_what_would_bypass_the_media_checks_is_refused_inside_a_part_too(field: str) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:x"}}
    assert conversation(messages=[{"role": "user", "content": [{**part, field: None}]}]).media
    with pytest.raises(InvalidRequest, match=f"has `{field}`") as refused:
        conversation(messages=[{"role": "user", "content": [{**part, field: "x"}]}])
    assert refused.value.param == f"messages[0].content[0].{field}"


def test_tool_choice_none_hides_the_tools() -> None:
    assert conversation(tools=[tool("f")], tool_choice="none").tools == ()
    assert [each.name for each in conversation(tools=[tool("f")]).tools] == ["f"]


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, ToolChoice()),
        ("auto", False, ToolChoice(parallel=False)),
        ("required", None, ToolChoice(required=True)),
        ({"type": "function", "function": {"name": "g"}}, None, ToolChoice(True, frozenset({"g"}), parallel=False)),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("f")]}},
            None,
            ToolChoice(names=frozenset({"f"})),
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool("f"), tool("g")]}},
            True,
            ToolChoice(True, frozenset({"f", "g"})),
        ),
    ],
)
def test_tool_choices(choice: Any, parallel: bool | None, expected: ToolChoice) -> None:
    parsed = conversation(tools=[tool("f"), tool("g")], tool_choice=choice, parallel_tool_calls=parallel)
    assert parsed.tool_choice == expected
    # The prompt shows all of them whatever the choice, so that its cached prefix stays.
    assert [each.name for each in parsed.tools] == ["f", "g"]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("fields", "kind", "value"),
    [
        ({"response_format": {"type": "json_object"}}, "json_object", None),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            "json_schema",
            SCHEMA,
        ),
        ({"structured_outputs": {"json": SCHEMA}}, "json_schema", SCHEMA),
        ({"structured_outputs": {"regex": "a+"}}, "regex", "a+"),
        ({"guided_json": SCHEMA}, "json_schema", SCHEMA),
        ({"guided_json": json.dumps(SCHEMA)}, "json_schema", SCHEMA),
        ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, "json_schema", SCHEMA),
        ({"guided_choice": ["a", "b"]}, "choice", ["a", "b"]),
        ({"guided_grammar": "root ::= x"}, "grammar", "root ::= x"),
    ],
)
def test_forms_of_the_answer(fields: dict[str, Any], kind: str, value: Any) -> None:
    structure = conversation(**fields).structure
    assert structure is not None
    assert (structure.kind, structure.value) == (kind, value)


def test_plain_text_is_no_form() -> None:
    assert conversation(response_format={"type": "text"}).structure is None


@pytest.mark.parametrize(
    ("fields", "budget"),
    [({}, None), ({"thinking_budget": 5}, 5), ({"thinking_token_budget": 7}, 7), ({"thinking_token_budget": -1}, None)],
)
def test_thinking_budgets(fields: dict[str, Any], budget: int | None) -> None:
    assert conversation(**fields).thinking_budget == budget


def test_sampling_extensions() -> None:
    sampling = conversation(logit_bias={"5": -100.0}, logprobs=True, top_logprobs=3, stop_token_ids=[9]).sampling
    assert (sampling.logit_bias, sampling.logprobs, sampling.stop_token_ids) == ({5: -100.0}, 3, (9,))
    assert conversation(logprobs=True).sampling.logprobs == 0
    assert conversation().sampling.logprobs is None
