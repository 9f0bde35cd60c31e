"""What vLLM raises becomes an error with the right status."""

from __future__ import annotations

import pytest

from server.engine.failures import translate
from server.engine.torchvision_ops import ensure
from server.generation.errors import EngineDied, EngineFailed, InvalidRequest, RequestFailed, Unavailable


@pytest.fixture(autouse=True, scope="module")
def _importable() -> None:
    ensure()


def test_what_vllms_own_caps_refuse_may_come_back() -> None:
    from vllm.exceptions import MaxQueuedTokensError, QueueOverflowError

    for error in (QueueOverflowError(), MaxQueuedTokensError()):
        told = translate(error)
        assert isinstance(told, Unavailable)
        assert (told.status, told.code, told.retry_after) == (503, "overloaded", 1)


def test_the_requests_fault_is_told_from_ours() -> None:
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.engine.exceptions import EngineDeadError

    told = translate(VLLMValidationError("too long", parameter="input_tokens"))
    assert isinstance(told, InvalidRequest)
    assert told.param == "messages"
    assert type(translate(RuntimeError("a secret"))) is EngineFailed
    assert "secret" not in str(translate(RuntimeError("a secret")))
    assert isinstance(translate(EngineDeadError()), EngineDied)
    passed = RequestFailed("ours")
    assert translate(passed) is passed
