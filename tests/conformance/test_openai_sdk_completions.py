"""The official `openai` package against the legacy completions."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai.types import Completion

from tests.daemon_process import MODEL, DaemonProcess

pytestmark = pytest.mark.engine

HELLO = "<|im_start|>user\nMy name is {}. Say hello.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


@pytest.fixture
def sdk(daemon: DaemonProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_whole_answer_with_logprobs(sdk: openai.OpenAI) -> None:
    answer = sdk.completions.create(model=MODEL, prompt=HELLO.format("Rosa"), logprobs=2)
    Completion.model_validate(answer.model_dump(), strict=True)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, choice.index) == ("Hello, Rosa!", "stop", 0)
    assert choice.logprobs is not None
    assert choice.logprobs.text_offset[:2] == [0, len(choice.logprobs.tokens[0])]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(choice.logprobs.token_logprobs)


def test_several_prompts_streamed(sdk: openai.OpenAI) -> None:
    chunks = list(
        sdk.completions.create(
            model=MODEL,
            prompt=[HELLO.format("Rosa"), HELLO.format("Ada")],
            echo=True,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts, reasons = ["", ""], ["", ""]
    for chunk in chunks:
        assert chunk.object == "text_completion"
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] += choice.finish_reason or ""
    assert texts == [HELLO.format(name) + f"Hello, {name}!" for name in ("Rosa", "Ada")]
    assert reasons == ["stop", "stop"]
    assert chunks[-1].usage is not None
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_errors_arrive_as_the_sdks_own(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        sdk.completions.create(model=MODEL, prompt=[5, 10**6])
    assert bad.value.param == "prompt"
