"""The response header that names what a request asked for and this server does not know."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

_HEADER = "x-qwend-ignored-parameters"

# Proxies refuse answers whose headers are some KiB long, and the names are the client's to choose.
_LENGTH = 1024


def ignored_parameters(names: Iterable[str]) -> dict[str, str]:
    """The header, or nothing. Names are percent-encoded, since a header holds few characters; `...` says of more."""
    value = ", ".join(quote(name, errors="replace") for name in names)
    if len(value) > _LENGTH:
        value = value[:_LENGTH].rpartition(", ")[0] + ", ..."
    return {_HEADER: value.removeprefix(", ")} if value else {}
