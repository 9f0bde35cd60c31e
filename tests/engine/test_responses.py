"""OpenAI's Responses on the real engine: items in and out, what is stored, and what runs in the background."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from tests.chat_client import metric
from tests.response_events import added_up, comparable, events
from tests.responses_client import WEATHER, ask, body, calls, get, image, said, stream, thought, user

pytestmark = pytest.mark.engine

RED = (220, 30, 30)
OFF = {"effort": "none"}
POLITE = {
    "type": "json_schema",
    "name": "manners",
    "schema": {"type": "object", "properties": {"polite": {"type": "boolean"}}, "required": ["polite"]},
}


def long_body(**fields: Any) -> dict[str, Any]:
    return {**body("Hello!", ignore_eos=True, max_output_tokens=20_000), "store": True, **fields}


@pytest.mark.parametrize("summary", [None, "auto"])
async def test_thinking_is_shown_as_it_is_asked_for(client: httpx.AsyncClient, summary: str | None) -> None:
    request = body("What is 17 + 25?", reasoning={"summary": summary}, include=["reasoning.encrypted_content"])
    for read in (ask, stream):
        response = await read(client, request)
        reasoning, message = response["output"]
        assert (reasoning["type"], message["type"]) == ("reasoning", "message")
        assert bool(reasoning["summary"]) is bool(summary)
        assert bool(reasoning.get("content")) is not bool(summary)
        assert 0 < response["usage"]["output_tokens_details"]["reasoning_tokens"] < response["usage"]["output_tokens"]
        assert reasoning["encrypted_content"] not in ("", thought(response))
        hidden = await read(client, {**request, "include_reasoning": False})
        assert [item["type"] for item in hidden["output"]] == ["message"]
        assert said(hidden) == said(response)


async def test_what_the_request_says_is_told(client: httpx.AsyncClient) -> None:
    request = body(
        "Count from 1 to 30.",
        instructions="Be brief.",
        reasoning=OFF,
        max_output_tokens=5,
        metadata={"a": "b"},
        service_tier="flex",
        tools=[WEATHER, {"type": "web_search"}],
        tool_choice={"type": "function", "name": "get_weather"},
        parallel_tool_calls=False,
        zz=1,
    )
    answer = await client.post("/v1/responses", json=request)
    assert answer.headers["x-qwend-ignored-parameters"] == "zz, tools.web_search"
    response = answer.json()
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][-1]["status"] == "incomplete"
    told = {
        name: response[name] for name in ("instructions", "metadata", "service_tier", "parallel_tool_calls", "store")
    }
    assert told == {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "parallel_tool_calls": False,
        "store": False,
    }
    assert [tool["name"] for tool in response["tools"]] == ["get_weather"]


async def test_log_probabilities_of_the_text(client: httpx.AsyncClient) -> None:
    request = body("My name is Rosa. Say hello.", top_logprobs=2, include=["message.output_text.logprobs"])
    whole, streamed = await ask(client, request), await stream(client, request)
    told = whole["output"][-1]["content"][0]["logprobs"]
    assert "".join(each["token"] for each in told).strip() == said(whole)
    assert all(len(each["top_logprobs"]) == 2 for each in told)
    again = streamed["output"][-1]["content"][0]["logprobs"]
    assert [each["token"] for each in again] == [each["token"] for each in told]


async def test_tokens_are_counted_as_they_are_used(client: httpx.AsyncClient) -> None:
    for request in (
        body("Hello!", instructions="Be brief.", tools=[WEATHER]),
        body([user("What color is this image?", image(RED))], reasoning=OFF),
    ):
        counted = await client.post("/v1/responses/input_tokens", json=request)
        assert counted.json()["object"] == "response.input_tokens"
        assert counted.json()["input_tokens"] == (await ask(client, request))["usage"]["input_tokens"]


async def test_a_conversation_goes_on_from_what_is_stored(client: httpx.AsyncClient) -> None:
    """The same answer as to the whole conversation, sent at once."""
    first = await ask(client, {**body("My name is Rosa. Say hello.", instructions="Be brief."), "store": True})
    assert first["store"] is True
    assert comparable(await get(client, first["id"])) == comparable(first)
    second = await ask(client, {**body("What is my name?", previous_response_id=first["id"]), "store": True})
    assert second["previous_response_id"] == first["id"]
    alone = await ask(client, body([user("My name is Rosa. Say hello."), *first["output"], user("What is my name?")]))
    assert said(second) == said(alone)
    # Earlier instructions are not carried over.
    assert second["usage"]["input_tokens"] == alone["usage"]["input_tokens"]

    listed = (await client.get(f"/v1/responses/{second['id']}/input_items?order=asc")).json()
    assert [item["type"] for item in listed["data"]] == ["message", "reasoning", "message", "message"]
    assert listed["data"][2] == first["output"][1]
    page = (await client.get(f"/v1/responses/{second['id']}/input_items?limit=1")).json()
    assert (page["data"], page["has_more"]) == ([listed["data"][-1]], True)
    rest = (await client.get(f"/v1/responses/{second['id']}/input_items?after={page['last_id']}")).json()
    assert [item["id"] for item in rest["data"]] == [item["id"] for item in reversed(listed["data"][:-1])]

    deleted = await client.delete(f"/v1/responses/{first['id']}")
    assert deleted.json() == {"id": first["id"], "object": "response", "deleted": True}
    for call in (client.get, client.delete):
        gone = await call(f"/v1/responses/{first['id']}")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "response_not_found")
    refused = await client.post("/v1/responses", json=body("Hi", previous_response_id=first["id"]))
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "previous_response_id"
    # What came after has its own copy.
    assert said(await ask(client, body("And now?", previous_response_id=second["id"])))


async def test_items_are_referred_to_by_their_ids(client: httpx.AsyncClient) -> None:
    """As the AI SDK does with everything that was stored."""
    question = user("What is the weather in Lisbon?")
    first = await ask(client, {**body([question], tools=[WEATHER]), "store": True})
    (call,) = calls(first)
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "17 degrees"}
    references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    second = await ask(client, body([question, *references, result], tools=[WEATHER]))
    assert "17" in said(second)
    spelled = await ask(client, body([question, *first["output"], result], tools=[WEATHER]))
    assert said(spelled) == said(second)
    unknown = [{"id": "msg_" + "0" * 36}]
    refused = await client.post("/v1/responses", json=body([question, *unknown]))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input[1].id")


@pytest.mark.parametrize("kept", ["stored", "sent back", "sealed"])
async def test_three_turns_with_a_tool(client: httpx.AsyncClient, kept: str) -> None:
    fields: dict[str, Any] = {"tools": [WEATHER], "include": ["reasoning.encrypted_content"]}
    history: list[Any] = []
    previous: str | None = None
    for city, degrees in (("Lisbon", 17), ("Oslo", 4), ("Paris", 12)):
        items: list[Any] = [user(f"What is the weather in {city}?")]
        for _ in range(3):
            history += items
            sent = items if kept == "stored" else history
            request = body(sent, previous_response_id=previous, **fields)
            response = await ask(client, {**request, "store": kept == "stored"})
            if kept == "stored":
                previous = response["id"]
            history += [_sealed(item) if kept == "sealed" else item for item in response["output"]]
            items = [
                {"type": "function_call_output", "call_id": call["call_id"], "output": f"{degrees} degrees"}
                for call in calls(response)
            ]
            if not items:
                break
            assert json.loads(calls(response)[0]["arguments"]) == {"city": city}
        assert str(degrees) in said(response)


def _sealed(item: dict[str, Any]) -> dict[str, Any]:
    """As Codex sends it back: what was thought only where nobody can read it."""
    return {**item, "content": None} if item["type"] == "reasoning" else item


async def test_an_image_in_a_functions_output(client: httpx.AsyncClient) -> None:
    items = [
        user("Show me the picture."),
        {"type": "function_call", "call_id": "call_1", "name": "show", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [{"type": "input_text", "text": "Here:"}, image(RED)],
        },
        user("What color is this image?"),
    ]
    assert "red" in said(await ask(client, body(items, reasoning=OFF))).lower()


async def test_an_answer_in_a_schemas_form(client: httpx.AsyncClient) -> None:
    response = await ask(client, body("Hello!", text={"format": POLITE}))
    assert list(json.loads(said(response))) == ["polite"]
    assert response["text"]["format"]["schema"] == POLITE["schema"]


async def test_what_has_no_room_is_refused_or_left_out(client: httpx.AsyncClient) -> None:
    (model,) = (await client.get("/v1/models")).json()["data"]
    words = "word " * (model["max_model_len"] // 4)
    items = [
        turn for number in range(12) for turn in (user(f"{number} {words}"), {"role": "assistant", "content": "Yes."})
    ]
    request = body([*items, user("My name is Rosa. Say hello.")], instructions="Be kind.", reasoning=OFF)
    refused = await client.post("/v1/responses", json=request)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    response = await ask(client, {**request, "truncation": "auto"})
    least = model["max_model_len"] // 2
    assert least < response["usage"]["input_tokens"] <= model["max_model_len"] - 400
    # The last turn alone is too long.
    alone = body([user(words * 5)], truncation="auto")
    refused = await client.post("/v1/responses", json=alone)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")


async def test_a_response_in_the_background(client: httpx.AsyncClient) -> None:
    request = {**body("My name is Rosa. Say hello."), "store": True}
    queued = await ask(client, {**request, "background": True})
    assert (queued["status"], queued["output"]) == ("queued", [])
    response = await until(client, queued["id"], "completed")
    assert comparable(response) == {**comparable(await ask(client, request)), "background": True}
    assert await metric(client, "qwend_requests_in_flight") == 0
    again = await client.post(f"/v1/responses/{queued['id']}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (400, "response_ended")
    refused = await client.post("/v1/responses", json={**request, "background": True, "store": False})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "background")


async def test_cancelling_frees_the_engine(client: httpx.AsyncClient) -> None:
    queued = await ask(client, long_body(background=True))
    await settles(client, "vllm:num_requests_running", 1)
    assert await metric(client, "qwend_requests_in_flight") == 1
    running = await get(client, queued["id"])
    assert running["status"] == "in_progress"
    refused = await client.post("/v1/responses", json=body("Hi", previous_response_id=queued["id"]))
    assert refused.json()["error"]["code"] == "previous_response_unfinished"
    cancelled = await client.post(f"/v1/responses/{queued['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    await settles(client, "vllm:num_requests_running", 0)
    assert await metric(client, "qwend_requests_in_flight") == 0
    assert (await get(client, queued["id"]))["status"] == "cancelled"
    assert (await client.post(f"/v1/responses/{queued['id']}/cancel")).json()["status"] == "cancelled"


async def test_deleting_one_that_runs_ends_it(client: httpx.AsyncClient) -> None:
    queued = await ask(client, long_body(background=True))
    assert (await client.delete(f"/v1/responses/{queued['id']}")).status_code == 200
    await settles(client, "qwend_requests_in_flight", 0)
    assert (await client.get(f"/v1/responses/{queued['id']}")).status_code == 404


async def test_a_stream_in_the_background_goes_on_and_is_taken_up_again(client: httpx.AsyncClient) -> None:
    request = {**body("Count from 1 to 30.", background=True, stream=True), "store": True}
    seen = b""
    async with client.stream("POST", "/v1/responses", json=request) as response:
        async for chunk in response.aiter_raw():
            seen += chunk
            if b"output_item.added" in seen:
                break
    first = events(seen[: seen.rindex(b"\n\n") + 2])
    id, number = first[0]["response"]["id"], first[-1]["sequence_number"]
    rest = await client.get(f"/v1/responses/{id}?stream=true&starting_after={number}")
    told = added_up([*first, *events(rest.content)])
    assert told["status"] == "completed"
    assert told == await get(client, id)
    whole = events((await client.get(f"/v1/responses/{id}?stream=true")).content)
    assert whole[len(first) :] == events(rest.content)
    assert [event["type"] for event in whole[:3]] == ["response.created", "response.queued", "response.in_progress"]
    stored = await ask(client, {**body("Hi"), "store": True})
    refused = await client.get(f"/v1/responses/{stored['id']}?stream=true")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")


async def test_a_client_that_goes_leaves_a_cancelled_response(client: httpx.AsyncClient) -> None:
    async with client.stream("POST", "/v1/responses", json=long_body(stream=True)) as response:
        first = await anext(response.aiter_raw())
    id = events(first)[0]["response"]["id"]
    await settles(client, "vllm:num_requests_running", 0)
    assert (await until(client, id, "cancelled"))["status"] == "cancelled"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type"),
        ({"input": [user({"type": "input_file", "file_id": "f"})]}, "input[0].content[0]"),
        ({"input": [user({"type": "input_image", "file_id": "f"})]}, "input[0].content[0].file_id"),
        ({"input": [user({"type": "input_image"})]}, "input[0].content[0].image_url"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "data:x"}]}]},
            "input[0].content",
        ),
        ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, "tools[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"reasoning": {"effort": "immense"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "json_schema", "name": "f"}}}, "text.format.schema"),
        ({"include": ["everything"]}, "include[0]"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"previous_response_id": "resp_nobody"}, "previous_response_id"),
        ({"model": "gpt-x"}, "model"),
    ],
)
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    answer = await client.post("/v1/responses", json={**body(), **fields})
    assert answer.status_code == (404 if param == "model" else 400), answer.text
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("query", ["?stream=perhaps", "?stream=true&starting_after=-1", "/input_items?limit=0"])
async def test_queries_are_checked(client: httpx.AsyncClient, query: str) -> None:
    stored = await ask(client, {**body("Hi", max_output_tokens=1), "store": True})
    answer = await client.get(f"/v1/responses/{stored['id']}{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in ("stream", "starting_after", "limit")


async def until(client: httpx.AsyncClient, id: str, status: str, seconds: float = 30) -> dict[str, Any]:
    """The response once it has the status."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        response = await get(client, id)
        if response["status"] == status:
            return response
        await asyncio.sleep(0.1)
    raise AssertionError(f"the response is {response['status']}, not {status}, after {seconds} s: {response['error']}")


async def settles(client: httpx.AsyncClient, name: str, value: float, seconds: float = 20) -> None:
    """Waits until the metric has the value."""
    deadline = time.monotonic() + seconds
    while await metric(client, name) != value:
        assert time.monotonic() < deadline, f"{name} is {await metric(client, name)}, not {value}"
        await asyncio.sleep(0.05)
