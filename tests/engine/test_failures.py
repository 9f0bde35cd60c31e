"""vLLM's own exceptions in the core's words; needs vllm, but no engine."""

from __future__ import annotations

import pytest

from server.engine.torchvision_ops import ensure
from server.generation.errors import ContextTooLong, EngineDied, EngineFailed, InvalidRequest

ensure()

from server.engine.failures import translate  # noqa: E402 - vllm's imports need `ensure` first


def errors() -> list[tuple[Exception, type[Exception], str | None]]:
    import jinja2
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.engine.exceptions import EngineDeadError

    return [
        (VLLMValidationError("bad", parameter="top_k", value=1), InvalidRequest, "top_k"),
        (VLLMValidationError("over the maximum context length", parameter="input_tokens"), ContextTooLong, "messages"),
        (jinja2.TemplateError("No user query found in messages."), InvalidRequest, None),
        (ValueError("odd"), InvalidRequest, None),
        (EngineDeadError(), EngineDied, None),
        (RuntimeError("secret"), EngineFailed, None),
        (InvalidRequest("ours", param="x"), InvalidRequest, "x"),
    ]


@pytest.mark.parametrize("index", range(7))
def test_translation(index: int) -> None:
    raised, expected, param = errors()[index]
    translated = translate(raised)
    assert type(translated) is expected
    assert translated.param == param
    assert "secret" not in translated.message


def test_what_an_image_held_is_not_told() -> None:
    translated = translate(ValueError("Failed to apply Qwen3VLProcessor on data={'images': [b'private']}"))
    assert isinstance(translated, InvalidRequest)
    assert "private" not in translated.message
