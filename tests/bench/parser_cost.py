"""What a token costs in the output parser, beside vLLM's own parser on the same deltas in the same process.

Run it as `python tests/bench/parser_cost.py`. Times are the best of several runs, in microseconds a token; a token is a
delta of some four characters. vLLM's is `parse_delta` of the parser that its server composes for this model.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "server" / "reference" / "checkpoint"
MARKERS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
TOOLS = {"write_file": {"type": "object", "properties": {"content": {"type": "string"}, "rows": {"type": "array"}}}}
CODE = '    if a < b and s != "x":\n        total += values[index]  # once\n'
WORDS = "The quick brown fox jumps over the lazy dog, and then it rests.\n"
ROWS = '[1, 2, 3, {"name": "x"}], '

SIZES = (250, 500, 1000, 2000, 4000)
# vLLM's cost grows with the square of the arguments, so the largest size is left to ours.
THEIR_SIZES = SIZES[:-1]
REPEATS = 5

Run = Callable[[list[str]], None]


def tokens(text: str, count: int) -> list[str]:
    """`count` deltas of four characters of `text`, over and over."""
    enough = text * (4 * count // len(text) + 1)
    return [enough[at : at + 4] for at in range(0, 4 * count, 4)]


def a_call(parameter: str, value: list[str]) -> list[str]:
    return [
        *("<tool_call>", "\n", "<", "function", "=write", "_file", ">\n", "<", "parameter", "=", parameter, ">\n"),
        *value,
        *("\n", "</", "parameter", ">\n", "</", "function", ">\n", "</tool_call>"),
    ]


def ours(thinking: bool) -> Run:
    from server.generation.output_parser import OutputParser

    def run(deltas: list[str]) -> None:
        parser = OutputParser(thinking=thinking, tools=TOOLS)
        for delta in deltas:
            parser.feed(delta)
        parser.finish()

    return run


def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(CHECKPOINT))


def theirs(thinking: bool) -> Run:
    from server.engine import torchvision_ops

    torchvision_ops.ensure()
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser.parser_manager import ParserManager

    composed = ParserManager.get_parser(
        tool_parser_name="qwen3_coder", reasoning_parser_name="qwen3", enable_auto_tools=True
    )
    assert composed is not None
    chosen = tokenizer()
    ids = {marker: chosen.convert_tokens_to_ids(marker) for marker in MARKERS}
    plain = chosen.convert_tokens_to_ids("a")
    request = ChatCompletionRequest(
        model="m",
        messages=[{"role": "user", "content": "x"}],
        tools=[
            {"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in TOOLS.items()
        ],
    )

    def run(deltas: list[str]) -> None:
        parser: Any = composed(chosen, request.tools, chat_template_kwargs={"enable_thinking": thinking})
        # The prompt ends in an open or in a closed thinking block.
        prompt = [ids["<think>"]] if thinking else [ids["<think>"], ids["</think>"]]
        for at, delta in enumerate(deltas):
            parser.parse_delta(
                delta, [ids.get(delta, plain)], request, prompt_token_ids=prompt, finished=at == len(deltas) - 1
            )

    return run


def cost(run: Run, deltas: list[str], repeats: int = REPEATS) -> float:
    """Microseconds a delta, in the best of some runs."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        run(deltas)
        best = min(best, time.perf_counter() - started)
    return best / len(deltas) * 1e6


def main() -> None:
    sys.path.insert(0, str(ROOT))
    rows = [(f"string argument, {size} tokens", False, a_call("content", tokens(CODE, size))) for size in SIZES]
    rows += [(f"array argument, {size} tokens", False, a_call("rows", tokens(ROWS, size))) for size in SIZES]
    rows += [("text, 4000 tokens", False, tokens(WORDS, 4000)), ("thinking, 4000 tokens", True, tokens(WORDS, 4000))]
    compared = {f"{kind} argument, {size} tokens" for kind in ("string", "array") for size in THEIR_SIZES}
    print(f"{'us per token':<30}{'ours':>8}{'vLLM':>10}{'ratio':>8}")
    for name, thinking, deltas in rows:
        mine = cost(ours(thinking), deltas)
        line = f"{name:<30}{mine:>8.2f}"
        if name in compared or "argument" not in name:
            other = cost(theirs(thinking), deltas, repeats=1)
            line += f"{other:>10.1f}{other / mine:>8.0f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
