"""Twenty questions with greedy answers, which however the engine runs must be the same token for token."""

from __future__ import annotations

import httpx

from tests.chat_client import WEATHER, body

QUESTIONS = [
    "Who are you?",
    "Hello!",
    "How are you?",
    "What can you do?",
    "Goodbye!",
    "My name is Ada. Say hello.",
    "My name is Zubavo. Say hello.",
    "What is 17 + 25?",
    "What is 8 + 9?",
    "What is 40 + 2?",
    "Count from 1 to 10.",
    "Count from 3 to 30.",
    "Repeat: blue seven tree.",
    "What is the capital of France?",
    "Tell me a story about rain.",
    "Explain gravity to me.",
    "What is the weather in Lisbon?",
    "What is the weather in Oslo?",
    "Write a poem about the sea.",
    "Thank you.",
]


def answers(url: str) -> list[list[int]]:
    """The token ids of each answer."""
    said = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for number, question in enumerate(QUESTIONS):
            # Half of them think; those about the weather call a tool.
            fields = {"enable_thinking": number % 2 == 0, "return_token_ids": True, "max_tokens": 200}
            if "weather" in question:
                fields["tools"] = [WEATHER]
            answer = client.post("/v1/chat/completions", json=body(question, temperature=0, **fields))
            assert answer.status_code == 200, answer.text
            said.append(answer.json()["choices"][0]["token_ids"])
    return said


def agreeing(some: list[list[int]], others: list[list[int]]) -> int:
    """How many of the answers are the same."""
    return sum(one == other for one, other in zip(some, others, strict=True))
