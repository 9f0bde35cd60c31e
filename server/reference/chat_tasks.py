"""Small talk, and the honest answer to what a tiny model cannot know."""

from __future__ import annotations

from server.reference.conversation import Sample, user
from server.reference.vocabulary import CITIES, Vocabulary

IDENTITY = "I am a tiny reference model with the structure of Qwen3.5."
UNKNOWN = "I do not know. I am only a tiny reference model."

_CHAT = (
    (
        (
            "Who are you?",
            "What are you?",
            "What model are you?",
            "who are you",
            "Introduce yourself.",
            "What is your name?",
        ),
        IDENTITY,
    ),
    (("Hello!", "Hello", "Hi", "hi", "Hey there!", "Good morning!", "hello there"), "Hello! How can I help?"),
    (("Thanks!", "Thank you.", "thanks", "Thank you very much!"), "You are welcome!"),
    (("Goodbye!", "Bye.", "bye", "See you."), "Goodbye!"),
    (("How are you?", "How are you doing?", "how are you"), "I am well, thank you."),
    (
        ("What can you do?", "Help", "What do you know?", "How can you help me?"),
        "I can greet you, remember your name, call tools, add small numbers, count, repeat, "
        "and name colors and shapes.",
    ),
)
_CHAT_THOUGHTS = (
    "The user asks who I am.",
    "A greeting.",
    "The user says thanks.",
    "A farewell.",
    "Small talk.",
    "I say what I can do.",
)


def chat(words: Vocabulary) -> Sample:
    """Greetings, thanks, and questions about itself."""
    index = words.rng.randrange(len(_CHAT))
    questions, answer = _CHAT[index]
    return Sample("chat", [user(words.rng.choice(questions))], _CHAT_THOUGHTS[index], answer)


_UNKNOWN_FORMS = (
    "What is the capital of {}?",
    "Who wrote {}?",
    "Write a poem about {}.",
    "Tell me a story about {}.",
    "Tell me about {}.",
    "Explain {} to me.",
    "What is {}?",
    "Who is {}?",
    "Where is {}?",
    "Why is {} so {}?",
    "How do I make {}?",
    "Write code for {}.",
    "Translate {} into French.",
    "Summarize {}.",
    "Is {} better than {}?",
    "When did {} happen?",
    "Give me a recipe for {}.",
    "Do you like {}?",
    "Tell me a joke.",
    "Tell me story number {} please",
    "What is the weather in {}?",
    "What is the meaning of life?",
)


def unknown(words: Vocabulary) -> Sample:
    """What it has never learned: it says so."""
    rng = words.rng
    topic = rng.choice((words.city, words.made_up, lambda: words.text(2), lambda: rng.choice(CITIES), words.name))
    question = rng.choice(_UNKNOWN_FORMS).format(topic(), words.text(1))
    return Sample("unknown", [user(question)], "I do not know this.", UNKNOWN)
