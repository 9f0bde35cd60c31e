"""Tools of OpenAI's Responses API, and which of them may or must be called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from server.dialects.chat_messages import Wire
from server.dialects.chat_options import (
    AllowedToolsChoiceIn,
    AllowedToolsIn,
    FunctionNameIn,
    NamedToolIn,
    to_tool_choice,
)
from server.dialects.responses_items import NAME, called_name
from server.generation.conversation import Tool, ToolChoice

_SEARCHES = ("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11")


class FunctionToolIn(Wire):
    """A function of the client's. `defer_loading`, `allowed_callers` and `output_schema` change nothing here."""

    type: Literal["function"]
    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamespaceToolIn(Wire):
    """Functions under a common name, which the model calls by both names with a dot between."""

    type: Literal["namespace"]
    name: str = Field(pattern=NAME)
    description: str | None = None
    tools: list[FunctionToolIn]


class SearchToolIn(Wire):
    """A search of OpenAI's servers. Agents offer it with every request, so it is left out and told of, not refused."""

    type: Literal["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"]


def _known(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind not in ("function", "namespace", *_SEARCHES):
        raise ValueError(
            f"{kind[:128]!r} is a tool of OpenAI's servers or models, which are not here; give the model a function of "
            "your own"
        )
    return value


AnyToolIn = Annotated[
    Annotated[FunctionToolIn | NamespaceToolIn | SearchToolIn, Field(discriminator="type")], BeforeValidator(_known)
]


class NamedIn(Wire):
    """One function, to be called."""

    type: Literal["function"]
    name: str


class AllowedIn(Wire):
    """Some of the functions, and whether one of them must be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[NamedIn] = Field(min_length=1)


ToolChoiceIn = Literal["none", "auto", "required"] | Annotated[NamedIn | AllowedIn, Field(discriminator="type")]


def functions(tools: Sequence[Any] | None) -> dict[str, tuple[str | None, FunctionToolIn]]:
    """The functions by the names that the model calls them by, each with its namespace."""
    found: dict[str, tuple[str | None, FunctionToolIn]] = {}
    for tool in tools or ():
        if isinstance(tool, FunctionToolIn):
            found[tool.name] = None, tool
        elif isinstance(tool, NamespaceToolIn):
            found |= {called_name(each.name, tool.name): (tool.name, each) for each in tool.tools}
    return found


def left_out(tools: Sequence[Any] | None) -> list[str]:
    """What the tools are called that the model is not given."""
    return sorted({f"tools.{tool.type}" for tool in tools or () if isinstance(tool, SearchToolIn)})


def to_tools(tools: Sequence[Any] | None, choice: Any, parallel: bool | None) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools and the choice in the core's terms. Raises InvalidRequest for a choice that no tool meets."""
    if choice == "none":
        return (), ToolChoice()
    made = tuple(
        Tool(name, tool.description, tool.parameters or {"type": "object", "properties": {}}, bool(tool.strict))
        for name, (_, tool) in functions(tools).items()
    )
    return made, to_tool_choice(_as_in_chat(choice), parallel, frozenset(tool.name for tool in made))


def _as_in_chat(choice: Any) -> Any:
    """The choice as chat completions write it, one level deeper."""
    if isinstance(choice, NamedIn):
        return _named(choice)
    if isinstance(choice, AllowedIn):
        allowed = AllowedToolsIn(mode=choice.mode, tools=[_named(each) for each in choice.tools])
        return AllowedToolsChoiceIn(type="allowed_tools", allowed_tools=allowed)
    return choice


def _named(function: NamedIn) -> NamedToolIn:
    return NamedToolIn(type="function", function=FunctionNameIn(name=function.name))
