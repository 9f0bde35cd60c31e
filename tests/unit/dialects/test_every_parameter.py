"""No parameter that a client may send is left undecided: OpenAI's and Anthropic's, by their packages, and vLLM's.

vLLM's are read from its protocol models.

A new version of any of them that knows more fails here until the new one is decided.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from anthropic import types as anthropic_types
from anthropic.types import beta as beta_types
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_create_params as beta_create_params
from openai.types import completion_create_params
from openai.types.chat import chat_completion_content_part_image_param
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import (
    input_token_count_params,
    response_create_params,
    response_input_item_param,
    tool_param,
)
from pydantic import BaseModel

from server.admission.tenants import Caller, Tenant
from server.api.asking import priority_class
from server.dialects.chat_messages import ImageUrlIn
from server.dialects.chat_request import ChatRequest
from server.dialects.completion_request import CompletionRequest
from server.dialects.messages_request import CountTokensRequest, MessagesRequest, OutputConfigIn, ThinkingAdaptiveIn
from server.dialects.parsing import parse_body
from server.dialects.responses_request import CountInputRequest, ResponsesRequest
from server.generation.errors import InvalidRequest
from server.settings import Settings

# What Alibaba's service adds, and vLLM's older names.
ALIBABA = {"enable_thinking", "thinking_budget", "enable_search", "search_options", "enable_code_interpreter"}
# Anthropic's API has them, its package no longer names them.
SAMPLING = {"temperature", "top_p", "top_k"}
OLDER = {"guided_json", "guided_regex", "guided_choice", "guided_grammar"}


def openai_parameters(module: Any) -> set[str]:
    return {
        name
        for kind in (module.CompletionCreateParamsNonStreaming, module.CompletionCreateParamsStreaming)
        for name in get_type_hints(kind)
    }


def responses_parameters() -> set[str]:
    return {
        name
        for kind in (
            response_create_params.ResponseCreateParamsNonStreaming,
            response_create_params.ResponseCreateParamsStreaming,
        )
        for name in get_type_hints(kind)
    }


def anthropic_parameters(module: Any) -> set[str]:
    return {
        name
        for kind in (module.MessageCreateParamsNonStreaming, module.MessageCreateParamsStreaming)
        for name in get_type_hints(kind)
    }


def vllm_parameters(endpoint: str, model: str, api: str = "openai") -> set[str]:
    """Read from the source: importing it takes seconds."""
    package = importlib.util.find_spec("vllm")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "entrypoints" / api / endpoint / "protocol.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    (found,) = [each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == model]
    fields = [each.target for each in found.body if isinstance(each, ast.AnnAssign)]
    return {field.id for field in fields if isinstance(field, ast.Name) and not field.id.startswith("_")}


def values(kind: Any, name: str) -> set[str]:
    """The words that the package's type of a parameter allows."""
    found: set[str] = set()
    left = [get_type_hints(kind)[name]]
    while left:
        here = left.pop()
        found |= {word for word in get_args(here) if isinstance(word, str)}
        left += [inner for inner in get_args(here) if not isinstance(inner, str)]
    return found


def test_every_word_of_openais_is_known() -> None:
    parameters = chat_create_params.CompletionCreateParamsNonStreaming
    efforts = values(parameters, "reasoning_effort")
    assert {"none", "high"} < efforts <= set(Settings().generation.effort_budgets)
    tiers = values(parameters, "service_tier")
    assert {"auto", "flex"} < tiers
    for tier in tiers:
        priority_class(tier, Caller(Tenant("anyone"), "key"))
    details = values(chat_completion_content_part_image_param.ImageURL, "detail")
    assert {"auto", "low"} < details
    for detail in details:
        ImageUrlIn(url="data:x", detail=detail)


def test_every_word_of_anthropics_is_known() -> None:
    efforts = values(anthropic_types.OutputConfigParam, "effort")
    assert {"low", "max"} < efforts <= set(Settings().generation.effort_budgets)
    for effort in efforts:
        OutputConfigIn(effort=effort)
    asked: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    for name in ("service_tier", "speed"):
        words = values(beta_create_params.MessageCreateParamsNonStreaming, name)
        assert len(words) == 2
        for word in words:
            MessagesRequest.model_validate(asked | {name: word})
    for config in (anthropic_types.ThinkingConfigAdaptiveParam, beta_types.BetaThinkingConfigAdaptiveParam):
        displays = values(config, "display")
        assert {"summarized", "omitted"} <= displays
        for display in displays:
            ThinkingAdaptiveIn(type="adaptive", display=display)


def kinds(union: Any) -> set[str]:
    """The `type` of each member of a union of the package's parameters."""
    return {kind for member in get_args(union) for kind in values(member, "type")}


def test_every_kind_of_block_and_of_tool_is_taken_or_refused_by_its_name() -> None:
    taken = {"text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result"}
    blocks, tools = kinds(anthropic_types.ContentBlockParam), kinds(anthropic_types.ToolUnionParam)
    assert taken < blocks
    assert "custom" in tools
    assert len(tools) > 15
    asked: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    for kind in tools - {"custom"}:
        with pytest.raises(InvalidRequest, match=kind):
            parse_body(MessagesRequest, json.dumps(asked | {"tools": [{"type": kind, "name": "f"}]}).encode())
    for kind in blocks - taken:
        for role in ("user", "assistant"):
            messages = [{"role": role, "content": [{"type": kind}]}]
            with pytest.raises(InvalidRequest, match=f"'{kind}' is not one of"):
                parse_body(MessagesRequest, json.dumps(asked | {"messages": messages}).encode())


def test_every_kind_of_item_and_of_tool_of_responses_is_taken_or_refused_by_its_name() -> None:
    taken = {"message", "reasoning", "function_call", "function_call_output", "item_reference"}
    items, tools = kinds(response_input_item_param.ResponseInputItemParam), kinds(tool_param.ToolParam)
    assert taken < items
    assert {"function", "web_search"} < tools
    assert len(tools) > 10

    def refused(**fields: Any) -> str:
        with pytest.raises(InvalidRequest) as failed:
            parse_body(ResponsesRequest, json.dumps({"model": "m", "input": "Hi", **fields}).encode())
        return failed.value.message

    for kind in items - taken:
        assert f"'{kind}' is not one of" in refused(input=[{"type": kind, "id": "x"}])
    for kind in tools - {"function", "namespace"}:
        if not kind.startswith("web_search"):
            assert f"'{kind}' is a tool of OpenAI's" in refused(tools=[{"type": kind}])
    for kind in values(response_create_params.ResponseCreateParamsNonStreaming, "include"):
        ResponsesRequest.model_validate({"model": "m", "input": "Hi", "include": [kind]})


@pytest.mark.parametrize(
    ("request_", "known", "most"),
    [
        (ChatRequest, openai_parameters(chat_create_params), 30),
        (CompletionRequest, openai_parameters(completion_create_params), 15),
        (ChatRequest, vllm_parameters("chat_completion", "ChatCompletionRequest"), 50),
        (CompletionRequest, vllm_parameters("completion", "CompletionRequest"), 45),
        (ChatRequest, ALIBABA | OLDER, 9),
        (MessagesRequest, anthropic_parameters(message_create_params), 18),
        (MessagesRequest, anthropic_parameters(beta_create_params), 25),
        (CountTokensRequest, set(get_type_hints(message_count_tokens_params.MessageCountTokensParams)), 9),
        (MessagesRequest, vllm_parameters("", "AnthropicMessagesRequest", api="anthropic"), 18),
        (MessagesRequest, SAMPLING, 3),
        (ResponsesRequest, responses_parameters(), 30),
        (CountInputRequest, set(get_type_hints(input_token_count_params.InputTokenCountParams)), 10),
        (ResponsesRequest, vllm_parameters("responses", "ResponsesRequest"), 35),
    ],
    ids=[
        *("openai's chat", "openai's completions", "vllm's chat", "vllm's completions", "others"),
        *("anthropic's", "anthropic's beta", "anthropic's count", "vllm's messages", "anthropic's sampling"),
        *("openai's responses", "openai's input tokens", "vllm's responses"),
    ],
)
def test_every_parameter_is_decided(request_: type[BaseModel], known: set[str], most: int) -> None:
    assert len(known) >= most, "they were not found"
    assert not known - set(request_.model_fields), "neither supported, accepted without effect nor refused"
