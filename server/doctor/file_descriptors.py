"""How many files and sockets this process may have open: every client's connection is one."""

from __future__ import annotations

from dataclasses import dataclass

from server.doctor.findings import Check, Finding
from server.doctor.start import Start

FILES = Check(
    "open files",
    "Machine",
    "the limit on open files, soft and hard, against the connections that admission lets wait and run",
    warns="fewer than those connections: clients are refused before admission can answer them",
    fails="too few for the daemon and its engine themselves",
)

# One process without clients: libraries, sockets between processes, shards that are being read. With the reference
# checkpoint they were seen with 33 to 94; the worker has most, and a model of 94 shards adds to it.
OWN = 512


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The limits of RLIMIT_NOFILE; None for no limit."""

    soft: int | None
    hard: int | None


def check_files(facts: FileFacts, start: Start) -> Finding:
    """The line of the open files."""
    if facts.soft is None:
        return FILES.ok("no limit")
    wanted = OWN + start.connections + start.fetches
    hard = "none" if facts.hard is None else f"{facts.hard:,}"
    told = f"{facts.soft:,} (hard limit {hard}), {wanted:,} wanted"
    if facts.soft >= wanted:
        return FILES.ok(told)
    if facts.hard is None or facts.hard >= wanted:
        todo = f"`ulimit -n {_round_up(wanted)}` before the start"
    else:
        todo = f"raise the hard limit to {_round_up(wanted)}"
    todo += "; LimitNOFILE= in systemd, `docker run --ulimit nofile=`"
    return FILES.fail(told, todo) if facts.soft < OWN else FILES.warn(told, todo)


def _round_up(wanted: int) -> int:
    return max(65536, 1 << (wanted - 1).bit_length())
