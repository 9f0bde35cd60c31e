"""The process that tries grammars out: run as a file of its own, so that nothing of it can hold the daemon up.

A line of JSON on standard input names the tokenizer (xgrammar's own serialisation) and the limits; each further one
holds a grammar to compile, and is answered by a line on standard output: `{}` if it compiles, `{"error": ...}` if not,
`{"ended": true}` if it took too long or crashed. Each is compiled in a fork that is ended with it: importing xgrammar
takes seconds, a fork milliseconds. The calls of xgrammar are those of vLLM's backend, so that what passes here takes
the engine no longer.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
from typing import Any, NoReturn


def main() -> None:
    """Compiles until standard input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import xgrammar

    first = json.loads(sys.stdin.buffer.readline())
    tokenizer = xgrammar.TokenizerInfo.deserialize_json(first["tokenizer"])
    _answer(b"{}")
    for line in sys.stdin.buffer:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            _try(xgrammar, tokenizer, first, json.loads(line), writing)
        os.close(writing)
        _answer(_read(reading, first["seconds"]) or b'{"ended": true}')
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _read(reading: int, seconds: float) -> bytes:
    """The fork's answer, nothing if it does not come. It is short enough to come in one piece."""
    ready, _, _ = select.select([reading], [], [], seconds)
    return os.read(reading, select.PIPE_BUF) if ready else b""


def _try(xgrammar: Any, tokenizer: Any, first: dict[str, Any], wanted: dict[str, str], writing: int) -> NoReturn:
    with open("/proc/self/statm") as sizes:  # noqa: PTH123 - one module less in every fork
        held = int(sizes.read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (held + first["memory_bytes"],) * 2)
    answer: dict[str, str] = {}
    try:
        compiler = xgrammar.GrammarCompiler(tokenizer, max_threads=8, cache_enabled=False)
        _compile(xgrammar, compiler, wanted, first["any_whitespace"], tokenizer.vocab_size)
    except MemoryError:
        answer = {"error": "it needs too much memory"}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the grammar's fault
        answer = {"error": (str(error) or type(error).__name__)[-500:]}
    # One piece, never more than a pipe takes at once, though an umlaut is six bytes here.
    os.write(writing, json.dumps(answer).encode()[: select.PIPE_BUF])
    os._exit(0)


def _compile(xgrammar: Any, compiler: Any, wanted: dict[str, str], any_whitespace: bool, vocabulary: int) -> None:
    kind, source = wanted["kind"], wanted["source"]
    if kind == "json":
        separators = None if any_whitespace else (",", ":")
        compiled = compiler.compile_json_schema(source, any_whitespace=any_whitespace, separators=separators)
    elif kind == "regex":
        compiled = compiler.compile_regex(source)
    elif kind == "lark":
        compiled = compiler.compile_lark(source)
    elif kind == "grammar":
        compiled = compiler.compile_grammar(source)
    else:
        compiled = compiler.compile_structural_tag(source)
    # The first token's mask: some grammars are small and slow to ask.
    matcher = xgrammar.GrammarMatcher(compiled)
    matcher.fill_next_token_bitmask(xgrammar.allocate_token_bitmask(1, vocabulary), 0)


def _answer(answer: bytes) -> None:
    sys.stdout.buffer.write(answer + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
