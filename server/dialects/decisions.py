"""What this server does with a parameter: a mark on its field, read by the documentation.

Every parameter of every request is decided one by one: supported, accepted without effect, or refused. Each field's
description says what it does or why it does nothing; `docs/reference.md` is made from them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


class Decision:
    """The words for what is done with a parameter."""

    SUPPORTED = "supported"
    IGNORED = "accepted without effect"
    REFUSED = "refused"


def option(what: str, **bounds: Any) -> Any:
    """A field that has an effect and need not be sent; `bounds` are pydantic's."""
    return Field(None, description=what, **bounds)


def ignored(why: str, **bounds: Any) -> Any:
    """A field that is read and does nothing."""
    return Field(None, description=why, json_schema_extra={"decision": Decision.IGNORED}, **bounds)


def refused(why: str) -> Any:
    """A field that is an error; give it the type `Refused`."""
    return Field(None, description=why, json_schema_extra={"decision": Decision.REFUSED})


def _refuse(value: Any) -> Any:
    # Some clients send every field, most of them as what they are anyway.
    if value is None or value is False or value == []:
        return None
    raise ValueError("this server does not support it")


Refused = Annotated[Any, BeforeValidator(_refuse)]
