"""What one request costs its caller: estimated when it comes, measured when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.admission.quotas import Hold, Quotas
from server.admission.tenants import Caller
from server.generation.conversation import Conversation, TextPart
from server.generation.generation import Generation
from server.generation.ports import Permit

# English text has some four bytes in a token; an image of common size some thousand tokens.
_BYTES_PER_TOKEN = 4
_IMAGE_TOKENS = 1024

# References to what settles in the background, which would be collected otherwise.
_settling: set[asyncio.Task[None]] = set()


class MeteredPermit:
    """A permit whose end also settles the caller's quota, whatever ended it.

    Make it with `metered`. Until `measure` is told of a generation, nothing was used.
    """

    def __init__(self, permit: Permit, hold: Hold) -> None:
        self._permit = permit
        self._hold = hold
        self._generation: Generation | None = None
        self._ended = False

    def measure(self, generation: Generation) -> None:
        """What was used is this generation's prompt and answers."""
        self._generation = generation

    def on_interrupt(self, interrupt: Callable[[Exception], None]) -> None:
        """See `Permit`."""
        self._permit.on_interrupt(interrupt)

    def end(self, outcome: str) -> None:
        """Ends the permit and settles the quota in the background. Only the first call counts."""
        if self._ended:
            return
        self._ended = True
        self._permit.end(outcome)
        usage = self._generation.usage if self._generation is not None else None
        task = asyncio.ensure_future(self._hold.settle(usage.prompt + usage.completion if usage is not None else 0))
        _settling.add(task)
        task.add_done_callback(_settling.discard)


async def metered(
    permit: Permit, quotas: Quotas, caller: Caller, conversation: Conversation, default_output: int
) -> MeteredPermit:
    """Reserves what the request may cost, and gives a permit that settles it. Raises RateLimited.

    When it raises, `permit` is still the caller's to end.
    """
    return MeteredPermit(permit, await quotas.reserve(caller, estimate(conversation, default_output)))


def estimate(conversation: Conversation, default_output: int) -> int:
    """Tokens that a conversation may cost, before it is rendered: its text, its images, and what it wants answered.

    `default_output` stands for the length of an answer that the request does not bound.
    """
    text = 0
    for message in conversation.messages:
        if isinstance(message.content, str):
            text += _bytes(message.content)
        else:
            parts = [part for part in message.content if isinstance(part, TextPart)]
            text += sum(_bytes(part.text) for part in parts)
    output = conversation.max_tokens if conversation.max_tokens is not None else default_output
    return text // _BYTES_PER_TOKEN + len(conversation.images) * _IMAGE_TOKENS + output * conversation.answers


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
