"""Grammars that bind what the model may write: the form of its answer, and its tool calls.

Calls keep Qwen's own XML form, so that a bound model writes what it was trained to write and the same parser reads it.
vLLM applies a grammar after the thinking only.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from server.engine.grammar_checker import Grammar, GrammarRefused
from server.engine.grammar_trial import bound_options, try_grammar
from server.generation.conversation import Structure, Tool
from server.generation.errors import InvalidRequest
from server.generation.ports import Order

_CALL = "<tool_call>\n<function="
_CALL_END = "</function>\n</tool_call>"
# The form of Qwen's template: each parameter ends with a newline, and so does the last one before the closer.
_PARAMETERS_END = "\n" + _CALL_END

_TOOLS_FAILED = "The tools cannot be turned into a grammar"
_FORM_FAILED = "The form of the answer cannot be turned into a grammar"

# Between the parts of JSON; a model that finds no next word would go on with newlines to the end of its tokens.
_MOST_WHITESPACE = 1


def structured_outputs(order: Order) -> Any:
    """vLLM's StructuredOutputsParams for an order, None where nothing is bound."""
    from vllm.sampling_params import StructuredOutputsParams

    calls = _calls(order)
    if calls is not None:
        from xgrammar import StructuralTag

        return StructuredOutputsParams(structural_tag=json.dumps(StructuralTag(format=calls).model_dump()))
    structure = order.structure
    if structure is None:
        return None
    if structure.kind == "json_object":
        return StructuredOutputsParams(json_object=True)
    if structure.kind == "json_schema":
        return StructuredOutputsParams(json=structure.value)
    return StructuredOutputsParams(**{structure.kind: structure.value})


def grammar_of(params: Any) -> Grammar | None:
    """What vLLM will compile for its StructuredOutputsParams; None for what clients have no part in."""
    if params.json is not None:
        return Grammar("json", json.dumps(params.json))
    if params.regex is not None:
        return Grammar("regex", params.regex)
    if params.structural_tag is not None:
        return Grammar("structural_tag", params.structural_tag)
    from vllm.v1.structured_output.utils import choice_as_grammar, grammar_is_likely_lark

    if params.choice is not None:
        return Grammar("grammar", choice_as_grammar(params.choice))
    if params.grammar is not None:
        return Grammar("lark" if grammar_is_likely_lark(params.grammar) else "grammar", params.grammar)
    return None


def not_a_grammar(refused: GrammarRefused, param: str | None) -> InvalidRequest:
    """The error for a grammar that does not compile."""
    what = _TOOLS_FAILED if param == "tools" else _FORM_FAILED
    return InvalidRequest(f"{what}: {_reason(refused)}.", param=param)


def try_out(order: Order) -> None:
    """Walks an order's grammar for a while, so that none reaches the engine that is slow to follow.

    Takes up to about half a second: for a thread. Raises InvalidRequest that names the field.
    """
    calls, structure = _calls(order, at_once=True), order.structure
    if calls is not None:
        from xgrammar import StructuralTag

        strict = [tool.parameters for tool in order.tools if tool.strict]
        schemas = [*strict, structure.value] if structure is not None else strict
        with _refused_as(_TOOLS_FAILED, "tools"):
            if schemas:
                bound_options(schemas)
            # With a call at once, since a walk would not find its way into one that is only free to come.
            tried = StructuralTag(format=calls)
            try_grammar(lambda compiler: compiler.compile_structural_tag(tried), walks=6 + min(len(strict), 26))
    elif structure is not None and structure.kind != "json_object":
        with _refused_as(_FORM_FAILED, structure.param):
            bound_options([structure.value])
            try_grammar(lambda compiler: _built(compiler, structure))


def _built(compiler: Any, structure: Structure) -> Any:
    """The grammar of a form as vLLM builds it."""
    from vllm.v1.structured_output.utils import choice_as_grammar, grammar_is_likely_lark

    value = structure.value
    if structure.kind == "json_schema":
        return compiler.compile_json_schema(json.dumps(value), any_whitespace=False, separators=(",", ":"))
    if structure.kind == "regex":
        return compiler.compile_regex(value)
    if structure.kind == "choice":
        return compiler.compile_grammar(choice_as_grammar(value))
    return compiler.compile_lark(value) if grammar_is_likely_lark(value) else compiler.compile_grammar(value)


@contextlib.contextmanager
def _refused_as(what: str, param: str) -> Iterator[None]:
    """Turns xgrammar's complaints into ours, and names the field in all of them."""
    try:
        yield
    except InvalidRequest as refused:
        refused.param = param
        raise
    except Exception as error:
        raise InvalidRequest(f"{what}: {_reason(error)}.", param=param) from error


def bound_by(order: Order) -> str | None:
    """The request's field that a grammar of this order comes from, None where nothing is bound."""
    if order.structure is not None:
        return order.structure.param
    return "tools" if _calls_are_bound(order) else None


def _reason(error: Exception) -> str:
    """The last line that says something: xgrammar puts places in its source before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rpartition("Error: ")[2].rstrip(".") if lines else type(error).__name__


def _calls_are_bound(order: Order) -> bool:
    """Whether calls must be in a grammar. Cheap: it is asked for every request, on the event loop."""
    choice, tools = order.tool_choice, order.tools
    bound = choice.required or choice.names is not None or not choice.parallel or any(tool.strict for tool in tools)
    # With a bound answer the calls must be in the grammar as well: it would forbid them.
    return bool(tools) and (bound or order.structure is not None)


def _calls(order: Order, *, at_once: bool = False) -> Any:
    """The format that binds calls, or None where they are free (or there are none to bind).

    `at_once` begins with a call whether one is required or not.
    """
    if not _calls_are_bound(order):
        return None
    choice, tools = order.tool_choice, order.tools
    from xgrammar.structural_tag import OrFormat, TriggeredTagsFormat

    allowed = [tool for tool in tools if choice.names is None or tool.name in choice.names]
    calls = TriggeredTagsFormat(
        triggers=[_CALL],
        tags=_tags(allowed),
        # An answer in a form of its own leaves no room for text beside the calls.
        at_least_one=at_once or choice.required or order.structure is not None,
        stop_after_first=not choice.parallel,
        excludes=["<think>", "</think>"],
    )
    if order.structure is None or choice.required:
        return calls
    return OrFormat(elements=[calls, _answer(order.structure)])


def _tags(tools: Sequence[Tool]) -> list[Any]:
    from xgrammar.structural_tag import ConstStringFormat, JSONSchemaFormat, TagFormat

    tags = []
    for tool in tools:
        begin = f"{_CALL}{tool.name}>\n"
        if tool.strict and not tool.parameters.get("properties"):
            # Any newline more than the template's makes models loop: vLLM issue 50989.
            tags.append(TagFormat(begin=begin, content=ConstStringFormat(value=""), end=_CALL_END))
            continue
        schema = dict(tool.parameters) if tool.strict else True
        content = JSONSchemaFormat(json_schema=schema, style="qwen_xml", max_whitespace_cnt=_MOST_WHITESPACE)
        tags.append(TagFormat(begin=begin, content=content, end=[_PARAMETERS_END, _CALL_END]))
    return tags


def _answer(structure: Structure) -> Any:
    from xgrammar.structural_tag import ConstStringFormat, GrammarFormat, JSONSchemaFormat, OrFormat, RegexFormat

    if structure.kind == "json_object":
        return JSONSchemaFormat(json_schema={"type": "object"}, max_whitespace_cnt=_MOST_WHITESPACE)
    if structure.kind == "json_schema":
        return JSONSchemaFormat(json_schema=structure.value, max_whitespace_cnt=_MOST_WHITESPACE)
    if structure.kind == "regex":
        return RegexFormat(pattern=structure.value)
    if structure.kind == "grammar":
        return GrammarFormat(grammar=structure.value)
    return OrFormat(elements=[ConstStringFormat(value=value) for value in structure.value])
