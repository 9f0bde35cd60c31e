"""What is left of a conversation that is too long: its end, with all system text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.generation.conversation import Conversation, Message
from server.generation.errors import ContextTooLong
from server.generation.truncation import beginning_at, submit_fitted, turn_begins

CONTEXT = 1000


class Order:
    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens


class Prepared:
    def __init__(self, conversation: Conversation, max_tokens: int) -> None:
        self.conversation = conversation
        self.order = Order(max_tokens)


class Pipeline:
    """One token a character."""

    max_model_len = CONTEXT

    def __init__(self) -> None:
        self.renders = 0

    async def prompt_tokens(self, conversation: Conversation) -> list[int]:
        self.renders += 1
        tokens = sum(len(message.content) for message in conversation.messages)
        if tokens > CONTEXT:
            raise ContextTooLong("too long")
        return [0] * tokens

    async def prepare(self, conversation: Conversation) -> Prepared:
        room = CONTEXT - len(await self.prompt_tokens(conversation))
        if room < 1:
            raise ContextTooLong("too long")
        return Prepared(conversation, min(room, conversation.max_tokens or room))

    async def submit(self, request_id: str, prepared: Prepared, permit: Any) -> Any:
        return prepared


async def fitted(conversation: Conversation) -> Prepared:
    pipeline: Any = Pipeline()
    found: Any = await submit_fitted(pipeline, "r", conversation, None)  # type: ignore[arg-type]
    assert pipeline.renders <= 12
    return found


MESSAGES = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.integers(1, 300)), min_size=1, max_size=40
)


@given(drawn=MESSAGES, max_tokens=st.sampled_from([None, 1, 200, 5000]))
async def test_the_longest_end_that_fits_is_kept(drawn: list[tuple[Any, int]], max_tokens: int | None) -> None:
    messages = tuple(Message(role, str(index % 10) * size) for index, (role, size) in enumerate(drawn))
    whole = Conversation(messages, max_tokens=max_tokens)
    room = min(max_tokens or CONTEXT // 8, CONTEXT // 2)

    def size(conversation: Conversation) -> int:
        return sum(len(message.content) for message in conversation.messages)

    ends = [whole, *(beginning_at(whole, begin) for begin in turn_begins(messages))]
    fits = [end for end in ends if size(end) <= CONTEXT - room]
    if fits:
        assert (await fitted(whole)).conversation == fits[0]
    elif size(ends[-1]) < CONTEXT:
        assert (await fitted(whole)).conversation == ends[-1]
    else:
        with pytest.raises(ContextTooLong):
            await fitted(whole)


def test_a_turn_begins_where_the_user_speaks_after_somebody_else() -> None:
    roles: list[Any] = ["system", "user", "user", "assistant", "tool", "assistant", "user"]
    messages = tuple(Message(role, "x") for role in roles)
    assert turn_begins(messages) == [1, 6]
    assert [message.role for message in beginning_at(Conversation(messages), 6).messages] == ["system", "user"]
