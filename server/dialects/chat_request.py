"""OpenAI's chat completions request: every parameter, decided, and how they become a Conversation.

Scalars are strict, as OpenAI's are: `"5"` is not a number. A field that is not listed here is accepted and reported
back in a response header, never an error (unless the settings say so), since clients send many that only some servers
know. Each field's description says what it does or why it does nothing; `docs/reference.md` is made from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from server.dialects.chat_messages import MessageIn, ToolIn, to_message, to_tool
from server.dialects.chat_options import (
    ChatTemplateArgumentsIn,
    ProcessorArgumentsIn,
    ResponseFormatIn,
    StreamOptionsIn,
    StructuredOutputsIn,
    ToolChoiceIn,
    to_structure,
    to_tool_choice,
    with_processor_arguments,
)
from server.dialects.limits import Limits
from server.generation.conversation import Conversation, Sampling, Structure
from server.generation.errors import InvalidRequest

_MOST_STOPS = 16
_MOST_BIASES = 1024
_MOST_IDS = 128
# OpenAI's own limit.
_MOST_TOP_LOGPROBS = 20


class Decision:
    """What this server does with a parameter: a mark on its field, read by the documentation."""

    SUPPORTED = "supported"
    IGNORED = "accepted without effect"
    REFUSED = "refused"


def _refuse(value: Any) -> Any:
    # Some clients send every field, most of them as what they are anyway.
    if value is None or value is False:
        return None
    raise ValueError("this server does not support it")


def _ignored(why: str, **bounds: Any) -> Any:
    return Field(None, description=why, json_schema_extra={"decision": Decision.IGNORED}, **bounds)


def _refused(why: str) -> Any:
    return Field(None, description=why, json_schema_extra={"decision": Decision.REFUSED})


Refused = Annotated[Any, BeforeValidator(_refuse)]


def _option(what: str, **bounds: Any) -> Any:
    return Field(None, description=what, **bounds)


class ChatRequest(BaseModel):
    """The body of POST /v1/chat/completions."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str = Field(description="The served model's name or one of its aliases.")
    messages: list[MessageIn] = Field(min_length=1, description="The conversation; see below for roles and parts.")

    stream: bool | None = _option("Server-sent events instead of one body.")
    stream_options: StreamOptionsIn | None = _option("`include_usage`: one more chunk with the token counts.")
    n: int | None = _option("Number of answers.", ge=1, le=128)
    max_tokens: int | None = _option("Longest answer, thinking included.", ge=1)
    max_completion_tokens: int | None = _option("The same by its newer name, which wins.", ge=1)
    min_tokens: int | None = _option("The answer does not end before.", ge=0)
    stop: Annotated[str, Field(max_length=256)] | list[Annotated[str, Field(max_length=256)]] | None = _option(
        "Strings that end the answer, at most 16."
    )
    stop_token_ids: list[int] | None = _option("Tokens that end the answer.", max_length=_MOST_IDS)
    include_stop_str_in_output: bool | None = _option("Whether the stop string stays in the answer.")
    ignore_eos: bool | None = _option("Goes on to `max_tokens`; for measurements.")

    temperature: float | None = _option("0 draws the likeliest token.", ge=0, le=2)
    top_p: float | None = _option("Draws among the likeliest tokens of this probability in all.", gt=0, le=1)
    top_k: int | None = _option("Draws among that many tokens; 0 or -1 means all.", ge=-1, le=1_000_000)
    min_p: float | None = _option("Least probability beside the likeliest token's.", ge=0, le=1)
    presence_penalty: float | None = _option("Against tokens that came already.", ge=-2, le=2)
    frequency_penalty: float | None = _option("Against tokens by how often they came.", ge=-2, le=2)
    repetition_penalty: float | None = _option("Against tokens of prompt and answer; 1 is none.", ge=0.01, le=10)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = _option(
        "Added to the logits of tokens, by their ids.", max_length=_MOST_BIASES
    )
    seed: int | None = _option("Repeats a random answer, on the same load at least.", ge=-(2**63), lt=2**63)
    logprobs: bool | None = _option("Log probabilities of all tokens made, those of the thinking too.")
    top_logprobs: int | None = _option(
        "That many likeliest tokens at each place; needs `logprobs`.", ge=0, le=_MOST_TOP_LOGPROBS
    )
    return_token_ids: bool | None = _option("Adds `prompt_token_ids` and each choice's `token_ids`.")

    response_format: ResponseFormatIn | None = _option(
        "`text`, `json_object` or `json_schema`; binds the answer alone."
    )
    structured_outputs: StructuredOutputsIn | None = _option(
        "One of `json`, `regex`, `choice`, `grammar`, `json_object`."
    )
    guided_json: dict[str, Any] | None = _option("vLLM's older name for `structured_outputs.json`.")
    guided_regex: str | None = _option("For `structured_outputs.regex`.", max_length=8192)
    guided_choice: list[str] | None = _option("For `structured_outputs.choice`.", min_length=1, max_length=1024)
    guided_grammar: str | None = _option("For `structured_outputs.grammar`.", max_length=65536)

    tools: list[ToolIn] | None = _option("Functions; `strict` ones bind their arguments by a grammar.")
    tool_choice: ToolChoiceIn | None = _option("`auto`, `none`, `required`, a function, or `allowed_tools`.")
    parallel_tool_calls: bool | None = _option("False allows one call at most.")

    reasoning_effort: str | None = _option("A thinking budget by name; see the setting `generation.effort_budgets`.")
    enable_thinking: bool | None = _option("Thinking on or off.")
    thinking_budget: int | None = _option("Most tokens of thinking; 0 switches it off.", ge=0)
    thinking_token_budget: int | None = _option("vLLM's name for `thinking_budget`; -1 is no bound.", ge=-1)
    include_reasoning: bool | None = _option("False leaves the thinking out of the answer; it is made all the same.")
    chat_template_kwargs: ChatTemplateArgumentsIn | None = _option("`enable_thinking` and others of the template's.")
    continue_final_message: bool | None = _option("Goes on with the last message, which must be the assistant's.")
    add_generation_prompt: bool | None = _option("False only with `continue_final_message`.")
    mm_processor_kwargs: ProcessorArgumentsIn | None = _option(
        "`min_pixels`, `max_pixels` of images; `fps` or `num_frames` of videos."
    )
    cache_salt: str | None = _option(
        "Only requests of the same salt share cached prefixes.", min_length=1, max_length=256
    )

    user: str | None = _ignored("Whose request it is; for your own records.")
    safety_identifier: str | None = _ignored("As `user`.")
    prompt_cache_key: str | None = _ignored("Prefixes are cached whoever sends them; see `cache_salt`.")
    prompt_cache_retention: str | None = _ignored("The engine keeps prefixes while it has room.")
    metadata: dict[str, str] | None = _ignored("For your own records; nothing is stored.")
    store: bool | None = _ignored("Nothing is stored.")
    service_tier: str | None = _ignored("There is one tier.")
    verbosity: str | None = _ignored("The model knows no such switch.")
    prediction: dict[str, Any] | None = _ignored("A hint that only speeds up.")
    modalities: list[Literal["text"]] | None = _ignored("Only text can be made.")
    priority: int | None = _ignored("All requests are served in the order they come.")
    skip_special_tokens: bool | None = _ignored("Special tokens are never shown; the thinking's and calls' are read.")
    spaces_between_special_tokens: bool | None = _ignored("Special tokens are never shown.")

    audio: Refused = _refused("The model makes no sound.")
    web_search_options: Refused = _refused("The model has no search of its own; give it a tool.")
    functions: Refused = _refused("OpenAI's old form; use `tools`.")
    function_call: Refused = _refused("OpenAI's old form; use `tool_choice`.")
    echo: Refused = _refused("Belongs to completions.")
    best_of: Refused = _refused("Ask for `n` answers and choose.")
    use_beam_search: Refused = _refused("The engine draws token by token.")
    prompt_logprobs: Refused = _refused("They would cost other requests their speed.")
    chat_template: Refused = _refused("The template is the server's.")
    documents: Refused = _refused("Put them into a message.")

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > _MOST_STOPS or any(not each for each in stops):
            raise ValueError(f"must be at most {_MOST_STOPS} strings, none of them empty")
        return stop

    @field_validator("logit_bias")
    @classmethod
    def _biased_ids(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        if any(not token.isascii() or not token.isdigit() for token in bias or ()):
            raise ValueError("its keys must be token ids")
        return bias

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that this server does not know."""
        return sorted(self.model_extra or {})


def to_conversation(request: ChatRequest, limits: Limits) -> Conversation:
    """The request in the core's terms. Raises InvalidRequest where it is over a limit or makes no sense."""
    _bound(len(request.messages), limits.messages, "messages")
    _bound(len(request.tools or ()), limits.tools, "tools")
    tools = () if request.tool_choice == "none" else tuple(to_tool(tool) for tool in request.tools or ())
    guided = {
        name: value
        for name in ("guided_json", "guided_regex", "guided_choice", "guided_grammar")
        if (value := getattr(request, name)) is not None
    }
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
        structure=_bounded(to_structure(request.response_format, request.structured_outputs, guided), limits),
        thinking=_thinking(request),
        thinking_budget=_budget(request),
        effort=request.reasoning_effort,
        answers=request.n or 1,
        continue_final=_continues(request),
        cache_salt=request.cache_salt,
        template_arguments=_template_arguments(request),
        sampling=_sampling(request),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        max_tokens_param="max_completion_tokens" if request.max_completion_tokens else "max_tokens",
    )


def _bound(count: int, limit: int, param: str) -> None:
    if count > limit:
        raise InvalidRequest(f"There are {count} {param}; at most {limit} are allowed.", param=param, code="too_many")


def _bounded(structure: Structure | None, limits: Limits) -> Structure | None:
    if structure is not None and len(orjson.dumps(structure.value)) > limits.schema_bytes:
        raise InvalidRequest(
            f"The form of the answer is larger than {limits.schema_bytes} bytes.",
            param=structure.param,
            code="too_large",
        )
    return structure


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


def _sampling(request: ChatRequest) -> Sampling:
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequest("`top_logprobs` needs `logprobs` to be true.", param="top_logprobs")
    longest = request.max_completion_tokens or request.max_tokens
    if longest is not None and (request.min_tokens or 0) > longest:
        raise InvalidRequest(f"`min_tokens` is more than the {longest} tokens allowed.", param="min_tokens")
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        # vLLM's clients say -1, its engine 0, for "all".
        top_k=0 if request.top_k == -1 else request.top_k,
        min_p=request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        seed=request.seed,
        stop=stop,
        stop_token_ids=tuple(request.stop_token_ids or ()),
        include_stop=bool(request.include_stop_str_in_output),
        min_tokens=request.min_tokens or 0,
        ignore_eos=bool(request.ignore_eos),
        logit_bias=None if not request.logit_bias else {int(key): value for key, value in request.logit_bias.items()},
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )
