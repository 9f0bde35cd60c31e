"""Leaving out the beginning of a conversation that the context has no room for, as `truncation: auto` asks for."""

from __future__ import annotations

import math
from dataclasses import replace

from server.generation.conversation import Conversation, Message
from server.generation.errors import ContextTooLong
from server.generation.generation import Generation
from server.generation.pipeline import Pipeline
from server.generation.ports import Permit

# Part of the context that is kept free for an answer whose length the request does not bound.
_ANSWER_PART = 8


async def submit_fitted(pipeline: Pipeline, request_id: str, conversation: Conversation, permit: Permit) -> Generation:
    """As `pipeline.start`, but what has no room is shortened first: whole turns are left out, the oldest first, and
    never system text nor the last user's turn. Raises ContextTooLong where those alone are too long.
    """
    longest = pipeline.max_model_len
    room = min(conversation.max_tokens or longest // _ANSWER_PART, longest // 2)
    try:
        prepared = await pipeline.prepare(conversation)
        fits = prepared.order.max_tokens >= room
    except ContextTooLong:
        fits = False
    if not fits:
        prepared = await pipeline.prepare(await _fitted(pipeline, conversation, longest - room))
    return await pipeline.submit(request_id, prepared, permit)


async def _fitted(pipeline: Pipeline, conversation: Conversation, most: int) -> Conversation:
    """The longest end of the conversation whose prompt has at most `most` tokens; its last turn if none has."""
    begins = turn_begins(conversation.messages)
    least, last = 0, len(begins) - 1
    # Prompts only get shorter the later they begin, so that a few of them tell.
    while least < last:
        middle = (least + last) // 2
        if await _tokens(pipeline, beginning_at(conversation, begins[middle])) <= most:
            last = middle
        else:
            least = middle + 1
    return beginning_at(conversation, begins[last]) if begins else conversation


async def _tokens(pipeline: Pipeline, conversation: Conversation) -> float:
    try:
        return len(await pipeline.prompt_tokens(conversation))
    except ContextTooLong:
        return math.inf


def turn_begins(messages: tuple[Message, ...]) -> list[int]:
    """Where turns begin, which is where the user speaks after someone else did: a call stays with its result."""
    return [
        index
        for index, message in enumerate(messages)
        if message.role == "user" and (index == 0 or messages[index - 1].role != "user")
    ]


def beginning_at(conversation: Conversation, begin: int) -> Conversation:
    """The conversation from that message on, with all system text."""
    kept = tuple(
        message for index, message in enumerate(conversation.messages) if index >= begin or message.role == "system"
    )
    return replace(conversation, messages=kept)
