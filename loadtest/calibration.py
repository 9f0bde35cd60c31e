"""What must be known of a server before load is made for it: its model, and how it counts our words."""

from __future__ import annotations

import random
from collections.abc import Mapping

import orjson

from loadtest.answer_stream import code_of
from loadtest.http_client import Lost, Target, ask
from loadtest.prompts import Pace, text
from loadtest.sender import CHAT
from loadtest.strict import Misfit

_FEW, _MANY = 50, 250


async def first_model(target: Target, headers: Mapping[str, str]) -> str:
    """The first that /v1/models names. Raises Misfit where it names none."""
    try:
        answer = await ask(target, "GET", "/v1/models", headers)
        models = orjson.loads(answer.text)["data"] if answer.status == 200 else []
        return str(models[0]["id"])
    except (OSError, Lost, TimeoutError) as error:
        raise Misfit(f"{target.shown} cannot be reached: {type(error).__name__}") from None
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        raise Misfit(f"{target.shown}/models does not name a model; say which with `model`") from None


async def pace(target: Target, model: str, headers: Mapping[str, str]) -> Pace:
    """Tokens of our words, from the server's own count of two prompts.

    Raises Misfit where it refuses them; a server that does not count is taken to have one token for each word.
    """
    counts = []
    for words in (_FEW, _MANY):
        message = {"role": "user", "content": text(random.Random(f"calibration/{words}"), words)}
        body = orjson.dumps({"model": model, "messages": [message], "max_tokens": 1})
        try:
            answer = await ask(target, "POST", CHAT, headers, body, timeout=120)
        except (OSError, Lost, TimeoutError) as error:
            raise Misfit(f"{target.shown} cannot be reached: {type(error).__name__}") from None
        try:
            answered = orjson.loads(answer.text)
        except orjson.JSONDecodeError:
            answered = {}
        if answer.status != 200:
            raise Misfit(f"{target.shown} refuses a plain question with {answer.status} {code_of(answered)}")
        counts.append((answered.get("usage") or {}).get("prompt_tokens") or 0)
    few, many = counts
    if many <= few:
        return Pace()
    each = (many - few) / (_MANY - _FEW)
    return Pace(each, max(0.0, few - each * _FEW))
