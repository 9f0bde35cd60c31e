"""No tracked file holds a secret, and one would be seen."""

from __future__ import annotations

import importlib.util
import random
import re
import string
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def scanner() -> Any:
    spec = importlib.util.spec_from_file_location("secret_scan", ROOT / "scripts" / "secret_scan.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_text(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    # Made here, so that this file holds none.
    return "".join(random.Random(length).choices(alphabet, k=length))


def test_no_tracked_file_holds_a_secret() -> None:
    assert len(scanner().tracked(ROOT)) > 300
    assert scanner().scan(ROOT) == []


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("-----BEGIN EC " + "PRIVATE KEY-----\n" + random_text(64), "private key"),
        ("sk-" + "qwend-" + random_text(43), "key of this daemon"),
        ("key: sk-" + "proj-" + random_text(48), "key of OpenAI or Anthropic"),
        ("gh" + "p_" + random_text(36), "token of GitHub"),
        ("h" + "f_" + random_text(34), "token of Hugging Face"),
        ("AK" + "IA" + random_text(16, string.ascii_uppercase + string.digits), "key of AWS"),
        ("redis://user:" + random_text(16) + "@host:6379", "password in an address"),
        ('DB_PASSWORD = "' + random_text(32) + '"', "assigned secret"),
        ("'api_key': '" + random_text(32) + "'", "assigned secret"),
    ],
)
def test_a_secret_is_seen_and_not_repeated(text: str, form: str) -> None:
    found = list(scanner().found_in(f"first line\n{text}\n"))
    assert (2, form) in found


@pytest.mark.parametrize(
    "text",
    ["sk-ada-0123456789abcdef", 'api_key = "none"', "redis://:hidden@localhost", 'token = "the_token_of_the_caller"'],
)
def test_what_only_looks_like_one_is_not(text: str) -> None:
    assert list(scanner().found_in(text)) == []


def test_the_lock_pins_every_package_exactly_and_knows_all_that_are_asked_for() -> None:
    """What `make audit` asks about is what is installed."""
    lines = (ROOT / "requirements" / "cpu.lock").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line) for line in pinned)
    names = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in pinned}
    assert len(names) == len(pinned) > 100
