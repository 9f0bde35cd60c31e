"""over_vllm.py PYPROJECT LOCK: what an environment over an image's vLLM still lacks for the daemon, as lines of LOCK.

What the image has, in a version that all of ours take, stays the image's own. The rest is to be installed on top, and
then to be asked for again: what was installed may need more. Prints nothing once all is there. Exits with 1 where vLLM
is missing or is not the version that pyproject.toml's extra `gpu` names, or where the lock does not fit together.
"""

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def lacking(project: dict, locked: dict[str, str]) -> set[str]:
    """Names of the lock that are missing, or are here in a version that something of ours does not take.

    Raises ValueError where that is the lock's own version, and where the lock lacks something that is missing.
    """
    lines = (*project["dependencies"], *project["optional-dependencies"]["postgresql"])
    wanted = [each for each in map(Requirement, lines) if applies(each, ())]
    found, seen = set(), set()
    while wanted:
        each = wanted.pop()
        name = canonicalize_name(each.name)
        here = installed(name)
        if name not in locked:
            # The image has it, or this Python needs what that of the lock did not.
            if here is None:
                raise ValueError(f"{each} is needed, and the lock does not have it")
            continue
        if here is None or not each.specifier.contains(here, prereleases=True):
            if locked[name].partition("==")[2] == here:
                raise ValueError(f"the lock has {locked[name]}, and {each} is needed")
            # What it needs is asked once it is there: that of the version which it replaces says nothing.
            found.add(name)
            continue
        if (key := (name, frozenset(each.extras))) not in seen:
            seen.add(key)
            wanted += [other for other in map(Requirement, requires(name) or ()) if applies(other, each.extras)]
    return found


def main(pyproject: str, lock: str) -> int:
    project = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"]
    (vllm,) = (Requirement(each) for each in project["optional-dependencies"]["gpu"])
    here = installed(vllm.name)
    # vLLM's own builds may have a local part, such as 0.32.0+cu130.
    if here is None or not vllm.specifier.contains(here.partition("+")[0]):
        print(f"{vllm} is needed, and this image has {here or 'no vLLM'}", file=sys.stderr)
        return 1
    lines = [line for line in Path(lock).read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    locked = {canonicalize_name(line.partition("==")[0]): line for line in lines}
    try:
        found = lacking(project, locked)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for name in sorted(found):
        print(locked[name])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
