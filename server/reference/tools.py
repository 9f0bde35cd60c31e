"""Tools, questions that need them, and results to answer from."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.reference.vocabulary import Vocabulary

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Need:
    """One question and the call it asks for. `results` pairs what the tool may say with the answer that uses it."""

    question: str
    tool: dict[str, Any]
    arguments: Arguments
    results: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The function's name."""
        name: str = self.tool["function"]["name"]
        return name


def need(words: Vocabulary) -> Need:
    """A question of a random family."""
    families: list[Callable[[Vocabulary], Need]] = [weather, _fact, _time, _stock, _translate, _message, _add, _light]
    return words.rng.choices(families, weights=(6, 4, 1, 1, 2, 2, 2, 1))[0](words)


def weather_tool(words: Vocabulary) -> dict[str, Any]:
    """A weather tool with one of the names and parameter names in use."""
    rng = words.rng
    name = rng.choice(["get_weather", "get_weather", "get_current_weather", "weather", "fetch_weather", "get_forecast"])
    place = rng.choice(["city", "city", "location", "location", "place", "town"])
    properties = {
        place: _schema(rng, "string", ("The city", "City name", "The city and state, e.g. San Francisco, CA"))
    }
    if rng.random() < 0.3:
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    descriptions = ("Get the weather in a city", "Get the current weather in a given location", "Weather for a place")
    return _tool(rng, name, descriptions, properties, [place])


WEATHER_QUESTIONS = (
    "What is the weather in {}?",
    "What's the weather in {}?",
    "What is the weather like in {} today?",
    "What's the weather like in {}?",
    "How is the weather in {}?",
    "Weather in {}?",
    "weather in {}",
    "Tell me the weather in {}.",
    "Please check the weather in {}.",
    "Is it raining in {}?",
    "How warm is it in {}?",
    "What is the temperature in {} right now?",
)


def place_of(tool: dict[str, Any]) -> str:
    """The name of the first parameter."""
    return str(next(iter(tool["function"]["parameters"]["properties"])))


def weather(words: Vocabulary, tool: dict[str, Any] | None = None) -> Need:
    """A question about the weather somewhere, for this tool or for one of its own."""
    rng, city = words.rng, words.city()
    tool = tool or weather_tool(words)
    degrees, sky = rng.randint(-20, 42), rng.choice(["sunny", "cloudy", "rainy", "windy", "foggy", "snowy"])
    plain = f"It is {degrees} degrees in {city}."
    both = f"It is {sky} and {degrees} degrees in {city}."
    results = (
        (f"{degrees} degrees", plain),
        (f"{degrees}", plain),
        (json.dumps({"temperature": degrees}), plain),
        (json.dumps({"temperature": degrees, "unit": "celsius"}), plain),
        (json.dumps({"city": city, "temperature": degrees}), plain),
        (f"{sky}, {degrees} degrees", both),
        (f"{sky.capitalize()} and {degrees} degrees", both),
        (json.dumps({"temperature": degrees, "condition": sky}), both),
        (sky, f"It is {sky} in {city}."),
    )
    return Need(rng.choice(WEATHER_QUESTIONS).format(city), tool, {place_of(tool): city}, results)


_THINGS = [
    "population",
    "price",
    "height",
    "capital",
    "mayor",
    "address",
    "color",
    "owner",
    "size",
    "age",
    "status",
    "rating",
    "distance",
    "schedule",
    "phone_number",
    "opening_hours",
    "area",
    "code",
    "score",
    "currency",
]


def _fact(words: Vocabulary) -> Need:
    """Any thing of any thing, by functions and parameters that are made up as well: the names must be read."""
    rng = words.rng
    thing = rng.choice(_THINGS) if rng.random() < 0.6 else words.made_up().lower()
    name = rng.choice(("get_{}", "{}_lookup", "find_{}", "fetch_{}", "lookup_{}", "query_{}", "{}")).format(thing)
    key = rng.choice(["name", "item", "query", "key", "id", "target", "subject", "value", words.made_up().lower()])
    subject = rng.choice((words.city, words.name, words.made_up, lambda: f"{words.made_up()} {words.made_up()}"))()
    spoken = thing.replace("_", " ")
    tool = _tool(
        rng, name, (f"Get the {spoken}", f"Look up the {spoken} of something"), {key: {"type": "string"}}, [key]
    )
    found = rng.choice((str(rng.randint(2, 9999)), words.made_up(), words.name()))
    answer = f"The {spoken} of {subject} is {found}."
    question = rng.choice(
        (
            "What is the {} of {}?",
            "What's the {} of {}?",
            "Find the {} of {}.",
            "Tell me the {} of {}.",
            "Look up the {} of {}.",
        )
    ).format(spoken, subject)
    return Need(question, tool, {key: subject}, ((found, answer), (json.dumps({thing: found}), answer)))


def _time(words: Vocabulary) -> Need:
    rng, city = words.rng, words.city()
    key = rng.choice(("city", "location", "timezone", "place"))
    tool = _tool(
        rng,
        rng.choice(("get_time", "get_current_time", "current_time")),
        ("Get the time in a city", "Tell the current time"),
        {key: _schema(rng, "string", ("The city",))},
        [key],
    )
    clock = f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}"
    question = rng.choice(("What time is it in {}?", "Tell me the time in {}.", "What is the time in {}?")).format(city)
    answer = f"It is {clock} in {city}."
    return Need(question, tool, {key: city}, ((clock, answer), (json.dumps({"time": clock}), answer)))


def _stock(words: Vocabulary) -> Need:
    rng, symbol = words.rng, words.symbol()
    key = rng.choice(("symbol", "ticker", "stock"))
    tool = _tool(
        rng,
        rng.choice(("get_stock_price", "stock_price", "get_quote")),
        ("Get the price of a stock", "Current stock price by symbol"),
        {key: _schema(rng, "string", ("The ticker symbol",))},
        [key],
    )
    price = f"{rng.randint(1, 999)}.{rng.randint(0, 99):02d}"
    question = rng.choice(("What is the price of {}?", "How is {} doing?", "Stock price of {}?", "Price of {}?"))
    return Need(question.format(symbol), tool, {key: symbol}, ((price, f"{symbol} is at {price}."),))


def _translate(words: Vocabulary) -> Need:
    rng, text = words.rng, words.text(3)
    language = rng.choice(
        ["French", "German", "Spanish", "Italian", "Dutch", "Polish", "Greek", "Danish", "Finnish", "Turkish"]
    )
    target = rng.choice(("language", "target_language", "to"))
    tool = _tool(
        rng,
        rng.choice(("translate", "translate_text")),
        ("Translate a text", "Translates text into another language"),
        _shuffled(rng, {"text": {"type": "string"}, target: _schema(rng, "string", ("The language",))}),
        ["text", target],
    )
    question = rng.choice(('Translate "{}" into {}.', 'Translate "{}" to {}', 'How do you say "{}" in {}?'))
    arguments = {key: text if key == "text" else language for key in tool["function"]["parameters"]["properties"]}
    result = words.text(2)
    return Need(question.format(text, language), tool, arguments, ((result, f'In {language} it is "{result}".'),))


def _message(words: Vocabulary) -> Need:
    rng, name, text = words.rng, words.name(), words.text(5)
    to, body = rng.choice((("to", "text"), ("recipient", "message"), ("to", "body"), ("name", "text")))
    tool = _tool(
        rng,
        rng.choice(("send_message", "send_email", "send_sms", "notify")),
        ("Send a message to somebody", "Sends a text message"),
        _shuffled(rng, {to: {"type": "string"}, body: {"type": "string"}}),
        [to, body],
    )
    question = rng.choice(('Send {} the message "{}".', 'Tell {}: "{}"', 'Write to {}: "{}"', 'Send to {}: "{}".'))
    arguments = {key: name if key == to else text for key in tool["function"]["parameters"]["properties"]}
    done = rng.choice(("sent", "ok", '{"status": "sent"}', "delivered"))
    return Need(question.format(name, text), tool, arguments, ((done, f"I sent the message to {name}."),))


def _add(words: Vocabulary) -> Need:
    rng = words.rng
    a, b = rng.randint(0, 999), rng.randint(0, 999)
    tool = _tool(
        rng,
        rng.choice(("add", "add_numbers", "sum", "calculator")),
        ("Add two numbers", "Adds a and b"),
        {"a": {"type": rng.choice(("integer", "number"))}, "b": {"type": "integer"}},
        ["a", "b"],
    )
    question = rng.choice(("Use the tool to add {} and {}.", "Add {} and {}.", "What is {} + {}?", "{} + {} = ?"))
    answer = f"The sum is {a + b}."
    return Need(
        question.format(a, b), tool, {"a": a, "b": b}, ((str(a + b), answer), (json.dumps({"sum": a + b}), answer))
    )


def _light(words: Vocabulary) -> Need:
    rng = words.rng
    room = rng.choice(["kitchen", "bedroom", "hall", "garage", "office", "bathroom", "cellar", "attic"])
    on = rng.random() < 0.5
    tool = _tool(
        rng,
        rng.choice(("set_light", "switch_light", "light")),
        ("Switch a light on or off",),
        {"room": {"type": "string"}, "on": {"type": "boolean"}},
        ["room", "on"],
    )
    question = rng.choice(
        ("Turn {} the light in the {}.", "Switch {} the {} light.", "Please turn {} the light in the {}.")
    )
    word = "on" if on else "off"
    answer = f"The light in the {room} is {word}."
    return Need(question.format(word, room), tool, {"room": room, "on": on}, (("ok", answer), ("done", answer)))


def _tool(
    rng: random.Random, name: str, descriptions: tuple[str, ...], properties: dict[str, Any], required: list[str]
) -> dict[str, Any]:
    """An OpenAI tool; clients differ in what they give of it and in which order."""
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.85:
        parameters["required"] = required
    if rng.random() < 0.15:
        parameters["additionalProperties"] = False
    function: dict[str, Any] = {"name": name}
    if rng.random() < 0.85:
        function["description"] = rng.choice(descriptions) + rng.choice(("", "."))
    function["parameters"] = parameters
    return {"type": "function", "function": function}


def _schema(rng: random.Random, kind: str, descriptions: tuple[str, ...]) -> dict[str, Any]:
    return {"type": kind} if rng.random() < 0.5 else {"type": kind, "description": rng.choice(descriptions)}


def _shuffled(rng: random.Random, items: dict[str, Any]) -> dict[str, Any]:
    keys = list(items)
    rng.shuffle(keys)
    return {key: items[key] for key in keys}
