"""Between text and token ids, without a chat template: raw prompts, and the tokenizer for its own sake.

All of it runs in the renderer's threads, which know how to share the tokenizer; each call is one prompt, so that a
request with many of them lets others in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.engine.failures import translate
from server.generation.errors import ContextTooLong, InvalidRequest


async def raw_input(
    llm: Any, prompt: str | Sequence[int], *, param: str, add_special_tokens: bool, cache_salt: str | None
) -> Any:
    """vLLM's engine input for a raw prompt. Raises InvalidRequest that names `param`."""
    from vllm.renderers.params import TokenizeParams

    longest = int(llm.model_config.max_model_len)
    if not isinstance(prompt, str):
        if len(prompt) > longest:
            raise ContextTooLong(
                f"This model's maximum context length is {longest} tokens, but the prompt has {len(prompt)}.",
                param=param,
            )
        check_ids(prompt, vocabulary(llm), param)
    try:
        (engine_input,) = await llm.renderer.render_cmpl_async(
            [{"prompt": prompt} if isinstance(prompt, str) else {"prompt_token_ids": list(prompt)}],
            TokenizeParams(max_total_tokens=longest, add_special_tokens=add_special_tokens),
            prompt_extras=None if cache_salt is None else {"cache_salt": cache_salt},
        )
    except Exception as error:
        failure = translate(error)
        if isinstance(failure, InvalidRequest):
            failure.param = param
        raise failure from error
    if not engine_input["prompt_token_ids"]:
        raise InvalidRequest("The prompt is empty: there is nothing to go on with.", param=param)
    return engine_input


async def tokenize(llm: Any, text: str, *, add_special_tokens: bool) -> Sequence[int]:
    """See `server.generation.ports.Engine`."""
    from vllm.renderers.params import TokenizeParams

    params = TokenizeParams(max_total_tokens=None, add_special_tokens=add_special_tokens)
    done = await llm.renderer.tokenize_prompt_async({"prompt": text}, params)
    token_ids: Sequence[int] = done["prompt_token_ids"]
    return token_ids


async def detokenize(llm: Any, token_ids: Sequence[int]) -> str:
    """See `server.generation.ports.Engine`."""
    from vllm.renderers.params import TokenizeParams

    check_ids(token_ids, vocabulary(llm), "tokens")
    params = TokenizeParams(max_total_tokens=None, needs_detokenization=True)
    done = await llm.renderer.tokenize_prompt_async({"prompt_token_ids": list(token_ids)}, params)
    return str(done["prompt"])


def vocabulary(llm: Any) -> int:
    """How many rows the model's embedding has: what lies outside would end the engine."""
    return int(llm.model_config.get_vocab_size())


def check_ids(token_ids: Sequence[int], known: int, param: str) -> None:
    """Raises InvalidRequest that names `param` where an id is outside the vocabulary."""
    if token_ids and not (min(token_ids) >= 0 and max(token_ids) < known):
        wrong = next(each for each in token_ids if not 0 <= each < known)
        raise InvalidRequest(f"The token id {wrong} is not in the vocabulary of {known} tokens.", param=param)
