"""Tools of Anthropic's API, and which of them may or must be called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from server.dialects.chat_messages import Wire
from server.dialects.messages_blocks import NAME
from server.generation.conversation import Tool, ToolChoice
from server.generation.errors import InvalidRequest


class ToolIn(Wire):
    """A tool of the client's. `input_examples`, `defer_loading` and `allowed_callers` change nothing here."""

    type: Literal["custom"] | None = None
    name: str = Field(pattern=NAME)
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_the_client(cls, value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind != "custom":
            raise ValueError(
                f"{kind[:128]!r} is a tool of Anthropic's servers or models, which are not here; give the model a tool "
                "of your own, with a `name` and an `input_schema`"
            )
        return value


class AutoIn(Wire):
    """The model decides."""

    type: Literal["auto"]
    disable_parallel_tool_use: bool | None = None


class AnyIn(Wire):
    """Some tool must be called."""

    type: Literal["any"]
    disable_parallel_tool_use: bool | None = None


class NamedIn(Wire):
    """One tool must be called; it is called once, `disable_parallel_tool_use` or not."""

    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool | None = None


class NoneIn(Wire):
    """No tool may be called."""

    type: Literal["none"]


ToolChoiceIn = Annotated[AutoIn | AnyIn | NamedIn | NoneIn, Field(discriminator="type")]


def to_tools(tools: Sequence[ToolIn] | None, choice: Any) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools and the choice in the core's terms. Raises InvalidRequest for a choice that no tool meets."""
    if isinstance(choice, NoneIn):
        return (), ToolChoice()
    made = tuple(
        Tool(
            tool.name,
            tool.description,
            tool.input_schema or {"type": "object", "properties": {}},
            bool(tool.strict),
        )
        for tool in tools or ()
    )
    if isinstance(choice, NamedIn):
        if choice.name not in {tool.name for tool in made}:
            raise InvalidRequest(
                f"'tool_choice' names {choice.name!r}, which is not among the tools.", param="tool_choice"
            )
        return made, ToolChoice(required=True, names=frozenset({choice.name}), parallel=False)
    if isinstance(choice, AnyIn) and not made:
        raise InvalidRequest("'tool_choice' is 'any', but there are no tools.", param="tool_choice")
    many = choice is None or not choice.disable_parallel_tool_use
    return made, ToolChoice(required=isinstance(choice, AnyIn), parallel=many)
