"""Images in the results of tools, which the model sees, and in messages where there can be none."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.chat_client import ask, body, image_part

pytestmark = pytest.mark.engine

IMAGE_TOKEN = 1206
COLORS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (30, 60, 220)}


def shown_by_a_tool(*parts: dict[str, Any]) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "camera", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "What color is this image?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": list(parts)},
    ]
    return {**body(), "messages": messages, "enable_thinking": False, "temperature": 0, "return_token_ids": True}


async def test_an_image_in_a_tools_result_reaches_the_model(client: httpx.AsyncClient) -> None:
    """In its place, and by its content: the toy names the colour, or at least answers each one differently."""
    said = {}
    for name, color in COLORS.items():
        request = shown_by_a_tool({"type": "text", "text": "here:"}, image_part(color))
        answer = await ask(client, {**request, "logprobs": True, "top_logprobs": 5})
        # 96x96 pixels are 3x3 tokens.
        assert answer["prompt_token_ids"].count(IMAGE_TOKEN) == 9
        top = answer["choices"][0]["logprobs"]["content"]
        said[name] = [(each["token"], round(each["logprob"], 2)) for each in top]
        print(name, "->", answer["choices"][0]["message"]["content"])
    assert len({str(each) for each in said.values()}) == 3


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
@pytest.mark.parametrize("kind", ["image_url", "video_url"])
async def test_a_role_that_shows_nothing_cannot_hold_an_image(client: httpx.AsyncClient, role: str, kind: str) -> None:
    part = {"type": kind, kind: {"url": image_part((0, 0, 0))["image_url"]["url"]}}
    user = {"role": "user", "content": "hello"}
    message = {"role": role, "content": [{"type": "text", "text": "x"}, part]}
    messages = [user, message, user] if role == "assistant" else [message, user]
    answer = await client.post("/v1/chat/completions", json={**body(), "messages": messages})
    assert answer.status_code == 400
    place = messages.index(message)
    assert answer.json()["error"]["param"] == f"messages[{place}].content[1]"
