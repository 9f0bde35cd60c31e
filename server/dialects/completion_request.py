"""OpenAI's completions request: every parameter, decided, and how each of its prompts becomes a RawPrompt.

The prompt is raw: no template is put around it, nothing in it opens thinking or tool calls, and what comes is text.
Special tokens written out in a text, such as `<|im_end|>`, are read as those tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from server.dialects.decisions import Refused, ignored, option, refused
from server.dialects.generation_request import MOST_ANSWERS, GenerationRequest, bounded, to_bounded_sampling, to_form
from server.dialects.limits import Limits
from server.generation.errors import InvalidRequest
from server.generation.raw_prompt import RawPrompt

# OpenAI's own.
_DEFAULT_MAX_TOKENS = 16
_MOST_LOGPROBS = 5


def _prompt(value: Any) -> Any:
    """By hand: pydantic would try all four forms, and tell of every item what is wrong with it in each."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        kinds = set(map(type, value))
        if kinds in ({str}, {int}):
            return value
        if kinds == {list} and all(value) and all(set(map(type, each)) == {int} for each in value):
            return value
    raise ValueError("it must be a text, a list of texts, a list of token ids or a list of such lists, none empty")


_TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
_PromptForms = (
    str | Annotated[list[str], Field(min_length=1)] | _TokenIds | Annotated[list[_TokenIds], Field(min_length=1)]
)


class CompletionRequest(GenerationRequest):
    """The body of POST /v1/completions."""

    prompt: Annotated[
        str | list[str] | list[int] | list[list[int]], PlainValidator(_prompt, json_schema_input_type=_PromptForms)
    ] = Field(description="Text or token ids, or a list of either; each prompt gets its own answers.")

    max_tokens: int | None = option("Longest answer; 16 if it is not sent.", ge=1)
    echo: bool | None = option("Begins each answer with its prompt's text; not together with `logprobs`.")
    logprobs: int | None = option(
        "Log probabilities of the answer's tokens, and of that many likeliest ones beside each.",
        ge=0,
        le=_MOST_LOGPROBS,
    )
    best_of: int | None = option("Only as many as `n`: all that is made is answered.", ge=1, le=MOST_ANSWERS)
    return_token_ids: bool | None = option("Adds `prompt_token_ids` and `token_ids` to each choice.")
    add_special_tokens: bool | None = option(
        "False keeps the tokenizer from adding its own around a text; Qwen's adds none."
    )
    skip_special_tokens: bool | None = option("False shows special tokens in the answer's text.")

    spaces_between_special_tokens: bool | None = ignored("No spaces are put between them.")

    suffix: Refused = refused("The model goes on at the end of a text only.")
    messages: Refused = refused("Belongs to chat completions.")
    tools: Refused = refused("Tool calls are read in chat completions only.")
    chat_template_kwargs: Refused = refused("No template is put around a raw prompt.")
    enable_thinking: Refused = refused("What a raw prompt opens is up to its text.")
    reasoning_effort: Refused = refused("What a raw prompt opens is up to its text.")
    thinking_budget: Refused = refused("What a raw prompt opens is up to its text.")
    thinking_token_budget: Refused = refused("What a raw prompt opens is up to its text.")


def to_raw_prompts(request: CompletionRequest, limits: Limits) -> Sequence[RawPrompt]:
    """The request's prompts in the core's terms. Raises InvalidRequest where it is over a limit or makes no sense."""
    prompts = _prompts(request.prompt)
    bounded(len(prompts), limits.prompts, "prompt", "prompts")
    answers = request.n or 1
    most = max(MOST_ANSWERS, limits.prompts)
    if len(prompts) * answers > most:
        raise InvalidRequest(
            f"`n` is {answers} for each of {len(prompts)} prompts; at most {most} answers are made at once.",
            param="n",
            code="too_many",
        )
    if request.best_of is not None and request.best_of != answers:
        raise InvalidRequest("`best_of` can only be what `n` is: all answers made are given.", param="best_of")
    if request.echo and request.logprobs is not None:
        raise InvalidRequest(
            "`logprobs` cannot be told of a prompt that is echoed: they would cost other requests their speed.",
            param="logprobs",
        )
    sampling = to_bounded_sampling(
        request,
        longest=request.max_tokens or _DEFAULT_MAX_TOKENS,
        logprobs=request.logprobs,
        skip_special_tokens=request.skip_special_tokens is not False,
    )
    structure = to_form(request, limits)
    several = isinstance(request.prompt, list) and not isinstance(request.prompt[0], int)
    return [
        RawPrompt(
            prompt,
            f"prompt[{index}]" if several else "prompt",
            add_special_tokens=request.add_special_tokens is not False,
            echo=bool(request.echo),
            structure=structure,
            answers=answers,
            whole=not request.stream,
            cache_salt=request.cache_salt,
            sampling=sampling,
            max_tokens=request.max_tokens,
            default_max_tokens=_DEFAULT_MAX_TOKENS,
        )
        for index, prompt in enumerate(prompts)
    ]


def _prompts(prompt: Any) -> Sequence[str | list[int]]:
    if isinstance(prompt, str) or isinstance(prompt[0], int):
        return [prompt]
    prompts: Sequence[str | list[int]] = prompt
    return prompts
