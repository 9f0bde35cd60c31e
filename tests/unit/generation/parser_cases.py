"""Outputs of the model and what they mean, written by hand. The unit tests cut them in every way; the oracle test
holds them against vLLM's own parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOOLS: Mapping[str, Mapping[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
    "write_file": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
    },
    "now": {"type": "object", "properties": {}},
    "typed": {
        "type": "object",
        "properties": {
            "integer": {"type": "integer"},
            "number": {"type": "number"},
            "flag": {"type": "boolean"},
            "nothing": {"type": "null"},
            "object": {"type": "object"},
            "array": {"type": "array", "items": {"type": "integer"}},
            "choice": {"type": "string", "enum": ["1", "null", "true"]},
            "numbers": {"enum": [1, 2, 3]},
            "optional": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "either": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
            "listed": {"type": ["integer", "null"]},
            "untyped": {"description": "Anything."},
            "place": {"$ref": "#/$defs/Place"},
            "color": {"$ref": "#/$defs/Color"},
            "nowhere": {"$ref": "#/$defs/Missing"},
            "constant": {"const": 5},
            "pythonic": {"type": "int"},
        },
        "$defs": {
            "Place": {"type": "object", "properties": {"city": {"type": "string"}, "next": {"$ref": "#/$defs/Place"}}},
            "Color": {"enum": ["red", "1"]},
        },
    },
}

CITY = "<parameter=city>\nOslo\n</parameter>\n"
OSLO = f"<tool_call>\n<function=get_weather>\n{CITY}</function>\n</tool_call>"
RIGA = OSLO.replace("Oslo", "Riga")
OSLO_CALL = ("get_weather", '{"city": "Oslo"}')
RIGA_CALL = ("get_weather", '{"city": "Riga"}')


@dataclass(frozen=True)
class Case:
    name: str
    raw: str
    reasoning: str = ""
    content: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    thinking: bool = False
    tools: Mapping[str, Mapping[str, Any]] | None = None


def call(function: str, **parameters: str) -> str:
    """A call as the chat template shows it to the model."""
    values = "".join(f"<parameter={name}>\n{value}\n</parameter>\n" for name, value in parameters.items())
    return f"<tool_call>\n<function={function}>\n{values}</function>\n</tool_call>"


def prose(name: str, raw: str, reasoning: str = "", content: str = "", *, thinking: bool = False) -> Case:
    """No tools were given."""
    return Case(name, raw, reasoning, content, thinking=thinking)


def thought(name: str, raw: str, reasoning: str = "", content: str = "", *calls: tuple[str, str]) -> Case:
    """The prompt opened the thinking, and there are tools."""
    return Case(name, raw, reasoning, content, calls, thinking=True, tools=TOOLS)


def direct(name: str, raw: str, content: str = "", *calls: tuple[str, str]) -> Case:
    """Thinking is off, and there are tools."""
    return Case(name, raw, "", content, calls, tools=TOOLS)


def typed(parameter: str, text: str, value: str, note: str = "") -> Case:
    """One parameter of the tool `typed`, and the JSON that it becomes."""
    name = f"type: {parameter} {note or text}"
    return direct(name, call("typed", **{parameter: text}), "", ("typed", f'{{"{parameter}": {value}}}'))


def value(name: str, text: str, escaped: str) -> Case:
    """A string parameter, and what stands between the quotes of its JSON."""
    return direct(f"value: {name}", call("write_file", content=text), "", ("write_file", f'{{"content": "{escaped}"}}'))


CASES: tuple[Case, ...] = (
    # Thinking and text.
    prose("text", "Hello, world.", "", "Hello, world."),
    prose("text keeps its own whitespace", "\n  Hello \n", "", "\n  Hello \n"),
    prose("nothing", ""),
    prose("whitespace alone", " \n", "", " \n"),
    prose("thinking, then text", "Six and one.\n</think>\n\n7", "Six and one.", "7", thinking=True),
    prose("thinking is all there is", "Six and\n", "Six and\n", thinking=True),
    prose("thinking cut within its closer", "Six</thi", "Six</thi", thinking=True),
    prose("thinking alone, closed", "Six.\n</think>\n\n", "Six.", "", thinking=True),
    prose("empty thinking", "\n</think>\n\n7", "", "7", thinking=True),
    prose("closer without newlines", "Six.</think>7", "Six.", "7", thinking=True),
    prose("indented answer", "Hm.\n</think>\n\n    x = 1", "Hm.", "    x = 1", thinking=True),
    prose("blank lines inside thinking", "a\n\nb\n</think>\n\nc\n\nd", "a\n\nb", "c\n\nd", thinking=True),
    prose("opening tag though the prompt had one", "<think>\nHm.\n</think>\n\n7", "Hm.", "7", thinking=True),
    prose("opening tag after whitespace", "\n<think>\nHm.\n</think>\n\n7", "Hm.", "7", thinking=True),
    prose("opening tag of its own accord", "<think>\nHm.\n</think>\n\n7", "Hm.", "7"),
    prose("closer twice", "Hm.\n</think>\n\n</think>\n\n7", "Hm.", "7", thinking=True),
    prose("closer without thinking", "</think>\n\n7", "", "7"),
    prose(
        "closer in the answer",
        "Hm.\n</think>\n\nThe tag </think> ends it.",
        "Hm.",
        "The tag </think> ends it.",
        thinking=True,
    ),
    prose("opener in the answer", "Hm.\n</think>\n\nUse <think> first.", "Hm.", "Use <think> first.", thinking=True),
    prose("opener in the thinking", "Is <think> a tag?\n</think>\n\nYes.", "Is <think> a tag?", "Yes.", thinking=True),
    prose("no tools: a call is text", f"Use:\n{OSLO}", "", f"Use:\n{OSLO}"),
    prose("no tools: a call in thinking is thought", f"a\n{OSLO}\nb</think>c", f"a\n{OSLO}\nb", "c", thinking=True),
    prose("look-alikes", "a < b << c </ d <thinking> </thinker> <", "", "a < b << c </ d <thinking> </thinker> <"),
    prose("unicode", "Grüße 👋🏽 \u2028 世界", "", "Grüße 👋🏽 \u2028 世界"),
    # Calls.
    direct("one call", OSLO, "", OSLO_CALL),
    direct("text before a call", f"Let me see.\n\n{OSLO}", "Let me see.", OSLO_CALL),
    direct("two calls", f"{OSLO}\n{RIGA}", "", OSLO_CALL, RIGA_CALL),
    direct("two calls, nothing between", f"{OSLO}{RIGA}", "", OSLO_CALL, RIGA_CALL),
    direct("text after a call", f"{OSLO}\nDone. ", "Done.", OSLO_CALL),
    direct("text around calls", f"A.\n{OSLO}\nB.\n\n{RIGA}\nC.", "A.\n\nB.\n\n\nC.", OSLO_CALL, RIGA_CALL),
    direct("whitespace around a call", f"\n {OSLO}\n\n", "", OSLO_CALL),
    direct("no arguments", call("now"), "", ("now", "{}")),
    direct("no arguments, no newlines", "<tool_call><function=now></function></tool_call>", "", ("now", "{}")),
    direct(
        "all on one line",
        "<tool_call><function=get_weather><parameter=city>Oslo</parameter><parameter=days>3</parameter>"
        "</function></tool_call>",
        "",
        ("get_weather", '{"city": "Oslo", "days": 3}'),
    ),
    direct(
        "unknown function", call("send_mail", to="Ada", count="3"), "", ("send_mail", '{"to": "Ada", "count": "3"}')
    ),
    direct("unknown parameter", call("get_weather", mood="3"), "", ("get_weather", '{"mood": "3"}')),
    direct(
        "parameter twice",
        call("get_weather", city="Oslo").replace("</function>", f"{CITY}</function>"),
        "",
        ("get_weather", '{"city": "Oslo", "city": "Oslo"}'),
    ),
    direct(
        "spaces around names", OSLO.replace("get_weather", " get_weather ").replace("=city", "= city"), "", OSLO_CALL
    ),
    direct(
        "several functions in one wrapper",
        OSLO.replace("\n</tool_call>", "\n<function=now>\n</function>\n</tool_call>"),
        "",
        OSLO_CALL,
        ("now", "{}"),
    ),
    direct("call without its wrapper", f"Well.\n<function=get_weather>\n{CITY}</function>", "Well.", OSLO_CALL),
    direct("call without its opener", f"<function=get_weather>\n{CITY}</function>\n</tool_call>", "", OSLO_CALL),
    # Calls and thinking.
    thought("thinking, then a call", f"Hm.\n</think>\n\n{OSLO}", "Hm.", "", OSLO_CALL),
    thought("thinking, text, call", f"Hm.\n</think>\n\nWait.\n{OSLO}", "Hm.", "Wait.", OSLO_CALL),
    thought("thinking closer and call together", f"Hm.</think>{OSLO}", "Hm.", "", OSLO_CALL),
    thought("call inside thinking", f"Hm.\n{OSLO}", "Hm.", "", OSLO_CALL),
    thought("call inside thinking, closed after", f"Hm.\n{OSLO}\n</think>\n\n", "Hm.", "", OSLO_CALL),
    thought("call inside thinking, closed, answered", f"Hm.\n{OSLO}\n</think>\n\nDone.", "Hm.", "Done.", OSLO_CALL),
    thought(
        "thinking goes on after its call",
        f"Hm.\n{OSLO}\nSo.\n</think>\n\nDone </think>.",
        "Hm.",
        "So.\n\n\nDone </think>.",
        OSLO_CALL,
    ),
    thought("calls inside thinking", f"Hm.\n{OSLO}\n{RIGA}", "Hm.", "", OSLO_CALL, RIGA_CALL),
    thought(
        "call of an unknown function inside thinking",
        f"Hm.\n{call('send_mail')}\n</think>\n\n7",
        f"Hm.\n{call('send_mail')}",
        "7",
    ),
    thought("mention of the tag inside thinking", "The <tool_call> tag.\n</think>\n\n7", "The <tool_call> tag.", "7"),
    thought(
        "function without a wrapper inside thinking",
        f"So <function=get_weather>\n{CITY}</function>.</think>7",
        f"So <function=get_weather>\n{CITY}</function>.",
        "7",
    ),
    thought("closer right after the tag inside thinking", "Hm <tool_call></think>7", "Hm <tool_call>", "7"),
    # Prose that looks like a call.
    direct(
        "mention of the tag",
        "Write <tool_call> first, then </tool_call>.",
        "Write <tool_call> first, then </tool_call>.",
    ),
    direct("mention of the function tag", "Write <function=foo> in it.", "Write <function=foo> in it."),
    direct("tag at the end", "The tag is <tool_call>", "The tag is <tool_call>"),
    direct("tag and whitespace at the end", "The tag is <tool_call> \n", "The tag is <tool_call> \n"),
    direct("tag, then a call", f"<tool_call>{OSLO}", "<tool_call>", OSLO_CALL),
    direct("empty function name", "<tool_call>\n<function=>\nx", "<tool_call>\n<function=>\nx"),
    direct(
        "unclosed function name",
        "<tool_call>\n<function=get_weather\n<parameter=city>",
        "<tool_call>\n<function=get_weather\n<parameter=city>",
    ),
    direct("overlong function name", f"<tool_call>\n<function={'x' * 300}>", f"<tool_call>\n<function={'x' * 300}>"),
    direct(
        "JSON in the tag", '<tool_call>\n{"name": "now"}\n</tool_call>', '<tool_call>\n{"name": "now"}\n</tool_call>'
    ),
    # Missing and superfluous closers.
    direct(
        "no parameter closer before a parameter",
        OSLO.replace("</parameter>", "<parameter=days>\n3\n</parameter>"),
        "",
        ("get_weather", '{"city": "Oslo", "days": 3}'),
    ),
    direct("no parameter closer before the end", OSLO.replace("</parameter>\n", ""), "", OSLO_CALL),
    direct("no function closer", OSLO.replace("</function>\n", ""), "", OSLO_CALL),
    direct(
        "no function closer before a call", OSLO.replace("</function>\n</tool_call>", RIGA), "", OSLO_CALL, RIGA_CALL
    ),
    direct("only the call closer", OSLO.replace("</parameter>\n</function>\n", ""), "", OSLO_CALL),
    direct("no call closer", OSLO.removesuffix("\n</tool_call>"), "", OSLO_CALL),
    direct("no call closer before text", OSLO.replace("</tool_call>", "Done."), "Done.", OSLO_CALL),
    direct(
        "text before the call closer", OSLO.replace("</tool_call>", "Done.</tool_call> Yes."), "Done. Yes.", OSLO_CALL
    ),
    direct("no call closer before a call", OSLO.replace("</tool_call>", RIGA), "", OSLO_CALL, RIGA_CALL),
    direct("closers twice", f"{OSLO}\n</function>\n</tool_call>", "", OSLO_CALL),
    direct(
        "much whitespace after a parameter closer",
        OSLO.replace("</parameter>", f"</parameter>{' ' * 70}well"),
        "",
        OSLO_CALL,
    ),
    direct("text between parameters", OSLO.replace("<parameter", "well <b> <parameter"), "", OSLO_CALL),
    direct(
        "text instead of parameters",
        '<tool_call>\n<function=now>\n{"a": 1}\n</function>\n</tool_call>',
        "",
        ("now", "{}"),
    ),
    # Where the output ends.
    direct("cut in the tag", "Hm. <tool_ca", "Hm. <tool_ca"),
    direct("cut before the function", "Hm.\n<tool_call>\n<func", "Hm.\n<tool_call>\n<func"),
    direct("cut in the function name", "Hm.\n<tool_call>\n<function=get_", "Hm.\n<tool_call>\n<function=get_"),
    thought(
        "cut in the function name inside thinking",
        "Hm.\n<tool_call>\n<function=get_",
        "Hm.\n<tool_call>\n<function=get_",
    ),
    direct("cut after the function name", "<tool_call>\n<function=get_weather>", "", ("get_weather", "{}")),
    direct(
        "cut in the parameter name", "<tool_call>\n<function=get_weather>\n<parameter=ci", "", ("get_weather", "{}")
    ),
    direct(
        "cut before the value",
        "<tool_call>\n<function=get_weather>\n<parameter=city>",
        "",
        ("get_weather", '{"city": ""}'),
    ),
    direct(
        "cut in a string",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nOs",
        "",
        ("get_weather", '{"city": "Os"}'),
    ),
    direct(
        "cut before the value's end is sure",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n",
        "",
        OSLO_CALL,
    ),
    direct(
        "cut in an integer",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n12",
        "",
        OSLO_CALL,
    ),
    direct(
        "cut at a less-than",
        "<tool_call>\n<function=write_file>\n<parameter=content>\na <",
        "",
        ("write_file", '{"content": "a <"}'),
    ),
    direct(
        "cut in the parameter closer",
        "<tool_call>\n<function=get_weather>\n<parameter=days>\n12\n</para",
        "",
        ("get_weather", '{"days": 12}'),
    ),
    direct(
        "cut after the parameter closer",
        "<tool_call>\n<function=get_weather>\n<parameter=days>\n12\n</parameter>",
        "",
        ("get_weather", '{"days": 12}'),
    ),
    direct("cut in the function closer", OSLO.removesuffix("ction>\n</tool_call>"), "", OSLO_CALL),
    direct("cut in the call closer", OSLO.removesuffix("call>"), "", OSLO_CALL),
    # Values.
    value("empty", "", ""),
    value("its own newlines", "\n\na\n\n", "\\n\\na\\n\\n"),
    value("quotes and backslashes", 'say "hi" \\n', 'say \\"hi\\" \\\\n'),
    value("control characters", "a\tb\r\x00\x1b\x7f", "a\\tb\\r\\u0000\\u001b\x7f"),
    value("unicode", "Grüße 👋🏽 \u2028", "Grüße 👋🏽 \u2028"),
    value("code", "if a < b:\n    x = a << 2\n</ok>", "if a < b:\\n    x = a << 2\\n</ok>"),
    value("JSON", '{"a": [1, 2]}', '{\\"a\\": [1, 2]}'),
    value("XML", '<a href="b"><c/></a>', '<a href=\\"b\\"><c/></a>'),
    value(
        "look-alikes",
        "<parameters>\n</parameters>\n<parameter name=x>",
        "<parameters>\\n</parameters>\\n<parameter name=x>",
    ),
    value("parameter elements", "<parameter>x</parameter>\n<more/>", "<parameter>x</parameter>\\n<more/>"),
    value("parameter opener within a line", "see <parameter=x> there", "see <parameter=x> there"),
    value("function elements", "<function>\n</function>\n<more/>", "<function>\\n</function>\\n<more/>"),
    value("call closer within it", "a\n</tool_call>\nb", "a\\n</tool_call>\\nb"),
    value("call opener within it", "a\n<tool_call>\nb", "a\\n<tool_call>\\nb"),
    value("thinking tags", "<think>a</think>", "<think>a</think>"),
    direct("value: without newlines", OSLO.replace("\nOslo\n", "Oslo"), "", OSLO_CALL),
    direct("value: lone surrogate", call("get_weather", city="a\ud800b"), "", ("get_weather", '{"city": "a\\ud800b"}')),
    # Types.
    typed("integer", "5", "5"),
    typed("integer", "-12", "-12"),
    typed("integer", "123456789012345678901234567890", "123456789012345678901234567890", "long"),
    typed("integer", "five", '"five"'),
    typed("integer", "5.5", "5.5"),
    typed("integer", "9" * 5000, f'"{"9" * 5000}"', "absurdly long"),
    typed("number", "2.50", "2.5"),
    typed("number", "3.0", "3"),
    typed("number", "12345678901234567890123", "12345678901234567890123", "long"),
    typed("number", "1e300", "1e+300"),
    typed("number", "1e999", '"1e999"'),
    typed("number", "NaN", '"NaN"'),
    typed("flag", "true", "true"),
    typed("flag", "False", "false"),
    typed("flag", "1", "true"),
    typed("flag", "maybe", '"maybe"'),
    typed("nothing", "null", "null"),
    typed("nothing", "7", "7"),
    typed("object", '{"a":[1,{"b":null}],"ü":"x"}', '{"a": [1, {"b": null}], "ü": "x"}', "nested"),
    typed("object", "{'a': 1}", "\"{'a': 1}\"", "Python literal"),
    typed("object", '{"a": 1', '"{\\"a\\": 1"', "broken"),
    typed("object", '{"a": NaN}', '"{\\"a\\": NaN}"', "not a number"),
    typed("object", '{"a": "\\ud800"}', '{"a": "\\ud800"}', "lone surrogate"),
    typed("object", "[" * 100_000, f'"{"[" * 100_000}"', "absurdly deep"),
    typed("array", "[1,2]", "[1, 2]"),
    typed("array", "1, 2", '"1, 2"'),
    typed("choice", "1", '"1"'),
    typed("choice", "null", '"null"'),
    typed("numbers", "2", "2"),
    typed("optional", "null", "null"),
    typed("optional", "nil", '"nil"'),
    typed("either", "5", "5"),
    typed("either", "x", '"x"'),
    typed("listed", "null", "null"),
    typed("listed", "4", "4"),
    typed("untyped", "5", '"5"'),
    typed("place", '{"city":"Oslo"}', '{"city": "Oslo"}', "by reference"),
    typed("color", "1", '"1"', "by reference"),
    typed("nowhere", "1", '"1"', "by a broken reference"),
    typed("constant", "5", "5"),
    typed("pythonic", "5", "5"),
)
