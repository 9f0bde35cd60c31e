from __future__ import annotations

from typing import Any

import pytest

from server.app import build_app, build_service
from server.engine.startup_phases import StartupPhases
from server.settings import Settings


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = build_app(build_service(Settings(), StartupPhases(lambda phase, seconds: None)))
    assert app.openapi() is app.openapi()
    return app.openapi()


def found(value: Any, key: str) -> list[Any]:
    """Every value under `key`, however deep."""
    if isinstance(value, dict):
        own = [value[key]] if key in value else []
        return own + [each for item in value.values() for each in found(item, key)]
    return [each for item in value for each in found(item, key)] if isinstance(value, list) else []


def test_every_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    references = found(document, "$ref")
    named = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert len(references) > 20
    assert set(references) <= named


def test_every_route_says_what_it_answers(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            answers = operation["responses"]
            assert "422" not in answers, path
            assert answers["4XX"]["content"] == answers["5XX"]["content"], path
            envelope = "/MessageErrorEnvelope" if path.startswith("/v1/messages") else "/ErrorEnvelope"
            assert answers["4XX"]["content"]["application/json"]["schema"]["$ref"].endswith(envelope), path
            for content in answers["200"]["content"].values():
                assert content.get("schema") or content.get("itemSchema"), path


def test_the_chat_route_says_what_it_takes_and_gives(document: dict[str, Any]) -> None:
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChatRequest")
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert document["components"]["schemas"]["ChatRequest"]["required"] == ["model", "messages"]


def test_the_messages_route_says_what_it_takes_and_gives(document: dict[str, Any]) -> None:
    messages = document["paths"]["/v1/messages"]["post"]
    assert messages["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/MessagesRequest")
    assert set(messages["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert set(document["components"]["schemas"]["MessagesRequest"]["required"]) == {"model", "messages", "max_tokens"}
    assert set(document["components"]["schemas"]["CountTokensRequest"]["required"]) == {"model", "messages"}


def test_metrics_are_text(document: dict[str, Any]) -> None:
    assert set(document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == {"text/plain"}
