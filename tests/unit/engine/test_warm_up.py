"""What a warm-up that fails means for the start; that it is done at all, tests of the real engine show."""

from __future__ import annotations

from typing import Any

import pytest

from server.engine.warm_up import warm_up
from server.generation.errors import EngineDied, EngineFailed, InvalidRequest, Unavailable


class Engine:
    """Renders nothing and fails in the way that it is told to, by the number of the answer."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.asked = 0

    async def render(self, *arguments: Any, **named: Any) -> Any:
        self.asked += 1
        raise self._failures[self.asked - 1]


async def test_a_form_or_an_image_that_fails_does_not_keep_the_daemon_from_serving() -> None:
    busy = Unavailable("busy", code="overloaded", retry_after=1)
    engine = Engine(InvalidRequest("no template"), busy, EngineFailed("odd image"))
    await warm_up(engine, images=True)  # type: ignore[arg-type]
    assert engine.asked == 3


@pytest.mark.parametrize("failures", [(EngineFailed("x"),), (InvalidRequest("x"), EngineDied("x"))])
async def test_an_engine_that_fails_at_a_plain_answer_or_dies_does(failures: tuple[Exception, ...]) -> None:
    with pytest.raises(type(failures[-1])):
        await warm_up(Engine(*failures), images=True)  # type: ignore[arg-type]
