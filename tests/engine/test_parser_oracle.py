"""Our output parser beside vLLM's own, which its server composes for `--tool-call-parser qwen3_coder
--reasoning-parser qwen3`: they say the same of every case, but for the differences that are listed here with a reason.

vLLM's reading is taken from the whole output; ours from the whole and from every way to cut it in two.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.engine import torchvision_ops
from tests.unit.generation.parser_cases import CASES, Case
from tests.unit.generation.parser_reading import Answer, answer

CHECKPOINT = Path(__file__).parents[2] / "server" / "reference" / "checkpoint"

Oracle = Callable[[Case], Answer]

KEPT = "vLLM loses this text; we keep it"
TAG_IN_PROSE = (
    "vLLM takes any <tool_call> for a call and loses the text from there on; we need <function=NAME> after it"
)
CLOSER_IN_TEXT = "vLLM drops every </think>; we keep one that the answer talks about"
IMPLIED_CLOSER = "vLLM loses the parameter or the call where closers are missing; we infer them"
CUT = "vLLM's whole result drops a cut parameter which its stream has sent; ours are the same, so the string stays"
CUT_NAME = "vLLM makes a call of a cut function name; we give it out as the text that it is"
VALUE = "vLLM ends the value at the first thing that looks like markup; we need more markup after it"
NO_UTF8 = "vLLM writes a lone surrogate as it is, which cannot be sent; we escape it"
SCHEMA = "vLLM does not follow $ref and does not read const: an object arrives as a string"

DIFFERENCES = {
    "opening tag of its own accord": "vLLM knows no thinking where it was switched off, and shows the tags",
    "closer without thinking": "vLLM shows the stray tag where thinking was switched off",
    "closer in the answer": CLOSER_IN_TEXT,
    "opener in the thinking": "vLLM drops every <think>; we keep one that the thinking talks about",
    "no tools: a call in thinking is thought": "vLLM ends the thinking at <tool_call> even without tools",
    "text after a call": KEPT,
    "text around calls": KEPT,
    "call inside thinking, closed, answered": KEPT,
    "thinking goes on after its call": KEPT,
    "no call closer before text": KEPT,
    "text before the call closer": KEPT,
    "parameter twice": "vLLM keeps the last; we send both as they come, and JSON readers keep the last",
    "call of an unknown function inside thinking": "vLLM calls whatever it mentions; we need a known function",
    "mention of the tag inside thinking": TAG_IN_PROSE,
    "closer right after the tag inside thinking": TAG_IN_PROSE,
    "mention of the tag": TAG_IN_PROSE,
    "tag at the end": TAG_IN_PROSE,
    "tag and whitespace at the end": TAG_IN_PROSE,
    "tag, then a call": TAG_IN_PROSE,
    "empty function name": TAG_IN_PROSE,
    "JSON in the tag": TAG_IN_PROSE,
    "cut before the function": TAG_IN_PROSE,
    "mention of the function tag": "vLLM calls whatever it mentions; without <tool_call> we need a known function",
    "unclosed function name": "vLLM takes markup into the name",
    "overlong function name": "we bound a name, since it is held back until it ends",
    "no parameter closer before the end": IMPLIED_CLOSER,
    "no function closer before a call": IMPLIED_CLOSER,
    "only the call closer": IMPLIED_CLOSER,
    "cut in the function name": CUT_NAME,
    "cut in the function name inside thinking": CUT_NAME,
    "cut before the value": CUT,
    "cut in a string": CUT,
    "cut before the value's end is sure": CUT,
    "cut at a less-than": CUT,
    "cut in the parameter closer": "vLLM drops the parameter; its closer has begun, so we take it as whole",
    "value: parameter elements": VALUE,
    "value: parameter opener within a line": VALUE,
    "value: function elements": VALUE,
    "value: lone surrogate": NO_UTF8,
    "type: object lone surrogate": NO_UTF8,
    "type: number long": "vLLM goes through a float and changes digits",
    "type: number 1e300": "vLLM writes 301 digits of a float",
    "type: object absurdly deep": "vLLM raises RecursionError",
    "type: place by reference": SCHEMA,
    "type: constant 5": SCHEMA,
}

ALIKE = [case for case in CASES if case.name not in DIFFERENCES]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    torchvision_ops.ensure()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(CHECKPOINT))


@pytest.fixture(scope="module")
def oracle(tokenizer: Any) -> Oracle:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser.parser_manager import ParserManager

    def composed(tools: bool) -> Any:
        parser = ParserManager.get_parser(
            tool_parser_name="qwen3_coder" if tools else None, reasoning_parser_name="qwen3", enable_auto_tools=tools
        )
        assert parser is not None
        return parser

    parsers = {tools: composed(tools) for tools in (True, False)}

    def read(case: Case) -> Answer:
        request = ChatCompletionRequest(
            model="m",
            messages=[{"role": "user", "content": "x"}],
            tools=[
                {"type": "function", "function": {"name": name, "parameters": schema}}
                for name, schema in (case.tools or {}).items()
            ]
            or None,
        )
        parser = parsers[bool(case.tools)](
            tokenizer, request.tools, chat_template_kwargs={"enable_thinking": case.thinking}
        )
        reasoning, content, calls = parser.parse(case.raw, request, enable_auto_tools=True)
        return Answer(reasoning or "", content or "", [(each.name, each.arguments) for each in calls or ()])

    return read


def trimmed(told: Answer) -> Answer:
    """Without the newlines around the thinking's tags: vLLM takes them for thought and text, in every answer."""
    return Answer(told.reasoning.strip("\n"), told.content.lstrip("\n"), told.calls)


def test_vllm_keeps_the_newlines_around_the_tags(oracle: Oracle) -> None:
    case = next(case for case in CASES if case.name == "thinking, then text")
    assert oracle(case) == Answer(f"{case.reasoning}\n", f"\n\n{case.content}")


@pytest.mark.parametrize("case", ALIKE, ids=lambda case: case.name)
def test_ours_is_vllms_however_it_is_cut(case: Case, oracle: Oracle) -> None:
    theirs = trimmed(oracle(case))
    step = max(1, len(case.raw) // 300)
    for place in range(0, len(case.raw) + 1, step):
        pieces = [case.raw[:place], case.raw[place:]]
        assert trimmed(answer(pieces, thinking=case.thinking, tools=case.tools)) == theirs, f"cut at {place}"


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_listed_difference_is_one(name: str, oracle: Oracle) -> None:
    case = next(case for case in CASES if case.name == name)
    ours = answer([case.raw], thinking=case.thinking, tools=case.tools)
    try:
        theirs = oracle(case)
    except RecursionError:
        return
    assert trimmed(ours) != trimmed(theirs)
