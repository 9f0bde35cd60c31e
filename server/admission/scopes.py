"""What a key may be used for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from server.generation.errors import RequestFailed

Dialect = Literal["chat", "completions", "messages", "responses", "tokenizer", "batches"]
"""The groups of routes that a key can be bound to."""

DIALECTS: tuple[str, ...] = get_args(Dialect)


class ScopeMissing(RequestFailed):
    """The key is known and may not do this."""

    status = 403
    type = "invalid_request_error"
    code = "missing_scope"
    outcome = "unauthorized"

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"You have insufficient permissions for this operation: this API key lacks the scope `{scope}`."
        )


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a key may reach: model names (a `*` stands for any characters), dialects, the admin port. None is all."""

    models: tuple[str, ...] | None = None
    dialects: frozenset[str] | None = None
    admin: bool = False

    def check_dialect(self, dialect: str | None) -> None:
        """None is a route of no dialect, which only a key for all of them reaches. Raises ScopeMissing."""
        if self.dialects is not None and dialect not in self.dialects:
            raise ScopeMissing(f"dialects.{dialect or 'all'}")

    def check_model(self, name: str) -> None:
        """`name` as the client sent it, which the daemon serves. Raises ScopeMissing."""
        if not self.allows_model(name):
            raise ScopeMissing(f"models.{name[:128]}")

    def allows_model(self, name: str) -> bool:
        """Whether the key may ask for the model by this name."""
        return self.models is None or any(fnmatchcase(name, pattern) for pattern in self.models)

    def check_admin(self) -> None:
        """Raises ScopeMissing."""
        if not self.admin:
            raise ScopeMissing("admin")


ALL = Scopes()
"""Everything but the admin port."""


def scopes(models: Iterable[str] | None, dialects: Iterable[str] | None, *, admin: bool) -> Scopes:
    """From a file's lists."""
    return Scopes(
        None if models is None else tuple(models), None if dialects is None else frozenset(dialects), admin=admin
    )
