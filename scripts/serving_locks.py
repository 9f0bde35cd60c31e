"""Writes what of requirements/cpu.lock serving needs, for container images: no test, linter or client goes into one.

`requirements/serve-cpu.lock` is what the extra `cpu` comes to, vLLM and torch with it; `requirements/serve-front.lock`
is what the daemon itself needs, for images that have vLLM already. Both have a driver for PostgreSQL. Versions are the
lock's; who needs whom is read from the metadata of the packages that are installed from it, so run this in the
environment that scripts/install.sh makes.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "cpu.lock"

# File -> extras of pyproject.toml, and what it is.
FILES = {
    "serve-cpu.lock": (
        ("postgresql", "cpu"),
        "The part of requirements/cpu.lock that serving on a CPU needs, vLLM and torch with it",
    ),
    "serve-front.lock": (("postgresql",), "The part of requirements/cpu.lock that the daemon needs beside vLLM"),
}


def locked() -> dict[str, str]:
    """The lock's lines by their canonical names."""
    lines = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(line.partition("==")[0]): line for line in lines}


def needed(extras: tuple[str, ...]) -> list[str]:
    """The lock's lines for everything that the project needs with these extras.

    What the lock leaves out on purpose (torchaudio, torchcodec: see scripts/install.sh) is left out here too.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    lines, found = locked(), set[tuple[str, frozenset[str]]]()
    open_ends = [each for each in map(Requirement, wanted) if _applies(each, ())]
    while open_ends:
        each = open_ends.pop()
        name = canonicalize_name(each.name)
        key = (name, frozenset(each.extras))
        if key in found or name not in lines:
            continue
        found.add(key)
        try:
            theirs = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:
            raise SystemExit(f"{name} is in the lock and not installed: run make install") from None
        open_ends += [other for other in theirs if _applies(other, each.extras)]
    return sorted((lines[name] for name in {name for name, _ in found}), key=str.casefold)


def _applies(requirement: Requirement, extras: frozenset[str] | set[str] | tuple[()]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def render(file: str) -> str:
    """The text of one of FILES."""
    extras, about = FILES[file]
    head = [f"# {about}.", "# Made by scripts/serving_locks.py; a test fails when it is out of date."]
    return "\n".join((*head, *needed(extras), ""))


if __name__ == "__main__":
    for name in FILES:
        (ROOT / "requirements" / name).write_text(render(name), encoding="utf-8")
