"""Who asks: tenants, the keys they are found by, and the directory that finds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import Field

from server.admission.classes import PriorityClass
from server.admission.key_hashes import KeyHash, Scheme
from server.admission.scopes import ALL, Scopes
from server.admission.strict_model import StrictModel
from server.generation.errors import RequestFailed

ANONYMOUS = "anonymous"
"""The name of the tenant of everyone who needs no key."""


class Quota(StrictModel):
    """How much a tenant, or one of its keys, may use. What is left out has no bound."""

    requests_per_minute: int | None = Field(None, ge=1, description="Most requests in any 60 s.")
    tokens_per_minute: int | None = Field(None, ge=1, description="Most tokens, of prompts and answers, in any 60 s.")
    tokens_per_day: int | None = Field(None, ge=1, description="Most tokens in any 24 hours.")
    concurrent_requests: int | None = Field(None, ge=1, description="Most requests at a time.")
    burst: float = Field(
        5.0,
        ge=1,
        le=60,
        description="How many seconds' share of a minute one second may take; 60 leaves only the minute's bound.",
    )


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer. `key_quotas` are those of single keys, by key id, beside the quota of all of them together.

    `weight` is its share against other tenants. A request is of `default_class` unless it asks for another one up to
    `max_class`. `ttft_seconds` and `total_seconds` are what it expects of its answers; `thinking` and `effort` what
    its requests get that do not say. None leaves each to the daemon's own default. With `private_cache` its prompts are
    kept apart from others' in the prefix cache. With `shows_cost` its answers tell what they cost.
    """

    name: str
    weight: float = 1.0
    default_class: PriorityClass = PriorityClass.STANDARD
    max_class: PriorityClass = PriorityClass.STANDARD
    ttft_seconds: float | None = None
    total_seconds: float | None = None
    thinking: bool | None = None
    effort: str | None = None
    private_cache: bool = False
    shows_cost: bool = False
    quota: Quota = field(default_factory=Quota)
    key_quotas: Mapping[str, Quota] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request this is: the tenant, which of its keys, and what that may do.

    The id is no secret; it is empty without a key.
    """

    tenant: Tenant
    key_id: str = ""
    scopes: Scopes = ALL

    @property
    def key_quota(self) -> Quota | None:
        """The quota of this key alone, if it has one."""
        return self.tenant.key_quotas.get(self.key_id)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was given out: what is kept of it, whom it finds, and until when (seconds since 1970; None: ever)."""

    hash: KeyHash
    caller: Caller
    expires: float | None = None


class InvalidApiKey(RequestFailed):
    """The request's API key is missing or unknown. The message never holds the key."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    outcome = "unauthorized"
    headers: Mapping[str, str] = {"www-authenticate": "Bearer"}


class ExpiredApiKey(InvalidApiKey):
    """The request's API key was good once. Only who has it is told."""

    code = "expired_api_key"


# Of a digest's 32 bytes, those by which it is looked up; the whole is compared in constant time.
_LOOKED_UP = 8


class TenantDirectory:
    """All tenants at one time. It never changes; a reload makes a new one.

    Keys are looked up by a part of their hashes and compared in constant time, and a request's key is hashed in every
    scheme whether found or not, so that the time which it takes tells nothing of a key. With `any_key` every request is
    the anonymous tenant's, whatever key it brings. `clock` gives the seconds since 1970, for the keys' expiry.
    """

    def __init__(
        self,
        tenants: Iterable[Tenant],
        keys: Iterable[IssuedKey],
        anonymous: Tenant | None,
        *,
        any_key: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tenants = tuple(tenants) + ((anonymous,) if anonymous is not None else ())
        self._issued = tuple(keys)
        found: dict[Scheme, dict[bytes, IssuedKey]] = {}
        for each in self._issued:
            found.setdefault(each.hash.scheme, {})[each.hash.digest[:_LOOKED_UP]] = each
        self._found = tuple(found.items())
        self._anonymous = Caller(anonymous) if anonymous is not None else None
        self._any_key = any_key
        self._clock = clock

    def keys(self) -> dict[str, frozenset[tuple[KeyHash, str, Scopes, float | None]]]:
        """What is known of each tenant's keys, by its name."""
        found: dict[str, set[tuple[KeyHash, str, Scopes, float | None]]] = {each.name: set() for each in self.tenants}
        for key in self._issued:
            found[key.caller.tenant.name].add((key.hash, key.caller.key_id, key.caller.scopes, key.expires))
        return {name: frozenset(keys) for name, keys in found.items()}

    @property
    def has_admin_key(self) -> bool:
        """Whether any key opens the admin port now."""
        return any(each.caller.scopes.admin and not self._expired(each) for each in self._issued)

    def find(self, key: str | None) -> Caller:
        """Whose key this is; None or an empty one is no key. Raises InvalidApiKey, and ExpiredApiKey."""
        if self._anonymous is not None and (not key or self._any_key):
            return self._anonymous
        if not key:
            raise InvalidApiKey(
                "You didn't provide an API key. Send it as `Authorization: Bearer KEY`, or in the header `x-api-key` "
                "or `api-key`."
            )
        return self.issued(key)

    def issued(self, key: str | None) -> Caller:
        """The same, where nobody is let in without a key. Raises InvalidApiKey, and ExpiredApiKey."""
        found: IssuedKey | None = None
        for scheme, keys in self._found:
            hashed = scheme.hash(key or "")
            candidate = keys.get(hashed.digest[:_LOOKED_UP])
            if candidate is not None and candidate.hash.same(hashed):
                found = candidate
        if found is None:
            raise InvalidApiKey("Incorrect API key provided." if key else "You didn't provide an API key.")
        if self._expired(found):
            raise ExpiredApiKey("This API key has expired.")
        return found.caller

    def _expired(self, key: IssuedKey) -> bool:
        return key.expires is not None and self._clock() >= key.expires


def open_directory() -> TenantDirectory:
    """The directory of a daemon without a tenants file: everyone is one tenant, with limits that stop only floods."""
    quota = Quota(requests_per_minute=60_000, tokens_per_minute=100_000_000, concurrent_requests=4096)
    anonymous = Tenant(ANONYMOUS, max_class=PriorityClass.INTERACTIVE, quota=quota)
    return TenantDirectory((), (), anonymous, any_key=True)
