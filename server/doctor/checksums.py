"""Checksums of the model's files, against those that the hub or whoever copied them gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.doctor.findings import Check, Finding, counted, shown

CHECKSUMS = Check(
    "checksums",
    "Weights",
    "each file's digest against the hub cache's (or the hub's own) or a SHA256SUMS; large files only with --hash",
    warns="there is nothing to compare with",
    fails="a file is not what it should be, or cannot be read",
)

_DIGITS = 12

SMALL = 16 * 2**20
"""Bytes up to which a file is always read."""


@dataclass(frozen=True, slots=True)
class Digest:
    """One file's: `expected` from `source`, None where nobody says; `found` None where the file was not read.

    `trouble` is why it could not be read.
    """

    name: str
    size: int
    expected: str | None
    found: str | None
    source: str = ""
    trouble: str = ""


def check_checksums(digests: Sequence[Digest], *, hashed_all: bool) -> Finding | None:
    """The line of the checksums; None where there is no file at all."""
    if not digests:
        return None
    unreadable = [each for each in digests if each.trouble]
    if unreadable:
        return CHECKSUMS.fail(
            f"{unreadable[0].name} cannot be read: {unreadable[0].trouble}",
            "let this user read it; an input/output error means a bad disk",
        )
    wrong = [each for each in digests if each.found is not None and each.expected not in (None, each.found)]
    if wrong:
        first = wrong[0]
        others = f" (and {counted(len(wrong) - 1, 'other')})" if len(wrong) > 1 else ""
        return CHECKSUMS.fail(
            f"{first.name} is not the file of {first.source}: its digest is {_short(first.found)} in place of "
            f"{_short(first.expected)}{others}",
            "delete it and fetch it anew; with more than one, look at the disk and the memory of this machine",
        )
    known = [each for each in digests if each.expected is not None]
    if not known:
        return CHECKSUMS.warn(
            f"nothing to compare {counted(len(digests), 'file')} with",
            "write a SHA256SUMS beside the weights where they are known to be good: `sha256sum * > SHA256SUMS`",
        )
    read = [each for each in known if each.found is not None]
    left = [each for each in known if each.found is None]
    sources = " and ".join(dict.fromkeys(each.source for each in known))
    told = f"{counted(len(read), 'file')} as {sources} says" if read else f"none read yet of {sources}"
    if left:
        size = shown(sum(each.size for each in left))
        told += f"; {counted(len(left), 'large file')} not read ({size}): --hash reads them"
    unknown = len(digests) - len(known)
    if unknown:
        told += f"; {counted(unknown, 'file')} with nothing to compare with"
    return CHECKSUMS.ok(told + ("" if not hashed_all or left else ", all read"))


def _short(digest: str | None) -> str:
    return f"{(digest or '')[:_DIGITS]}..."
