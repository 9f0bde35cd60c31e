"""Tool use: calls, and answers from what the tools said."""

from __future__ import annotations

from typing import Any

from server.reference import tools
from server.reference.conversation import Call, Message, Sample, assistant, user
from server.reference.vocabulary import Vocabulary


def tool_call(words: Vocabulary) -> Sample:
    """A question that one of the tools answers: the model calls it, sometimes twice."""
    rng = words.rng
    if rng.random() < 0.12:
        return _two_calls(words)
    wanted = tools.need(words)
    return Sample(
        "tool_call",
        [user(wanted.question)],
        f"I call {wanted.name}.",
        calls=[(wanted.name, wanted.arguments)],
        tools=among_others(words, wanted.tool),
    )


def _two_calls(words: Vocabulary) -> Sample:
    tool = tools.weather_tool(words)
    name, place = tool["function"]["name"], tools.place_of(tool)
    cities = [words.city(), words.city()]
    question = words.rng.choice(
        ("What is the weather in {} and {}?", "Weather in {} and in {}?", "Compare the weather in {} and {}.")
    ).format(*cities)
    calls = [(name, {place: city}) for city in cities]
    return Sample("tool_call", [user(question)], f"I call {name} twice.", calls=calls, tools=among_others(words, tool))


def tool_result(words: Vocabulary) -> Sample:
    """The tool has answered: the model tells what it said."""
    if words.rng.random() < 0.15:
        return _two_results(words)
    wanted = tools.need(words)
    result, answer = words.rng.choice(wanted.results)
    # The template shows the thought that led to the call, if the client sends it back.
    thought = f"I call {wanted.name}." if words.rng.random() < 0.5 else ""
    messages = [user(wanted.question), *_used([(wanted.name, wanted.arguments)], [result], thought)]
    return Sample("tool_result", messages, "The tool has answered.", answer, tools=among_others(words, wanted.tool))


def _two_results(words: Vocabulary) -> Sample:
    made = _two_calls(words)
    made.skill = "tool_result"
    thought = made.thought if words.rng.random() < 0.5 else ""
    degrees = [words.rng.randint(-20, 42) for _ in made.calls]
    cities = [next(iter(arguments.values())) for _, arguments in made.calls]
    form = words.rng.choice(("{}", "{} degrees", '{{"temperature": {}}}'))
    made.messages += _used(made.calls, [form.format(each) for each in degrees], thought)
    made.thought, made.calls = "The tools have answered.", []
    made.content = f"It is {degrees[0]} degrees in {cities[0]} and {degrees[1]} degrees in {cities[1]}."
    return made


def _used(calls: list[Call], results: list[str], thought: str) -> list[Message]:
    """An assistant's turn with calls, and what the tools answered."""
    wire = [
        {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(calls, 1)
    ]
    answers: list[Message] = [
        {"role": "tool", "tool_call_id": f"call_{index}", "content": result} for index, result in enumerate(results, 1)
    ]
    return [{"role": "assistant", "content": "", "reasoning_content": thought, "tool_calls": wire}, *answers]


def earlier_use(words: Vocabulary, made: Sample) -> list[Message]:
    """An earlier question that a tool of `made` has answered."""
    known = [tool for tool in made.tools if family(tool["function"]["name"]) == "weather"]
    wanted = tools.weather(words, known[0]) if known else tools.need(words)
    if not known:
        if family(wanted.name) in {family(tool["function"]["name"]) for tool in made.tools}:
            return []
        made.tools.append(wanted.tool)
    result, answer = words.rng.choice(wanted.results)
    used = _used([(wanted.name, wanted.arguments)], [result], "")
    return [user(wanted.question), *used, assistant(answer)]


def among_others(words: Vocabulary, tool: dict[str, Any]) -> list[dict[str, Any]]:
    """The tool among up to two others, in any order."""
    chosen = {tool["function"]["name"]: tool}
    for _ in range(words.rng.choice((0, 0, 0, 1, 1, 2))):
        other = tools.need(words)
        # Two tools that serve the same question would leave it open which one is right.
        if family(other.name) not in map(family, chosen):
            chosen[other.name] = other.tool
    shuffled = list(chosen.values())
    words.rng.shuffle(shuffled)
    return shuffled


def family(name: str) -> str:
    """What a function of that name is for; two of one family could answer the same question."""
    for mark in ("weather", "forecast", "time", "stock", "quote", "price", "translate", "send", "notify", "light"):
        if mark in name:
            return {"forecast": "weather", "quote": "stock", "price": "stock", "notify": "send"}.get(mark, mark)
    return "add" if name in ("add", "add_numbers", "sum", "calculator") else name
