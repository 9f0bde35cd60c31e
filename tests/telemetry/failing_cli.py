"""`qwend` whose real engine fails some requests, by the tokens that they ask for: 613 at once, 614 in the middle.

python -m tests.telemetry.failing_cli serve --port ...
"""

from __future__ import annotations

import asyncio
from typing import Any

from server.cli import app
from server.engine.client import VllmEngine
from server.generation.errors import EngineFailed

AT_ONCE, IN_THE_MIDDLE = 613, 614
AFTER_SECONDS = 0.15

_submit = VllmEngine.submit


async def _submitted(engine: VllmEngine, request_id: str, prompt: Any, order: Any, parameters: Any = None) -> Any:
    stream = await _submit(engine, request_id, prompt, order, parameters)
    error = EngineFailed("The engine failed: planted.")
    if order.max_tokens == AT_ONCE:
        stream.interrupt(error)
    elif order.max_tokens == IN_THE_MIDDLE:
        asyncio.get_running_loop().call_later(AFTER_SECONDS, stream.interrupt, error)
    return stream


if __name__ == "__main__":
    VllmEngine.submit = _submitted
    app()
