"""The engine's processes with all that they started, as /proc shows them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# The programs that Triton, FlashInfer, DeepGEMM and PyTorch's inductor run, as /proc shows them.
_COMPILERS = {
    *("nvcc", "cicc", "ptxas", "cudafe++", "fatbinary", "nvlink", "hipcc", "ninja"),
    *("gcc", "g++", "cc1", "cc1plus", "clang", "clang++", "as", "ld", "ld.lld", "lld"),
}
# Ended, and waited for by nobody yet.
_OVER = {"Z", "X"}
_INDUCTOR = b"torch/_inductor/compile_worker"


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `began` tells it from a later one with its number; `ticks` is the processor time that it has used,
    in the kernel's clock ticks; `state` is the letter of proc(5).
    """

    id: int
    parent: int
    program: str
    ticks: int
    began: int
    state: str


def descendants(of: Iterable[int], root: Path = Path("/proc")) -> list[Process]:
    """All processes below those with the ids `of`, without these."""
    found = {}
    for folder in root.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found[int(folder.name)] = _process(folder)
    above = set(of)

    def is_below(process: Process) -> bool:
        parent = process.parent
        while parent in found and parent not in above:
            parent = found[parent].parent
        return parent in above

    return [process for process in found.values() if is_below(process)]


def kill(processes: Iterable[Process], root: Path = Path("/proc")) -> None:
    """Kills those of `processes` that still run, stopped ones as well."""
    for process in processes:
        with contextlib.suppress(OSError):
            if _process(root / str(process.id)).began == process.began:
                os.kill(process.id, signal.SIGKILL)


def ended(processes: Iterable[Process], root: Path = Path("/proc")) -> list[Process]:
    """Those of `processes` that no longer run, whether or not their parent has noticed."""
    return [each for each in processes if not _runs(each, root)]


def _runs(process: Process, root: Path) -> bool:
    try:
        now = _process(root / str(process.id))
    except OSError:
        return False
    return now.began == process.began and now.state not in _OVER


class Compilers:
    """Whether compilers are at work for the engine: what they make may keep a step for minutes.

    One that waits, as inductor's workers do between two compilations, is not at work: it has used no processor time
    since the last look.
    """

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root
        self._seen: dict[int, int] = {}

    def at_work(self, engine: Iterable[int]) -> bool:
        """Whether a compiler below the processes `engine` has used time since the last look, or is new."""
        seen = self._seen
        self._seen = {each.id: each.ticks for each in descendants(engine, self._root) if self._is_compiler(each)}
        return any(ticks > seen.get(process, -1) for process, ticks in self._seen.items())

    def _is_compiler(self, process: Process) -> bool:
        if process.program in _COMPILERS:
            return True
        try:
            return _INDUCTOR in (self._root / str(process.id) / "cmdline").read_bytes()
        except OSError:
            return False


def _process(folder: Path) -> Process:
    head, _, rest = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
    fields = rest.split()  # from the third of proc(5)'s on
    ticks = int(fields[11]) + int(fields[12])
    return Process(int(folder.name), int(fields[1]), head.partition("(")[2], ticks, int(fields[19]), fields[0])
