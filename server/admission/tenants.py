"""Who asks: tenants, the keys they are found by, and the directory that finds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import Field

from server.admission.classes import PriorityClass
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
    its requests get that do not say. None leaves each to the daemon's own default.
    """

    name: str
    weight: float = 1.0
    default_class: PriorityClass = PriorityClass.STANDARD
    max_class: PriorityClass = PriorityClass.STANDARD
    ttft_seconds: float | None = None
    total_seconds: float | None = None
    thinking: bool | None = None
    effort: str | None = None
    quota: Quota = field(default_factory=Quota)
    key_quotas: Mapping[str, Quota] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request this is: the tenant and which of its keys. The id is no secret; it is empty without a key."""

    tenant: Tenant
    key_id: str = ""

    @property
    def key_quota(self) -> Quota | None:
        """The quota of this key alone, if it has one."""
        return self.tenant.key_quotas.get(self.key_id)


class InvalidApiKey(RequestFailed):
    """The request's API key is missing or unknown. The message never holds the key."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    outcome = "unauthorized"
    headers: Mapping[str, str] = {"www-authenticate": "Bearer"}


def digest(key: str) -> str:
    """What is kept of an API key: its SHA-256, in hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class TenantDirectory:
    """All tenants at one time. It never changes; a reload makes a new one.

    Keys are looked up by their digests, so that the time which it takes tells nothing of a key. With
    `any_key` every request is the anonymous tenant's, whatever key it brings.
    """

    def __init__(
        self, tenants: Iterable[Tenant], callers: Mapping[str, Caller], anonymous: Tenant | None, *, any_key: bool
    ) -> None:
        self.tenants = tuple(tenants) + ((anonymous,) if anonymous is not None else ())
        self._callers = dict(callers)
        self._anonymous = Caller(anonymous) if anonymous is not None else None
        self._any_key = any_key

    def keys(self) -> dict[str, frozenset[str]]:
        """The digests of each tenant's keys, by its name."""
        found: dict[str, set[str]] = {tenant.name: set() for tenant in self.tenants}
        for key, caller in self._callers.items():
            found[caller.tenant.name].add(key)
        return {name: frozenset(keys) for name, keys in found.items()}

    def find(self, key: str | None) -> Caller:
        """Whose key this is; None or an empty one is no key. Raises InvalidApiKey."""
        if self._anonymous is not None and (not key or self._any_key):
            return self._anonymous
        if not key:
            raise InvalidApiKey(
                "You didn't provide an API key. Send it as `Authorization: Bearer KEY`, or in the header `x-api-key` "
                "or `api-key`."
            )
        caller = self._callers.get(digest(key))
        if caller is None:
            raise InvalidApiKey("Incorrect API key provided.")
        return caller


def open_directory() -> TenantDirectory:
    """The directory of a daemon without a tenants file: everyone is one tenant, with limits that stop only floods."""
    quota = Quota(requests_per_minute=60_000, tokens_per_minute=100_000_000, concurrent_requests=4096)
    anonymous = Tenant(ANONYMOUS, max_class=PriorityClass.INTERACTIVE, quota=quota)
    return TenantDirectory((), {}, anonymous, any_key=True)
