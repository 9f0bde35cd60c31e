"""What a look at a machine finds: one line a check, with what to do where something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. With a `FAIL` the start fails, or the daemon would not do what its settings say."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked at. The texts are what docs/doctor.md says of it."""

    name: str
    group: str
    looks_at: str
    warns: str = ""
    fails: str = ""

    def ok(self, what: str) -> Finding:
        """It is as it should be."""
        return Finding(self, Level.OK, what)

    def warn(self, what: str, todo: str) -> Finding:
        """It works, but worse than it could."""
        return Finding(self, Level.WARN, what, todo)

    def fail(self, what: str, todo: str) -> Finding:
        """It does not work like this."""
        return Finding(self, Level.FAIL, what, todo)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and what to do about it; `todo` is empty where all is well."""

    check: Check
    level: Level
    what: str
    todo: str = ""


def shown(size: float) -> str:
    """Bytes for a person: `64 MiB`, `140.4 GiB`."""
    units = ["TiB", "GiB", "MiB", "KiB", "B"]
    while abs(size) >= 1024 and len(units) > 1:
        size /= 1024
        units.pop()
    return f"{size:.1f}".removesuffix(".0") + f" {units[-1]}"


def counted(number: int, noun: str) -> str:
    """`1 shard`, `94 shards`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
