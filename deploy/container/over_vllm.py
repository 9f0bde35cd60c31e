"""over_vllm.py PYPROJECT LOCK: what an environment over an image's vLLM still lacks for the daemon, as lines of LOCK.

What the image has, in a version that all of ours take, stays the image's own. The rest is to be installed on top, and then
to be asked again: what was installed may need more. Prints nothing once all is there. Exits with 1 where vLLM is missing
or is not the version that pyproject.toml's extra `gpu` names, or where the lock itself does not fit together.
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def lacking(project: dict, locked: dict[str, str]) -> set[str]:
    """Names of the lock that are missing, or are here in a version that something of ours does not take.

    Raises ValueError where that is the lock's own version.
    """
    wanted = [Requirement(each) for each in (*project["dependencies"], *project["optional-dependencies"]["postgresql"])]
    found, seen = set(), set()
    while wanted:
        each = wanted.pop()
        name = canonicalize_name(each.name)
        if name not in locked or (each.marker is not None and not each.marker.evaluate({"extra": ""})):
            continue
        here = installed(name)
        if here is None or not each.specifier.contains(here, prereleases=True):
            if locked[name].partition("==")[2] == here:
                raise ValueError(f"the lock has {locked[name]}, and {each} is needed")
            found.add(name)
        if here is not None and name not in seen:
            seen.add(name)
            wanted += [Requirement(line) for line in requires(name) or ()]
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
