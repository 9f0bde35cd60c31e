"""What a new engine is asked before anyone is let in: on a GPU, what is first done is compiled first.

vLLM warms neither random sampling nor log probabilities, grammars or the vision tower up. On an H200 the first answer
that a grammar bound took nearly 2 s longer, while its kernel was compiled, and held all streams up for 0.75 s where it
only had to be loaded from the disk's cache; the first image took 0.5 s.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from server.generation.conversation import Sampling, Structure
from server.generation.errors import InvalidRequest
from server.generation.ports import DecodedImage, Engine, Order
from server.telemetry.logs import get_logger

_log = get_logger("engine")

_TOKENS = 2
_PIXELS = 64


async def warm_up(engine: Engine, *, images: bool) -> None:
    """Has the engine answer once in each way; `images` says that it is to see one too. Raises what `submit` raises, but
    for InvalidRequest: what this model cannot do, nobody will do.
    """
    drawn = Sampling(temperature=1.0, top_k=2, top_p=0.9, presence_penalty=0.1, logprobs=1)
    greedy = Sampling(temperature=0.0)
    form = Structure("json_object")
    await _answer(engine, "warm-up", "Hello", Order(drawn, max_tokens=_TOKENS, thinking=False))
    await _answer(engine, "warm-up-form", "Hello", Order(greedy, max_tokens=_TOKENS, thinking=False, structure=form))
    if images:
        parts: list[Mapping[str, Any]] = [{"type": "image", "image": _image()}, {"type": "text", "text": "What is it?"}]
        await _answer(engine, "warm-up-image", parts, Order(greedy, max_tokens=_TOKENS, thinking=False))


async def _answer(engine: Engine, name: str, content: str | list[Mapping[str, Any]], order: Order) -> None:
    try:
        prompt = await engine.render([{"role": "user", "content": content}], tools=[], template_arguments={})
        stream = await engine.submit(name, prompt, order)
        try:
            while not any(delta.finish_reason for delta in await stream.next()):
                pass
        finally:
            await stream.close()
    except InvalidRequest as error:
        _log.warning("not warmed up", what=name, why=error.message)


def _image() -> DecodedImage:
    pixels, encoded = Image.new("RGB", (_PIXELS, _PIXELS)), io.BytesIO()
    pixels.save(encoded, "PNG")
    return DecodedImage(pixels, encoded.getvalue())
