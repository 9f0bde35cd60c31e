"""What a tenants file may say, and the directory that it makes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import Field, ValidationError, model_validator

from server.admission.classes import PriorityClass
from server.admission.key_hashes import KeyHash
from server.admission.key_schema import NAME, AnyKeyEntry, KeyEntry, KeysFile
from server.admission.strict_model import StrictModel
from server.admission.tenants import ANONYMOUS, Caller, IssuedKey, Quota, Tenant, TenantDirectory

# Each costs every request one more hash.
_MOST_SALTS = 8


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
    private_cache: bool | None = Field(
        None,
        description="Whether its prompts are kept apart from others' in the prefix cache; by default "
        "`tenants.private_caches`.",
    )
    shows_cost: bool = Field(False, description="Whether `usage.cost` in its answers tells their US dollars.")
    quotas: Quota = Field(Quota(), description="Of all its requests together.")

    @model_validator(mode="after")
    def _classes_in_order(self) -> AnonymousEntry:
        if self.max_class is not None and self.max_class < self.default_class:
            raise ValueError(f"`class` {self.default_class} is above `max_class` {self.max_class}")
        return self

    def tenant(self, name: str, key_quotas: Mapping[str, Quota], private: bool = False) -> Tenant:
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
            private_cache=private if self.private_cache is None else self.private_cache,
            shows_cost=self.shows_cost,
            quota=self.quotas,
            key_quotas=MappingProxyType(dict(key_quotas)),
        )


class TenantEntry(AnonymousEntry):
    """One tenant."""

    name: str = Field(pattern=NAME, description="Its name in metrics and logs.")
    keys: list[AnyKeyEntry] = Field(
        [], description="Its API keys; any of them finds it. The file of `tenants.keys_file` adds more."
    )


class TenantsFile(StrictModel):
    """The whole file."""

    tenants: list[TenantEntry] = Field([], description="Everyone who has a key.")
    anonymous: AnonymousEntry | None = Field(
        None, description="Lets requests without a key in; without this section they get 401."
    )


File = TypeVar("File", bound=StrictModel)


class Misfit(ValueError):
    """A tenants file that says something impossible. Each line names a place and what is wrong there, never a key."""


def directory(
    values: Any,
    efforts: Collection[str] | None = None,
    keys: Any = None,
    *,
    only_keys: bool = False,
    private: bool = False,
) -> TenantDirectory:
    """The directory that a tenants file's content and a keys file's make; `efforts` are those that requests may ask
    for. With `only_keys` there is no tenants file, and each tenant that a key names has the defaults. `private` is
    whether tenants are kept apart in the prefix cache that do not say.

    Raises Misfit.
    """
    file = _valid(TenantsFile, values)
    owned = _valid(KeysFile, keys).keys
    entries = list(file.tenants)
    if only_keys:
        entries = [TenantEntry(name=name) for name in dict.fromkeys(key.tenant for key in owned)]
    if not entries and file.anonymous is None:
        raise Misfit("it names no tenant and no `anonymous`, so that nobody could ask anything")
    _check_names(entries, efforts)
    # Whose keys, with where each is written.
    written: dict[str, list[tuple[str, KeyEntry]]] = {
        entry.name: [(f"tenants[{place}] ({entry.name}).keys[{number}]", key) for number, key in enumerate(entry.keys)]
        for place, entry in enumerate(entries)
    }
    for number, key in enumerate(owned):
        if key.tenant not in written:
            raise Misfit(f"the file of keys, keys[{number}]: no tenant is named {key.tenant}")
        written[key.tenant].append((f"the file of keys, keys[{number}]", key))
    tenants: list[Tenant] = []
    issued: list[IssuedKey] = []
    owners: dict[KeyHash, str] = {}
    for place, entry in enumerate(entries):
        if not written[entry.name]:
            raise Misfit(f"tenants[{place}] ({entry.name}).keys: it has no key, so that nobody could be this tenant")
        tenant, held = _tenant(entry, written[entry.name], owners, private)
        tenants.append(tenant)
        issued += held
    if len({key.hash.scheme for key in issued}) > _MOST_SALTS:
        raise Misfit(f"the keys have more than {_MOST_SALTS} different salts; `qwend keys create` gives a file one")
    if file.anonymous is not None:
        _check_effort(file.anonymous, efforts, "anonymous")
    anonymous = file.anonymous.tenant(ANONYMOUS, {}, private) if file.anonymous is not None else None
    return TenantDirectory(tenants, issued, anonymous, any_key=False)


def _valid(model: type[File], values: Any) -> File:
    values = {} if values is None else values
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Misfit("; ".join(told(values, each) for each in error.errors(include_url=False))) from None


def _check_names(entries: Collection[TenantEntry], efforts: Collection[str] | None) -> None:
    names = {ANONYMOUS}
    for place, entry in enumerate(entries):
        if entry.name in names:
            raise Misfit(f"tenants[{place}] ({entry.name}): the name is taken")
        names.add(entry.name)
        _check_effort(entry, efforts, f"tenants[{place}] ({entry.name})")


def _check_effort(entry: AnonymousEntry, efforts: Collection[str] | None, place: str) -> None:
    """Else every request of the tenant's would be refused for a field that it did not send."""
    if efforts is not None and entry.effort is not None and entry.effort not in efforts:
        raise Misfit(f"{place}.effort: it must be one of {', '.join(efforts)}")


def _tenant(
    entry: TenantEntry, keys: Collection[tuple[str, KeyEntry]], owners: dict[KeyHash, str], private: bool
) -> tuple[Tenant, list[IssuedKey]]:
    """The tenant and its keys; `owners` are those of the keys so far, by all that is known of these."""
    hashes: dict[str, tuple[KeyHash, KeyEntry]] = {}
    quotas: dict[str, Quota] = {}
    for place, key in keys:
        try:
            held, named = key.held()
        except ValueError as error:
            raise Misfit(f"{place}: {error}") from None
        for known in {held, named}:
            if known in owners:
                raise Misfit(f"{place}: {owners[known]} has the same key")
        owners[held] = owners[named] = entry.name
        key_id = key.name or named.id
        if key_id in hashes:
            raise Misfit(f"{place}: this tenant has another key of that name")
        hashes[key_id] = held, key
        if key.quotas is not None:
            quotas[key_id] = key.quotas
    tenant = entry.tenant(entry.name, quotas, private)
    return tenant, [
        IssuedKey(held, Caller(tenant, key_id, key.scopes), key.expires_at) for key_id, (held, key) in hashes.items()
    ]


def told(values: Any, error: Any) -> str:
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
