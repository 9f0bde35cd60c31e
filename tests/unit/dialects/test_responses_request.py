"""Items of the Responses API become the core's conversation, and keep what they say when they are stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.dialects.limits import Limits
from server.dialects.parsing import parse_body
from server.dialects.responses_items import read_items, to_messages
from server.dialects.responses_output import Response, input_json, item_ids, new_response_id, response_of_item
from server.dialects.responses_request import ResponsesRequest, resolved_items, to_conversation
from server.dialects.responses_thinking import opened, sealed
from server.generation.conversation import Conversation, ImagePart, Message, TextPart, ToolCall
from server.generation.errors import InvalidRequest

LIMITS = Limits(messages=8, tools=2, schema_bytes=200)
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "high"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "ok"}, IMAGE]}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}


def asked(**fields: Any) -> ResponsesRequest:
    return parse_body(ResponsesRequest, json.dumps({"model": "m", "input": "Hi", **fields}).encode())


def conversation(earlier: bytes = b"[]", **fields: Any) -> Conversation:
    request = asked(**fields)
    return to_conversation(request, read_items(earlier), request.items, LIMITS)


def test_a_text_is_a_users_message() -> None:
    assert conversation().messages == (Message("user", "Hi"),)
    assert conversation(instructions="Be kind.").messages[0] == Message("system", "Be kind.")


def test_what_the_model_made_is_one_turn() -> None:
    thinking = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    items = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "Look:"}, IMAGE]},
        thinking,
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I call."}]},
        CALL,
        RESULT,
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ]
    picture = "data:image/png;base64,AAAA"
    assert conversation(input=items).messages == (
        Message("system", "Be kind."),
        Message("user", (TextPart("Look:"), ImagePart(picture, "input[1].content[1].image_url", "high"))),
        Message("assistant", "I call.", reasoning="hm", tool_calls=(ToolCall("call_1", "f", {"a": 1}),)),
        Message(
            "tool", (TextPart("ok"), ImagePart(picture, "input[5].output[1].image_url", "high")), tool_call_id="call_1"
        ),
        Message("assistant", "No."),
    )


@pytest.mark.parametrize(
    ("fields", "thought"),
    [
        ({"content": [{"type": "reasoning_text", "text": "whole"}], "encrypted_content": sealed("other")}, "whole"),
        ({"content": None, "encrypted_content": sealed("sealed")}, "sealed"),
        ({"summary": [{"type": "summary_text", "text": "short"}], "encrypted_content": "gAAAAforeign"}, "short"),
        ({"summary": [], "encrypted_content": "gAAAAforeign"}, None),
    ],
)
def test_thinking_comes_back_in_any_form(fields: dict[str, Any], thought: str | None) -> None:
    (message,) = conversation(input=[{"type": "reasoning", "id": "rs_1", **fields}]).messages
    assert message == Message("assistant", "", reasoning=thought)


@given(st.text())
def test_thinking_is_opened_as_it_was_sealed(text: str) -> None:
    assert opened(sealed(text)) == text.encode("utf-8", "replace").decode()


def test_what_is_no_sealed_thinking_is_passed_over() -> None:
    word = sealed("thought" * 100)
    for wrong in ("", "qwend1.", "qwend1.%", word[:-8], word.replace("qwend1", "qwend2"), sealed("x" * (17 * 2**20))):
        assert opened(wrong) is None


ITEMS = st.lists(
    st.sampled_from(
        [
            {"role": "user", "content": "Hi"},
            {"role": "user", "content": [{"type": "input_text", "text": "Look"}, IMAGE]},
            {"role": "system", "content": "Be kind."},
            {"role": "assistant", "content": "Yes.", "id": "msg_mine"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": "foreign"},
            CALL,
            RESULT,
        ]
    ),
    min_size=1,
    max_size=8,
)


@given(ITEMS)
def test_stored_items_say_what_was_sent(items: list[dict[str, Any]]) -> None:
    request = asked(input=items)
    id = new_response_id()
    stored = input_json(request.items, id)
    again = read_items(json.dumps(stored).encode())
    assert to_messages(again, str) == to_messages(request.items, str)
    made = [each["id"] for each in stored if each["id"] not in ("msg_mine", "rs_1")]
    assert len(set(made)) == len(made)
    assert {response_of_item(each) for each in made} <= {id}
    # Stored once more they stay as they are.
    assert input_json(again, "resp_other") == stored


def test_an_items_id_says_whose_it_is() -> None:
    id = new_response_id()
    for what in ("", "i"):
        assert response_of_item(item_ids(id, what)("msg")) == id
    for foreign in ("", "msg_", "msg_1", "x_" + "0" * 40, id):
        assert response_of_item(foreign) is None


def test_references_stand_for_what_is_stored() -> None:
    request = asked(
        input=[{"id": "msg_1"}, {"type": "item_reference", "id": "fc_1"}, {"role": "user", "content": "Hi"}]
    )
    assert request.references == ["msg_1", "fc_1"]
    stored = read_items(json.dumps([{**CALL, "id": "fc_1"}]).encode())
    with pytest.raises(InvalidRequest, match="msg_1") as unknown:
        resolved_items(request, {"fc_1": stored[0]})
    assert unknown.value.param == "input[0].id"
    assert resolved_items(request, {"fc_1": stored[0], "msg_1": stored[0]})[:2] == [stored[0]] * 2


def test_earlier_items_come_first_and_count() -> None:
    earlier = json.dumps([{"role": "user", "content": [IMAGE]}] * 4).encode()
    made = conversation(earlier, instructions="Be kind.").messages
    assert [message.role for message in made] == ["system", *["user"] * 5]
    assert made[1].content[0].param == "previous_response_id.content[0].image_url"  # type: ignore[union-attr]
    with pytest.raises(InvalidRequest, match="at most 8") as many:
        conversation(json.dumps([{"role": "user", "content": "x"}] * 8).encode())
    assert many.value.param == "input"


def test_functions_in_a_namespace_are_called_by_both_names() -> None:
    space = {"type": "namespace", "name": "agents", "description": "Others.", "tools": [{**FUNCTION, "name": "close"}]}
    items = [{**CALL, "name": "close", "namespace": "agents"}]
    made = conversation(input=items, tools=[FUNCTION, space])
    assert [tool.name for tool in made.tools] == ["f", "agents.close"]
    assert made.messages[0].tool_calls[0].name == "agents.close"
    assert input_json(read_items(json.dumps(items).encode()), "resp_1")[0]["namespace"] == "agents"
    told = Response(asked(tools=[FUNCTION, space]), "resp_1", stored=False, tier=None)
    for name, called in (
        ("agents.close", ("close", "agents")),
        ("f", ("f", None)),
        ("agents.other", ("agents.other", None)),
    ):
        call = told.item_json(told.begin("function_call", name), "completed")
        assert (call["name"], call.get("namespace")) == called
    assert [tool["type"] for tool in told.json()["tools"]] == ["function", "namespace"]
    # Each function counts.
    with pytest.raises(InvalidRequest, match="at most 2"):
        conversation(tools=[FUNCTION, {**space, "tools": [{**FUNCTION, "name": name} for name in "ab"]}])


def test_options_mean_what_they_mean_elsewhere() -> None:
    made = conversation(
        tools=[FUNCTION],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        parallel_tool_calls=False,
        reasoning={"effort": "low", "context": "all_turns"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        top_k=-1,
        stop="END",
        max_output_tokens=9,
    )
    assert made.tools[0].strict
    assert (made.tool_choice.required, made.tool_choice.names, made.tool_choice.parallel) == (True, {"f"}, False)
    assert (made.effort, made.effort_param) == ("low", "reasoning.effort")
    assert made.template_arguments == {"preserve_thinking": True}
    assert made.structure is not None
    assert (made.structure.value, made.structure.param) == ({"type": "object"}, "text.format.schema")
    assert (made.sampling.top_k, made.sampling.stop, made.max_tokens, made.whole) == (0, ("END",), 9, True)
    assert not conversation(tools=[FUNCTION], tool_choice="none").tools
    with pytest.raises(InvalidRequest, match="both ask for a form"):
        conversation(text={"format": {"type": "json_object"}}, structured_outputs={"regex": "a"})
