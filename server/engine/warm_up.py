"""What a new engine is asked before anyone is let in: on a GPU, what is first done is compiled first.

vLLM warms neither random sampling nor log probabilities, grammars or the vision tower up. On an H200 the first answer
that a grammar bound took nearly 2 s longer, while its kernel was compiled, and held all streams up for 0.75 s where it
only had to be loaded from the disk's cache; the first image took 0.5 s.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

from server.generation.conversation import Sampling, Structure
from server.generation.errors import EngineDied, InvalidRequest, RequestFailed
from server.generation.ports import DecodedImage, Engine, Order
from server.telemetry.logs import get_logger

_log = get_logger("engine")

_TOKENS = 2
_PIXELS = 64


async def warm_up(engine: Engine, *, images: bool) -> None:
    """Has the engine answer once in each way; `images` says that it is to see one too.

    Raises EngineDied, and what keeps it from a plain answer but InvalidRequest: a model may have no chat template. That
    a form or an image fails is told and no reason not to serve the rest.
    """
    drawn = Sampling(temperature=1.0, top_k=2, top_p=0.9, presence_penalty=0.1, logprobs=1)
    greedy = Sampling(temperature=0.0)
    form = Structure("json_object")
    with _told("warm-up", InvalidRequest):
        await _answer(engine, "warm-up", "Hello", Order(drawn, max_tokens=_TOKENS, thinking=False))
    with _told("warm-up-form", RequestFailed):
        order = Order(greedy, max_tokens=_TOKENS, thinking=False, structure=form)
        await _answer(engine, "warm-up-form", "Hello", order)
    if images:
        parts: list[Mapping[str, Any]] = [{"type": "image", "image": _image()}, {"type": "text", "text": "What is it?"}]
        with _told("warm-up-image", RequestFailed):
            await _answer(engine, "warm-up-image", parts, Order(greedy, max_tokens=_TOKENS, thinking=False))


@contextlib.contextmanager
def _told(name: str, failure: type[RequestFailed]) -> Iterator[None]:
    """Logs a failure of that kind and goes on, unless the engine has died of it."""
    try:
        yield
    except EngineDied:
        raise
    except failure as error:
        _log.warning("not warmed up", what=name, why=error.message)


async def _answer(engine: Engine, name: str, content: str | list[Mapping[str, Any]], order: Order) -> None:
    prompt = await engine.render([{"role": "user", "content": content}], tools=[], template_arguments={})
    stream = await engine.submit(name, prompt, order)
    try:
        while not any(delta.finish_reason for delta in await stream.next()):
            pass
    finally:
        await stream.close()


def _image() -> DecodedImage:
    pixels, encoded = Image.new("RGB", (_PIXELS, _PIXELS)), io.BytesIO()
    pixels.save(encoded, "PNG")
    return DecodedImage(pixels, encoded.getvalue())
