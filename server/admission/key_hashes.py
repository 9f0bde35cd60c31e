"""API keys: how they are made, and what is kept of them in their place.

A key of ours has 256 random bits, so that a fast hash is right. A slow one (scrypt, argon2) makes each guess dear where
people choose passwords of 30 bits; here it would only let each request, with whatever key, cost the event loop 50 ms.
The salt keeps two files with the same key from showing it, and tables made beforehand from being of use.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

PREFIX = "sk-qwend-"
"""What keys made here begin with, so that scanners for lost secrets find them."""

_SALTED, _UNSALTED = "blake2b", "sha256"
_SALT_BYTES, _DIGEST_BYTES = 16, 32
_FORM = re.compile(rf"{_SALTED}:([0-9a-f]{{{2 * _SALT_BYTES}}}):([0-9a-f]{{{2 * _DIGEST_BYTES}}})")

_ID_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to hash a key: BLAKE2b with a salt of 16 bytes, or SHA-256 where there is none."""

    salt: bytes = b""

    def hash(self, key: str) -> KeyHash:
        """The key's hash; microseconds, whatever the key."""
        encoded = key.encode("utf-8", "surrogateescape")
        if not self.salt:
            return KeyHash(self, hashlib.sha256(encoded).digest())
        return KeyHash(self, hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES, salt=self.salt).digest())


@dataclass(frozen=True, slots=True)
class KeyHash:
    """A key's hash, 32 bytes. It is no secret, but who has it can check guesses."""

    scheme: Scheme
    digest: bytes

    def __str__(self) -> str:
        """As files have it: `blake2b:SALT:DIGEST` or `sha256:DIGEST`, in hexadecimal digits."""
        salt = self.scheme.salt
        return f"{_SALTED}:{salt.hex()}:{self.digest.hex()}" if salt else f"{_UNSALTED}:{self.digest.hex()}"

    @property
    def id(self) -> str:
        """A name for logs: the digest's first 8 digits."""
        return self.digest.hex()[:_ID_DIGITS]

    def same(self, other: KeyHash) -> bool:
        """Whether both are the same, in a time that does not tell how much of them is."""
        return self.scheme == other.scheme and hmac.compare_digest(self.digest, other.digest)


UNSALTED = Scheme()
"""SHA-256, for `sha256:` entries that people made with `sha256sum`. Of a random key it tells nothing either."""

IN_MEMORY = Scheme(secrets.token_bytes(_SALT_BYTES))
"""This process's own, for keys that a file or the environment has in plain."""


def new_scheme() -> Scheme:
    """One with a fresh salt, for a new file of keys."""
    return Scheme(secrets.token_bytes(_SALT_BYTES))


def new_key() -> str:
    """A key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def is_hash(text: str) -> bool:
    """Whether `text` is meant for a hash and not for a key."""
    return text.startswith((f"{_SALTED}:", f"{_UNSALTED}:"))


def parse_hash(text: str) -> KeyHash:
    """A hash as files have it. Raises ValueError that never holds the text, which might be a key."""
    kind, _, rest = text.strip().lower().partition(":")
    if kind == _UNSALTED:
        if not re.fullmatch(f"[0-9a-f]{{{2 * _DIGEST_BYTES}}}", rest):
            raise ValueError("`sha256:` must be followed by 64 hexadecimal digits")
        return KeyHash(UNSALTED, bytes.fromhex(rest))
    found = _FORM.fullmatch(f"{kind}:{rest}")
    if found is None:
        raise ValueError("`blake2b:` must be followed by a salt of 32 and a digest of 64 hexadecimal digits")
    salt, digest = map(bytes.fromhex, found.groups())
    if not any(salt):
        raise ValueError("the salt is nothing but zeros")
    return KeyHash(Scheme(salt), digest)
