"""Reading YAML that may hold secrets: strictly, within a bound, and with errors that quote nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

# A key or tenant is some hundred bytes; more than this is some other file.
_MOST_BYTES = 16 * 2**20


class YamlFileError(ValueError):
    """A file cannot be read or says something impossible; the message names the file and the place."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but a key that is given twice is a mistake instead of the last one's victory."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, "a field is given twice", key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """What the file says. Raises YamlFileError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise YamlFileError(f"{path}: larger than {_MOST_BYTES} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise YamlFileError(f"{path}: {error.strerror or error}") from error
    try:
        return yaml.load(content, _Loader)
    except yaml.MarkedYAMLError as error:
        # Its text quotes the line, on which there may be a key.
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise YamlFileError(f"{path}:{where} {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise YamlFileError(f"{path}: not readable as YAML") from None
