"""Profiles as files: found by name, put together along `extends`, and each key checked where it stands.

A profile may extend another, which may extend a third: mappings are merged key by key, anything else, lists too, is
replaced. What several profiles have in common and is none by itself lies in the folder `parts` beside them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PARTS = "parts"


class ProfileError(ValueError):
    """A profile cannot be found, read or used; the message names the file and the key, a line for each mistake."""


Known = Callable[[tuple[str, ...]], Collection[str] | None]
"""Says which keys the settings have at a path; None where any may be."""


@dataclass(frozen=True)
class Profile:
    """A profile put together. `files` are its own file and those it extends, nearest first, each with its content."""

    name: str
    values: Mapping[str, Any]
    files: tuple[tuple[Path, Mapping[str, Any]], ...]

    def source(self, path: tuple[str, ...]) -> Path | None:
        """The file that the value at `path` comes from; None where none sets it."""
        for file, values in self.files:
            at: Any = values
            for key in path:
                at = at[key] if isinstance(at, Mapping) and key in at else _ABSENT
            if at is not _ABSENT:
                return file
        return None


_ABSENT = object()


def read_profile(name: str, known: Known) -> Profile:
    """The profile of that name or file. Raises ProfileError."""
    files: list[tuple[Path, Mapping[str, Any]]] = []
    path: Path | None = find_profile(name).resolve()
    while path is not None:
        if path in [file for file, _ in files]:
            circle = " -> ".join(each.stem for each in (*(file for file, _ in files), path))
            raise ProfileError(f"{files[-1][0]}: `extends` goes in a circle: {circle}")
        values = _read(path)
        wrong = [f"{path}: {mistake}" for mistake in mistakes(values, known)]
        if wrong:
            raise ProfileError("\n".join(wrong))
        files.append((path, values))
        path = _parent(path, values)
    merged: dict[str, Any] = {}
    for _, values in reversed(files):
        merged = merge(merged, values)
    return Profile(files[0][0].stem, merged, tuple(files))


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`under` with what `over` says: mappings are merged, anything else is replaced."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def mistakes(values: Mapping[str, Any], known: Known, path: tuple[str, ...] = ()) -> Iterator[str]:
    """What is wrong with the keys of `values`, each with what was probably meant."""
    allowed = known(path)
    for key, value in values.items():
        here = (*path, str(key))
        if allowed is not None and key not in allowed:
            what = "an argument of this vLLM's engine" if path == ("engine",) else "a setting"
            yield f"`{'.'.join(here)}` is not {what}{suggestion(str(key), allowed, path)}"
        elif isinstance(value, Mapping):
            yield from mistakes(value, known, here)


def suggestion(key: str, allowed: Collection[str], path: tuple[str, ...] = ()) -> str:
    """The end of a sentence about `key`: what was probably meant, if anything is near."""
    near = difflib.get_close_matches(key, sorted(allowed), n=1)
    return f". Did you mean `{'.'.join((*path, near[0]))}`?" if near else "."


def find_profile(name: str) -> Path:
    """The file of a profile given by path or by name. Raises ProfileError that names what is near and what there is."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise ProfileError(f"there is no profile file {name}")
    known = profiles()
    if name not in known:
        there_are = ", ".join(sorted(known)) or "none"
        raise ProfileError(f"there is no profile {name!r}{suggestion(name, known)} There are: {there_are}")
    return known[name]


def profiles() -> dict[str, Path]:
    """Every profile that ships with the daemon, by name."""
    return {path.stem: path for path in config_folder("profiles").glob("*.yaml")}


def config_folder(name: str) -> Path:
    """A folder of `config/`: inside the installed package or, in a checkout, beside it."""
    package = Path(__file__).parent
    shipped = package / "_config" / name
    return shipped if shipped.is_dir() else package.parent / "config" / name


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ProfileError(f"cannot read profile {path}: {error}") from error
    if not isinstance(values, dict):
        raise ProfileError(f"profile {path} is not a mapping of settings")
    return values


def _parent(path: Path, values: Mapping[str, Any]) -> Path | None:
    """The file that `extends` names: a path from this file's folder, a profile, or one of the parts."""
    name = values.get("extends")
    if name is None:
        return None
    if not isinstance(name, str):
        raise ProfileError(f"{path}: `extends` must be the name of one profile")
    if name.endswith((".yaml", ".yml")):
        file = path.parent / name
        if not file.is_file():
            raise ProfileError(f"{path}: `extends` names {name}, which is not there")
        return file.resolve()
    parts = {file.stem: file for file in (config_folder("profiles") / PARTS).glob("*.yaml")}
    known = {**parts, **profiles()}
    if name not in known:
        raise ProfileError(f"{path}: `extends` names {name!r}, which is no profile{suggestion(name, known)}")
    return known[name]
