"""Tries a client's grammars out before the engine meets them, in processes that are ended when they take too long.

A schema of some kilobytes can take a minute to compile. xgrammar cannot be interrupted: on the event loop it would hold
up every stream, in a thread it would take that thread for good, and in the engine it would keep all other grammars
waiting. What has compiled here within the limit takes the engine about as long, beside its other work.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from server.generation.errors import InvalidRequest, Unavailable

_WORKER = Path(__file__).with_name("grammar_worker.py")

# Grammars that passed are remembered by their digests: most clients send the same one with every request.
_REMEMBERED = 4096

# Importing the compiler takes some seconds; while the machine is busy with a start, many.
_START_SECONDS = 120.0


# The process ends what takes too long by itself; should it hang, we end it.
_LAST_RESORT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar in one of the forms that vLLM compiles."""

    kind: Literal["json", "regex", "grammar", "lark", "structural_tag"]
    source: str


class GrammarRefused(Exception):
    """Why a grammar does not compile, in xgrammar's words or ours."""


class GrammarChecker:
    """Compiles grammars with `at_once` processes, each for at most `seconds`; call `start` first.

    `tokenizer` is xgrammar's serialised TokenizerInfo. `any_whitespace` must be what the engine is set to.
    """

    def __init__(
        self, tokenizer: str, *, any_whitespace: bool, seconds: float, at_once: int, memory_bytes: int
    ) -> None:
        first = {
            "tokenizer": tokenizer,
            "any_whitespace": any_whitespace,
            "memory_bytes": memory_bytes,
            "seconds": seconds,
        }
        self._seconds = seconds
        self._passed: OrderedDict[bytes, None] = OrderedDict()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="grammar")
        self._free: asyncio.Queue[_Worker] = asyncio.Queue()
        self._workers = [_Worker(json.dumps(first).encode() + b"\n") for _ in range(at_once)]
        for worker in self._workers:
            self._free.put_nowait(worker)

    async def start(self) -> None:
        """Starts the processes and waits until they are ready, some seconds. Raises RuntimeError."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, worker.start) for worker in self._workers))

    async def check(self, grammar: Grammar, param: str | None) -> None:
        """Returns when the grammar has compiled.

        Raises GrammarRefused where it does not, InvalidRequest naming `param` where it takes too long, and Unavailable
        where other grammars are in the way for as long as one may take.
        """
        digest = hashlib.sha256(f"{grammar.kind}:{grammar.source}".encode(errors="surrogatepass")).digest()
        if digest in self._passed:
            self._passed.move_to_end(digest)
            return
        try:
            async with asyncio.timeout(self._seconds):
                worker = await self._free.get()
        except TimeoutError:
            raise Unavailable(
                "Too many schemas and grammars are being compiled.",
                code="overloaded",
                retry_after=int(self._seconds) + 1,
            ) from None
        working = asyncio.get_running_loop().run_in_executor(self._threads, worker.compile, grammar, self._seconds)
        working.add_done_callback(lambda done: self._done(worker, done))
        # Shielded: a client that leaves must not leave its worker half-read. It is free again in `seconds` at most.
        answer = await asyncio.shield(working)
        if answer is None or "ended" in answer:
            raise InvalidRequest(
                f"The grammar takes too much memory or more than {self._seconds:g} seconds to compile: make it "
                "simpler.",
                param=param,
                code="too_complex",
            )
        if "error" in answer:
            raise GrammarRefused(str(answer["error"]))
        self._passed[digest] = None
        if len(self._passed) > _REMEMBERED:
            self._passed.popitem(last=False)

    def close(self) -> None:
        """Ends the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.kill()

    def _done(self, worker: _Worker, done: asyncio.Future[Any]) -> None:
        if not done.cancelled():
            done.exception()  # nobody may be left to ask
        self._free.put_nowait(worker)


class _Worker:
    """One process, and another should it die; used by one thread at a time, but for `kill`."""

    def __init__(self, first: bytes) -> None:
        self._first = first
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process unless it runs, and waits until it is ready. Raises RuntimeError."""
        if self._process is not None and self._process.poll() is None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
            # Ctrl-C is for the daemon. No session of its own: Linux may give one next to no time beside a busy engine.
            process_group=0,
        )
        if self._exchange(self._process, self._first, _START_SECONDS) is None:
            raise RuntimeError("the process that compiles grammars does not start")

    def compile(self, grammar: Grammar, seconds: float) -> dict[str, Any] | None:
        """The worker's answer, None if it died of it."""
        self.start()
        assert self._process is not None
        line = json.dumps({"kind": grammar.kind, "source": grammar.source}).encode() + b"\n"
        return self._exchange(self._process, line, seconds + _LAST_RESORT_SECONDS)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    @staticmethod
    def _exchange(process: subprocess.Popen[bytes], line: bytes, seconds: float) -> dict[str, Any] | None:
        assert process.stdin is not None
        assert process.stdout is not None
        ending = threading.Timer(seconds, process.kill)
        ending.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answered = process.stdout.readline()
        except BrokenPipeError:
            answered = b""
        finally:
            ending.cancel()
        if not answered:
            process.kill()
            process.wait()
            process.stdout.close()
            return None
        answer: dict[str, Any] = json.loads(answered)
        return answer
