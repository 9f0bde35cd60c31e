"""OpenAI's chat completions request: every parameter, decided, and how they become a Conversation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from server.dialects.chat_messages import MessageIn, ToolIn, to_message, to_tool
from server.dialects.chat_options import (
    ChatTemplateArgumentsIn,
    ProcessorArgumentsIn,
    ToolChoiceIn,
    to_tool_choice,
    with_processor_arguments,
)
from server.dialects.decisions import Refused, ignored, option, refused
from server.dialects.generation_request import GenerationRequest, bounded, to_bounded_sampling, to_form
from server.dialects.limits import Limits
from server.generation.conversation import Conversation
from server.generation.errors import InvalidRequest

# OpenAI's own limit.
_MOST_TOP_LOGPROBS = 20


class ChatRequest(GenerationRequest):
    """The body of POST /v1/chat/completions."""

    messages: list[MessageIn] = Field(
        min_length=1, fail_fast=True, description="The conversation; `docs/operations.md` says what each role may hold."
    )

    max_tokens: int | None = option("Longest answer, thinking included.", ge=1)
    max_completion_tokens: int | None = option("The same by its newer name, which wins.", ge=1)
    logprobs: bool | None = option("Log probabilities of all tokens made, those of the thinking too.")
    top_logprobs: int | None = option(
        "That many likeliest tokens at each place; needs `logprobs`.", ge=0, le=_MOST_TOP_LOGPROBS
    )
    return_token_ids: bool | None = option("Adds `prompt_token_ids` and each choice's `token_ids`.")

    tools: list[ToolIn] | None = option("Functions; `strict` ones bind their arguments by a grammar.")
    tool_choice: ToolChoiceIn | None = option("`auto`, `none`, `required`, a function, or `allowed_tools`.")
    parallel_tool_calls: bool | None = option("False allows one call at most.")

    reasoning_effort: str | None = option("A thinking budget by name; see the setting `generation.effort_budgets`.")
    enable_thinking: bool | None = option("Thinking on or off.")
    thinking_budget: int | None = option("Most tokens of thinking; 0 switches it off.", ge=0)
    thinking_token_budget: int | None = option("vLLM's name for `thinking_budget`; -1 is no bound.", ge=-1)
    include_reasoning: bool | None = option("False leaves the thinking out of the answer; it is made all the same.")
    chat_template_kwargs: ChatTemplateArgumentsIn | None = option("`enable_thinking` and others of the template's.")
    continue_final_message: bool | None = option("Goes on with the last message, which must be the assistant's.")
    add_generation_prompt: bool | None = option("False only with `continue_final_message`.")

    mm_processor_kwargs: ProcessorArgumentsIn | None = option(
        "`min_pixels`, `max_pixels` of images; `fps` or `num_frames` of videos."
    )

    verbosity: str | None = ignored("The model knows no such switch.")
    prediction: dict[str, Any] | None = ignored("A hint that only speeds up.")
    modalities: list[Literal["text"]] | None = ignored("Only text can be made.")
    skip_special_tokens: bool | None = ignored("Special tokens are never shown; the thinking's and calls' are read.")
    spaces_between_special_tokens: bool | None = ignored("Special tokens are never shown.")

    audio: Refused = refused("The model makes no sound.")
    web_search_options: Refused = refused("The model has no search of its own; give it a tool.")
    functions: Refused = refused("OpenAI's old form; use `tools`.")
    function_call: Refused = refused("OpenAI's old form; use `tool_choice`.")
    echo: Refused = refused("Belongs to completions.")
    best_of: Refused = refused("Ask for `n` answers and choose.")
    chat_template: Refused = refused("The template is the server's.")
    documents: Refused = refused("Put them into a message.")
    add_special_tokens: Refused = refused("The template writes every special token itself.")
    media_io_kwargs: Refused = refused("The server decodes images and videos itself; see `mm_processor_kwargs`.")
    return_prompt_text: Refused = refused("Use `return_token_ids`, or `/tokenize`.")
    moderation: Refused = refused("Nothing is moderated here.")
    enable_search: Refused = refused("The model has no search of its own; give it a tool.")
    search_options: Refused = refused("The model has no search of its own; give it a tool.")
    enable_code_interpreter: Refused = refused("Nothing is run here; give it a tool.")


def to_conversation(request: ChatRequest, limits: Limits) -> Conversation:
    """The request in the core's terms. Raises InvalidRequest where it is over a limit or makes no sense."""
    bounded(len(request.messages), limits.messages, "messages")
    bounded(len(request.tools or ()), limits.tools, "tools")
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequest("`top_logprobs` needs `logprobs` to be true.", param="top_logprobs")
    tools = () if request.tool_choice == "none" else tuple(to_tool(tool) for tool in request.tools or ())
    max_tokens = request.max_completion_tokens or request.max_tokens
    return Conversation(
        messages=with_processor_arguments(
            tuple(to_message(index, message) for index, message in enumerate(request.messages)),
            request.mm_processor_kwargs,
            limits,
        ),
        tools=tools,
        tool_choice=to_tool_choice(
            request.tool_choice, request.parallel_tool_calls, frozenset(tool.name for tool in tools)
        ),
        structure=to_form(request, limits),
        thinking=_thinking(request),
        thinking_budget=_budget(request),
        effort=request.reasoning_effort,
        answers=request.n or 1,
        whole=not request.stream,
        continue_final=_continues(request),
        cache_salt=request.cache_salt,
        template_arguments=_template_arguments(request),
        sampling=to_bounded_sampling(
            request, longest=max_tokens, logprobs=(request.top_logprobs or 0) if request.logprobs else None
        ),
        max_tokens=max_tokens,
        max_tokens_param="max_completion_tokens" if request.max_completion_tokens else "max_tokens",
    )


def _thinking(request: ChatRequest) -> bool | None:
    inner = request.chat_template_kwargs.enable_thinking if request.chat_template_kwargs else None
    outer = request.enable_thinking
    if inner is not None and outer is not None and inner != outer:
        raise InvalidRequest(
            "`enable_thinking` and `chat_template_kwargs.enable_thinking` contradict each other.",
            param="enable_thinking",
        )
    return inner if outer is None else outer


def _budget(request: ChatRequest) -> int | None:
    if request.thinking_budget is not None:
        return request.thinking_budget
    return None if request.thinking_token_budget == -1 else request.thinking_token_budget


def _continues(request: ChatRequest) -> bool:
    if not request.continue_final_message:
        if request.add_generation_prompt is False:
            raise InvalidRequest(
                "Without a generation prompt there is nothing to answer, unless `continue_final_message` is true.",
                param="add_generation_prompt",
            )
        return False
    if request.add_generation_prompt:
        raise InvalidRequest(
            "`add_generation_prompt` and `continue_final_message` contradict each other.", param="add_generation_prompt"
        )
    last = request.messages[-1]
    if last.role != "assistant" or not last.content:
        raise InvalidRequest(
            "`continue_final_message` needs a last message by the assistant that has content.",
            param="continue_final_message",
        )
    return True


def _template_arguments(request: ChatRequest) -> dict[str, Any]:
    given = request.chat_template_kwargs
    return {} if given is None else given.model_dump(exclude_none=True, exclude={"enable_thinking"})
