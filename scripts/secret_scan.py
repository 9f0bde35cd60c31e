"""Looks for secrets in the files that git tracks: forms of known keys, and long random texts that are called a secret.

python scripts/secret_scan.py [FOLDER]     # exits with 1 and names places, never the secret, where it finds one
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Form -> pattern. Of each the last group, or the whole, is what must look random.
FORMS: dict[str, re.Pattern[str]] = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*\n?[A-Za-z0-9+/=]{16}"),
    "key of this daemon": re.compile(r"sk-qwend-[A-Za-z0-9_-]{43}"),
    "key of OpenAI or Anthropic": re.compile(r"\bsk-(?:proj-|svcacct-|ant-[a-z0-9]+-)?[A-Za-z0-9_-]{40,}"),
    "token of GitHub": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
    "token of Hugging Face": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
    "key of AWS": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "key of Google": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "token of Slack": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{20,}"),
    "token of a package registry": re.compile(r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,})"),
    "JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "password in an address": re.compile(r"[a-z]://[^\s:/@'\"{}]{0,64}:([^\s/@'\"{}]{8,256})@"),
    "assigned secret": re.compile(
        r"(?i)(?:secret|passw(?:or)?d|token|api_?key|credential)[a-z0-9_-]{0,40}[\"']?\s{0,4}[:=]\s{0,4}"
        r"[\"']([A-Za-z0-9+/_=-]{24,})[\"']"
    ),
}
# Bits a character: words and counted letters have less than three and a half, random base64 more than four.
RANDOM_BITS = 3.6
# Keys that are made up for tests and examples say so by counting.
MADE_UP = "0123456789"
LARGEST = 2**21


def entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def found_in(text: str) -> Iterator[tuple[int, str]]:
    """Line number and form of each secret in `text`."""
    for name, pattern in FORMS.items():
        for match in pattern.finditer(text):
            secret = match.group(match.lastindex or 0)
            number = text.count("\n", 0, match.start()) + 1
            if entropy(secret) >= RANDOM_BITS and MADE_UP not in secret:
                yield number, name


def tracked(folder: Path) -> list[Path]:
    """The files that git knows, which are those that leave this machine."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, check=True).stdout
    return [folder / name for name in listed.decode().split("\0") if name]


def scan(folder: Path) -> list[str]:
    """A line for each secret in a tracked file of text."""
    found = []
    for path in tracked(folder):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            continue
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue
        text = content.decode("utf-8", "replace")
        found += [f"{path.relative_to(folder)}:{number}: looks like a {name}" for number, name in found_in(text)]
    return found


if __name__ == "__main__":
    places = scan(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
    print("\n".join(places) or "no secret found")
    sys.exit(1 if places else 0)
