"""What a tenants file may say, and the directory that it makes."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from server.admission.classes import PriorityClass
from server.admission.strict_model import StrictModel
from server.admission.tenants import ANONYMOUS, Caller, Quota, Tenant, TenantDirectory, digest

# Shorter ones can be guessed.
_KEY_CHARACTERS = 16

_ID_DIGITS = 8


def _expanded(entry: Any) -> Any:
    """A key may be written as plain text where it needs no quota of its own."""
    return {"key": entry} if isinstance(entry, str) else entry


class KeyEntry(StrictModel):
    """One API key; a text alone stands for its `key`."""

    key: str = Field(
        description="`sha256:` and the key's digest in 64 hexadecimal digits; or `env:NAME`, an environment variable "
        "that holds the key; or the key itself, at least 16 characters.",
    )
    name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Its name in logs; else the digest's first 8 digits."
    )
    quotas: Quota | None = Field(None, description="Of this key alone, within the tenant's.")

    def digest(self) -> str:
        """The key's SHA-256. Raises ValueError that never holds the key."""
        if self.key.startswith("sha256:"):
            given = self.key.removeprefix("sha256:").lower()
            if not re.fullmatch("[0-9a-f]{64}", given):
                raise ValueError("`sha256:` must be followed by 64 hexadecimal digits")
            return given
        key = self.key
        if key.startswith("env:"):
            variable = key.removeprefix("env:")
            key = os.environ.get(variable, "").strip()
            if not key:
                raise ValueError(f"the environment variable `{variable}` is not set")
        if len(key) < _KEY_CHARACTERS:
            raise ValueError(f"an API key must have at least {_KEY_CHARACTERS} characters")
        return digest(key)


class AnonymousEntry(StrictModel):
    """What requests without a key get."""

    weight: float = Field(1.0, gt=0, le=1_000_000, description="Share of the engine against other tenants.")
    default_class: PriorityClass = Field(
        PriorityClass.STANDARD, alias="class", description="Class of requests that do not say."
    )
    max_class: PriorityClass | None = Field(
        None, description="Highest class that a request may ask for; by default `class`."
    )
    ttft_seconds: float | None = Field(None, gt=0, description="Objective: seconds to the first token.")
    total_seconds: float | None = Field(None, gt=0, description="Objective: seconds to the end of the answer.")
    thinking: bool | None = Field(None, description="Whether the model thinks when a request does not say.")
    effort: str | None = Field(None, max_length=64, description="`reasoning_effort` of requests that do not say.")
    quotas: Quota = Field(Quota(), description="Of all its requests together.")

    @model_validator(mode="after")
    def _classes_in_order(self) -> AnonymousEntry:
        if self.max_class is not None and self.max_class < self.default_class:
            raise ValueError(f"`class` {self.default_class} is above `max_class` {self.max_class}")
        return self

    def tenant(self, name: str, key_quotas: Mapping[str, Quota]) -> Tenant:
        """The tenant that this entry describes."""
        return Tenant(
            name=name,
            weight=self.weight,
            default_class=self.default_class,
            max_class=self.max_class or self.default_class,
            ttft_seconds=self.ttft_seconds,
            total_seconds=self.total_seconds,
            thinking=self.thinking,
            effort=self.effort,
            quota=self.quotas,
            key_quotas=MappingProxyType(dict(key_quotas)),
        )


class TenantEntry(AnonymousEntry):
    """One tenant."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Its name in metrics and logs.")
    keys: list[Annotated[KeyEntry, BeforeValidator(_expanded)]] = Field(
        min_length=1, description="Its API keys; any of them finds it."
    )


class TenantsFile(StrictModel):
    """The whole file."""

    tenants: list[TenantEntry] = Field([], description="Everyone who has a key.")
    anonymous: AnonymousEntry | None = Field(
        None, description="Lets requests without a key in; without this section they get 401."
    )


class Misfit(ValueError):
    """A tenants file that says something impossible. Each line names a place and what is wrong there, never a key."""


def directory(values: Any, efforts: Collection[str] | None = None) -> TenantDirectory:
    """The directory that a file's content makes; `efforts` are those that requests may ask for. Raises Misfit."""
    try:
        file = TenantsFile.model_validate({} if values is None else values)
    except ValidationError as error:
        raise Misfit("; ".join(_told(values, each) for each in error.errors(include_url=False))) from None
    if not file.tenants and file.anonymous is None:
        raise Misfit("it names no tenant and no `anonymous`, so that nobody could ask anything")
    tenants: dict[str, Tenant] = {}
    callers: dict[str, Caller] = {}
    for place, entry in enumerate(file.tenants):
        if entry.name in tenants or entry.name == ANONYMOUS:
            raise Misfit(f"tenants[{place}] ({entry.name}): the name is taken")
        tenant, digests = _tenant(entry, place)
        _check_effort(entry, efforts, f"tenants[{place}] ({entry.name})")
        tenants[entry.name] = tenant
        for number, (key_id, key_digest) in enumerate(digests):
            if key_digest in callers:
                owner = callers[key_digest].tenant.name
                raise Misfit(f"tenants[{place}] ({entry.name}).keys[{number}]: {owner} has the same key")
            callers[key_digest] = Caller(tenant, key_id)
    if file.anonymous is not None:
        _check_effort(file.anonymous, efforts, "anonymous")
    anonymous = file.anonymous.tenant(ANONYMOUS, {}) if file.anonymous is not None else None
    return TenantDirectory(tenants.values(), callers, anonymous, any_key=False)


def _check_effort(entry: AnonymousEntry, efforts: Collection[str] | None, place: str) -> None:
    """Else every request of the tenant's would be refused for a field that it did not send."""
    if efforts is not None and entry.effort is not None and entry.effort not in efforts:
        raise Misfit(f"{place}.effort: it must be one of {', '.join(efforts)}")


def _tenant(entry: TenantEntry, place: int) -> tuple[Tenant, list[tuple[str, str]]]:
    digests: list[tuple[str, str]] = []
    quotas: dict[str, Quota] = {}
    for number, key in enumerate(entry.keys):
        where = f"tenants[{place}] ({entry.name}).keys[{number}]"
        try:
            key_digest = key.digest()
        except ValueError as error:
            raise Misfit(f"{where}: {error}") from None
        key_id = key.name or key_digest[:_ID_DIGITS]
        if any(key_id == other for other, _ in digests):
            raise Misfit(f"{where}: this tenant has another key of that name")
        digests.append((key_id, key_digest))
        if key.quotas is not None:
            quotas[key_id] = key.quotas
    return entry.tenant(entry.name, quotas), digests


def _told(values: Any, error: Any) -> str:
    """One of pydantic's errors as place and reason; the value is left out, since it might be a key."""
    place = ""
    at = values
    for part in error["loc"]:
        at = _inside(at, part)
        if isinstance(part, int):
            name = at.get("name") if isinstance(at, dict) and place == "tenants" else None
            place += f"[{part}]" + (f" ({name})" if isinstance(name, str) and len(name) <= 64 else "")
        else:
            place += f".{part}" if place else str(part)
    reason = error["msg"].removeprefix("Value error, ")
    return f"{place}: {reason}" if place else reason


def _inside(value: Any, part: Any) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None
