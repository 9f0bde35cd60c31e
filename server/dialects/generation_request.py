"""What every request for generated text has in common: its parameters, decided once, and what they mean in the core.

Scalars are strict, as OpenAI's are: `"5"` is not a number. A field that is not listed is accepted and reported back in
a response header, never an error (unless the settings say so), since clients send many that only some servers know.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from server.dialects.chat_options import ResponseFormatIn, StreamOptionsIn, StructuredOutputsIn, to_structure
from server.dialects.decisions import Refused, ignored, option, refused
from server.dialects.limits import Limits
from server.generation.conversation import Sampling, Structure
from server.generation.errors import InvalidRequest

MOST_ANSWERS = 128
"""The largest `n`."""

_MOST_STOPS = 16
_MOST_BIASES = 1024
_MOST_IDS = 128
_LONGEST_ID = 18


class SampledRequest(BaseModel):
    """How tokens are drawn and when they end, in all bodies of OpenAI's that ask for generated text."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str = Field(description="The served model's name or one of its aliases.")

    temperature: float | None = option("0 draws the likeliest token.", ge=0, le=2)
    top_p: float | None = option("Draws among the likeliest tokens of this probability in all.", gt=0, le=1)
    top_k: int | None = option("Draws among that many tokens; 0 or -1 means all.", ge=-1, le=1_000_000)
    min_p: float | None = option("Least probability beside the likeliest token's.", ge=0, le=1)
    presence_penalty: float | None = option("Against tokens that came already.", ge=-2, le=2)
    frequency_penalty: float | None = option("Against tokens by how often they came.", ge=-2, le=2)
    repetition_penalty: float | None = option("Against tokens of prompt and answer; 1 is none.", ge=0.01, le=10)
    seed: int | None = option("Repeats a random answer, on the same load at least.", ge=-(2**63), lt=2**63)

    stop: Annotated[str, Field(max_length=256)] | list[Annotated[str, Field(max_length=256)]] | None = option(
        "Strings that end the answer, at most 16."
    )
    stop_token_ids: list[int] | None = option("Tokens that end the answer.", max_length=_MOST_IDS)
    include_stop_str_in_output: bool | None = option("Whether the stop string stays in the answer.")
    ignore_eos: bool | None = option("Goes on to the longest answer allowed; for measurements.")

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > _MOST_STOPS or any(not each for each in stops):
            raise ValueError(f"must be at most {_MOST_STOPS} strings, none of them empty")
        return stop

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that this server does not know."""
        return sorted(self.model_extra or {})


class GenerationRequest(SampledRequest):
    """Base of the bodies of chat and raw completions."""

    stream: bool | None = option("Server-sent events instead of one body.")
    stream_options: StreamOptionsIn | None = option("`include_usage`: one more chunk with the token counts.")
    n: int | None = option("Number of answers.", ge=1, le=MOST_ANSWERS)
    min_tokens: int | None = option("The answer does not end before.", ge=0)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = option(
        "Added to the logits of tokens, by their ids.", max_length=_MOST_BIASES
    )

    response_format: ResponseFormatIn | None = option("`text`, `json_object` or `json_schema`; binds the answer alone.")
    structured_outputs: StructuredOutputsIn | None = option(
        "One of `json`, `regex`, `choice`, `grammar`, `json_object`."
    )
    guided_json: dict[str, Any] | str | None = option("vLLM's older name for `structured_outputs.json`.")
    guided_regex: str | None = option("For `structured_outputs.regex`.", max_length=8192)
    guided_choice: list[str] | None = option("For `structured_outputs.choice`.", min_length=1, max_length=1024)
    guided_grammar: str | None = option("For `structured_outputs.grammar`.", max_length=65536)

    cache_salt: str | None = option(
        "Only requests of the same salt share cached prefixes.", min_length=1, max_length=256
    )

    user: str | None = ignored("Whose request it is; for your own records.")
    safety_identifier: str | None = ignored("As `user`.")
    prompt_cache_key: str | None = ignored("Prefixes are cached whoever sends them; see `cache_salt`.")
    prompt_cache_retention: str | None = ignored("The engine keeps prefixes while it has room.")
    prompt_cache_options: dict[str, Any] | None = ignored("As `prompt_cache_retention`.")
    metadata: dict[str, str] | None = ignored("For your own records; only responses are stored.")
    store: bool | None = ignored("Only responses are stored.")
    service_tier: str | None = option(
        "Priority class: `priority`, `fast` are interactive, `default` standard, `flex` batch, `auto` the tenant's."
    )
    priority: int | None = ignored("The engine's own order is not for clients to set; see `service_tier`.")
    length_penalty: float | None = ignored("Only beam search reads it.")
    request_id: str | None = ignored("The server gives out the ids.")
    session_id: str | None = ignored("Prefixes are cached whoever sends them.")
    stream_interval: int | None = ignored("Each token is sent as it comes.")
    truncation_side: str | None = ignored("Nothing is truncated.")
    return_token_offsets: bool | None = ignored("Of vLLM's rendering endpoints alone.")
    mm_payload: str | None = ignored("As `return_token_offsets`.")
    return_mm_kwargs: bool | None = ignored("As `return_token_offsets`.")
    routed_experts_prompt_start: int | None = ignored("No experts are told.")

    use_beam_search: Refused = refused("The engine draws token by token.")
    prompt_logprobs: Refused = refused("They would cost other requests their speed.")
    truncate_prompt_tokens: Refused = refused("Send the part that counts.")
    prompt_embeds: Refused = refused("The engine would trust them.")
    allowed_token_ids: Refused = refused("Use `structured_outputs` or `logit_bias`.")
    bad_words: Refused = refused("Use `logit_bias`.")
    logprob_token_ids: Refused = refused("Ask for the likeliest tokens instead.")
    return_tokens_as_token_ids: Refused = refused("Use `return_token_ids`.")
    repetition_detection: Refused = refused("Use `repetition_penalty`.")
    watermarking: Refused = refused("The engine is not set up for it.")
    kv_transfer_params: Refused = refused("Belongs between servers.")
    ec_transfer_params: Refused = refused("Belongs between servers.")
    vllm_xargs: Refused = refused("The engine would trust them.")

    @field_validator("logit_bias")
    @classmethod
    def _biased_ids(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        # Python refuses to read numbers of thousands of digits; no vocabulary needs more than a few.
        if any(not token.isascii() or not token.isdigit() or len(token) > _LONGEST_ID for token in bias or ()):
            raise ValueError("its keys must be token ids")
        return bias

    @property
    def include_usage(self) -> bool:
        """Whether a stream is to end with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


def to_sampling(request: SampledRequest, *, logprobs: int | None, **more: Any) -> Sampling:
    """How the request's tokens are drawn; `more` is the dialect's own."""
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
        stop=(request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ()),
        stop_token_ids=tuple(request.stop_token_ids or ()),
        include_stop=bool(request.include_stop_str_in_output),
        ignore_eos=bool(request.ignore_eos),
        logprobs=logprobs,
        **more,
    )


def to_bounded_sampling(
    request: GenerationRequest, *, longest: int | None, logprobs: int | None, **more: Any
) -> Sampling:
    """The same of a request that may bound its answer below and set biases; `longest` is its own bound above.

    Raises InvalidRequest for what contradicts itself.
    """
    if longest is not None and (request.min_tokens or 0) > longest:
        raise InvalidRequest(f"`min_tokens` is more than the {longest} tokens allowed.", param="min_tokens")
    bias = {int(token): value for token, value in (request.logit_bias or {}).items()}
    return to_sampling(request, logprobs=logprobs, min_tokens=request.min_tokens or 0, logit_bias=bias or None, **more)


def to_form(request: GenerationRequest, limits: Limits) -> Structure | None:
    """The form that the answer must have. Raises InvalidRequest for several at once, and for one that is too large."""
    guided = {
        name: value
        for name in ("guided_json", "guided_regex", "guided_choice", "guided_grammar")
        if (value := getattr(request, name)) is not None
    }
    return bounded_structure(to_structure(request.response_format, request.structured_outputs, guided), limits)


def bounded_structure(structure: Structure | None, limits: Limits) -> Structure | None:
    """The form, if it is not too large. Raises InvalidRequest."""
    if structure is not None and len(json.dumps(structure.value)) > limits.schema_bytes:
        raise InvalidRequest(
            f"The form of the answer is larger than {limits.schema_bytes} bytes.",
            param=structure.param,
            code="too_large",
        )
    return structure


def bounded(count: int, limit: int, param: str, what: str | None = None) -> None:
    """Raises InvalidRequest where there are more than `limit` of `what`, which `param` holds (and names, if not)."""
    if count > limit:
        raise InvalidRequest(
            f"There are {count} {what or param}; at most {limit} are allowed.", param=param, code="too_many"
        )
