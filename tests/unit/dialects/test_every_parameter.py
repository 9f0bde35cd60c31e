"""No parameter that a client may send is left undecided: OpenAI's, by its package, and vLLM's, by its protocol models.

A new version of either that knows more fails here until the new one is decided.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from openai.types import completion_create_params
from openai.types.chat import chat_completion_content_part_image_param
from openai.types.chat import completion_create_params as chat_create_params
from pydantic import BaseModel

from server.admission.tenants import Caller, Tenant
from server.api.asking import priority_class
from server.dialects.chat_messages import ImageUrlIn
from server.dialects.chat_request import ChatRequest
from server.dialects.completion_request import CompletionRequest
from server.settings import Settings

# What Alibaba's service adds, and vLLM's older names.
ALIBABA = {"enable_thinking", "thinking_budget", "enable_search", "search_options", "enable_code_interpreter"}
OLDER = {"guided_json", "guided_regex", "guided_choice", "guided_grammar"}


def openai_parameters(module: Any) -> set[str]:
    return {
        name
        for kind in (module.CompletionCreateParamsNonStreaming, module.CompletionCreateParamsStreaming)
        for name in get_type_hints(kind)
    }


def vllm_parameters(endpoint: str, model: str) -> set[str]:
    """Read from the source: importing it takes seconds."""
    package = importlib.util.find_spec("vllm")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "entrypoints" / "openai" / endpoint / "protocol.py"
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


@pytest.mark.parametrize(
    ("request_", "known", "most"),
    [
        (ChatRequest, openai_parameters(chat_create_params), 30),
        (CompletionRequest, openai_parameters(completion_create_params), 15),
        (ChatRequest, vllm_parameters("chat_completion", "ChatCompletionRequest"), 50),
        (CompletionRequest, vllm_parameters("completion", "CompletionRequest"), 45),
        (ChatRequest, ALIBABA | OLDER, 9),
    ],
    ids=["openai's chat", "openai's completions", "vllm's chat", "vllm's completions", "others"],
)
def test_every_parameter_is_decided(request_: type[BaseModel], known: set[str], most: int) -> None:
    assert len(known) >= most, "they were not found"
    assert not known - set(request_.model_fields), "neither supported, accepted without effect nor refused"
