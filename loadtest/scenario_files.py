"""Scenario files by name or path, and the keys of their tenants."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import yaml

from loadtest.scenario_schema import Scenario, Tenant
from loadtest.strict import Misfit, parsed

FOLDER = Path(__file__).parent / "scenarios"
DEFAULT_KEY = "OPENAI_API_KEY"


def names() -> list[str]:
    """The scenarios that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Scenario:
    """A scenario by its name here, or by the path of a file. Raises Misfit with what is wrong and where."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        close = difflib.get_close_matches(name, names(), 1, 0.4)
        hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(names())}"
        raise Misfit(f"there is no scenario `{name}`; {hint}")
    values = _read(path)
    if isinstance(values, dict):
        values.setdefault("name", path.stem)
    return _beside(parsed(Scenario, values, path.name), path.parent)


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise Misfit(f"{path.name}: {error}") from None


def _beside(scenario: Scenario, folder: Path) -> Scenario:
    """Paths in a file are told from where it lies."""
    tenants = []
    for tenant in scenario.tenants:
        values: dict[str, Any] = {}
        if isinstance(tenant.sharegpt, Path) and not tenant.sharegpt.is_absolute():
            values["sharegpt"] = folder / tenant.sharegpt
        path = getattr(tenant.arrivals, "path", None)
        if path is not None and not path.is_absolute():
            values["arrivals"] = tenant.arrivals.with_values(path=folder / path)
        tenants.append(tenant.with_values(**values))
    return scenario.with_values(tenants=tenants)


def keys(tenants: list[Tenant], file: Path | None) -> dict[str, str]:
    """Each tenant's API key: from `file` (a mapping of tenant to key), its `key_env`, or OPENAI_API_KEY.

    Raises Misfit, which never holds a key.
    """
    given: dict[str, Any] = {}
    if file is not None:
        try:
            read = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, OSError) as error:
            raise Misfit(f"the key file {file.name} cannot be read: {type(error).__name__}") from None
        if not isinstance(read, dict) or not all(isinstance(value, str) for value in read.values()):
            raise Misfit(f"the key file {file.name} must map names of tenants to keys")
        given = read
    found = {}
    for tenant in tenants:
        key = given.get(tenant.name)
        if key is None and tenant.key_env is not None:
            key = os.environ.get(tenant.key_env, "").strip()
            if not key:
                raise Misfit(f"the environment variable `{tenant.key_env}` of tenant {tenant.name} is not set")
        key = key or os.environ.get(DEFAULT_KEY, "").strip()
        if key:
            found[tenant.name] = key
    return found
