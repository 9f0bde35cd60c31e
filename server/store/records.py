"""What is stored of a response, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass

UNFINISHED = ("queued", "in_progress")
"""The statuses of a response that is still being made. Such a record is never evicted and never too old."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The key that made a response, the only one that may read or delete it."""

    tenant: str
    key_id: str
    """Empty where no key was sent."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response as it stands, with what is needed to go on from it."""

    id: str
    owner: Owner
    created_at: int
    """Unix seconds."""
    status: str
    """`completed`, `incomplete`, `failed`, `cancelled`, `in_progress` or `queued`."""
    response: bytes
    """The response object, a JSON object."""
    conversation: bytes
    """JSON array of all items up to and with this request's input, in order and each with an id; those of the responses
    before it and their outputs are among them. This response's output is in `response`."""

    @property
    def size(self) -> int:
        """Bytes of its two documents, which is what the store's bounds count."""
        return len(self.response) + len(self.conversation)
