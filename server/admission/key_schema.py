"""What files say of API keys: entries in a tenants file, and a file of keys that `qwend keys` writes."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from server.admission.key_hashes import IN_MEMORY, UNSALTED, KeyHash, is_hash, parse_hash
from server.admission.scopes import Dialect, Scopes, scopes
from server.admission.strict_model import StrictModel
from server.admission.tenants import Quota

NAME = r"^[A-Za-z0-9._-]{1,64}$"
"""What names of tenants and keys look like."""

# Shorter ones can be guessed.
_KEY_CHARACTERS = 16


class KeyEntry(StrictModel):
    """One API key; a text alone stands for its `key`."""

    key: str = Field(
        description="`blake2b:`, a salt and the key's salted digest, as `qwend keys create` gives it; or `sha256:` and "
        "its digest in 64 hexadecimal digits; or `env:NAME`, an environment variable that holds the key or one of "
        "those; or the key itself, at least 16 characters.",
    )
    name: str | None = Field(None, pattern=NAME, description="Its name in logs; else the digest's first 8 digits.")
    quotas: Quota | None = Field(None, description="Of this key alone, within the tenant's.")
    expires: datetime | None = Field(
        None, description="When it ends, such as `2027-01-31T12:00:00Z`; without a zone in UTC. No reload is needed."
    )
    models: list[Annotated[str, Field(min_length=1, max_length=256)]] | None = Field(
        None, max_length=64, description="The model names that it may ask for; `*` stands for any characters."
    )
    dialects: list[Dialect] | None = Field(None, description="The routes that it reaches; an empty list is none.")
    admin: bool = Field(False, description="Whether it opens the admin port, where that asks for a key.")

    @field_validator("expires")
    @classmethod
    def _in_a_zone(cls, expires: datetime | None) -> datetime | None:
        return expires.replace(tzinfo=UTC) if expires is not None and expires.tzinfo is None else expires

    def held(self) -> tuple[KeyHash, KeyHash]:
        """The key's hash, and the one that names it; both are the same but for a key in plain, whose hash is this
        process's own while its name must stay. Raises ValueError that never holds the key.
        """
        key = self.key
        if key.startswith("env:"):
            variable = key.removeprefix("env:")
            key = os.environ.get(variable, "").strip()
            if not key:
                raise ValueError(f"the environment variable `{variable}` is not set")
        if is_hash(key):
            known = parse_hash(key)
            return known, known
        if len(key) < _KEY_CHARACTERS:
            raise ValueError(f"an API key must have at least {_KEY_CHARACTERS} characters")
        return IN_MEMORY.hash(key), UNSALTED.hash(key)

    @property
    def expires_at(self) -> float | None:
        """Seconds since 1970."""
        return None if self.expires is None else self.expires.timestamp()

    @property
    def scopes(self) -> Scopes:
        """What it may do."""
        return scopes(self.models, self.dialects, admin=self.admin)


def expanded(entry: Any) -> Any:
    """A key may be written as plain text where it needs nothing else."""
    return {"key": entry} if isinstance(entry, str) else entry


AnyKeyEntry = Annotated[KeyEntry, BeforeValidator(expanded)]


class OwnedKeyEntry(KeyEntry):
    """One API key in a file of keys: as in a tenants file, and whose it is."""

    tenant: str = Field(pattern=NAME, description="Whose it is.")
    created: datetime | None = Field(None, description="When it was made.")


class KeysFile(StrictModel):
    """The whole file of keys."""

    keys: list[OwnedKeyEntry] = Field([], description="Every key.")
