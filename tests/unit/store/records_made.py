"""Records for the store's tests."""

from __future__ import annotations

import json

from server.store.records import Owner, StoredResponse

ANNA = Owner("acme", "anna")
BERT = Owner("acme", "bert")
CARL = Owner("other", "anna")
NOBODY = Owner("anonymous", "")

EPOCH = 1_800_000_000


class Clock:
    """Unix seconds, turned by hand."""

    def __init__(self) -> None:
        self.now = float(EPOCH)

    def __call__(self) -> float:
        return self.now


def record(
    number: int | str, owner: Owner = ANNA, *, at: int = 0, status: str = "completed", size: int = 0, text: str = ""
) -> StoredResponse:
    """`size` is that of both documents together, where it is more than they have anyway."""
    id = f"resp_{number}"
    response = json.dumps({"id": id, "status": status, "output": [{"text": text}]}).encode()
    conversation = json.dumps([{"id": f"msg_{number}", "content": text}]).encode()
    conversation += b" " * max(0, size - len(response) - len(conversation))
    return StoredResponse(id, owner, EPOCH + at, status, response, conversation)
