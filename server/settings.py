"""One typed tree of settings: profile file < environment < flags.

A profile is a YAML file in `config/profiles/`; see `docs/profiles.md`. Any setting can be overridden by an environment
variable: QWEND_, then the path with two underscores between its parts, such as QWEND_SERVER__PORT=9000. Flags of
`qwend serve` win.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from server.admission_settings import AdmissionSettings
from server.deployment_settings import (
    DeploymentSettings,
    HardwareSettings,
    NodeSettings,
    PriceSettings,
    WeightsSettings,
)
from server.engine_argument_names import engine_argument_names
from server.front_settings import ConnectionSettings, ServerSettings, StreamingSettings
from server.health_settings import HealthSettings, SuperviseSettings
from server.limit_settings import LimitSettings, MediaSettings
from server.profile_files import Profile, ProfileError, mistakes, read_profile, suggestion
from server.section import Section
from server.store_settings import StoreSettings
from server.telemetry_settings import TelemetrySettings

_LONGEST_PATTERN = 256

EMBEDDED = "embedded"
"""The model path that means the reference checkpoint inside this package."""


class ModelSettings(Section):
    """Which weights are served, and under what name."""

    path: str = Field(EMBEDDED, description="Checkpoint folder or hub id; `embedded` is the reference checkpoint.")
    name: str | None = Field(None, description="Model name that clients send; by default the path's last part.")
    aliases: list[str] = Field(
        [],
        description="Further names that clients may send; answers carry the name sent. One `*` stands for any "
        "characters, as in `claude-*`.",
    )
    max_model_len: int | None = Field(
        None, ge=16, description="Context length in tokens, prompt and answer together; by default the model's own."
    )

    @field_validator("aliases")
    @classmethod
    def _few_stars(cls, aliases: list[str]) -> list[str]:
        """Several would be tried in many ways on a stranger's name."""
        if any(alias.count("*") > 1 for alias in aliases):
            raise ValueError("an alias may have one `*`")
        return aliases

    @property
    def served_name(self) -> str:
        """The name in /v1/models and in every answer."""
        return self.name or self.path.rstrip("/").rsplit("/", 1)[-1]


class SamplingSettings(Section):
    """Sampling that a request gets when it does not say."""

    temperature: float | None = Field(None, ge=0, le=2, description="0 draws the most likely token.")
    top_p: float | None = Field(None, gt=0, le=1, description="Nucleus sampling.")
    top_k: int | None = Field(None, ge=0, description="Number of candidates; 0 means all.")
    min_p: float | None = Field(None, ge=0, le=1, description="Least probability beside the likeliest token's.")
    presence_penalty: float | None = Field(None, ge=-2, le=2, description="Against tokens already present.")
    repetition_penalty: float | None = Field(None, gt=0, le=10, description="Against repetition; 1 is none.")


class GenerationSettings(Section):
    """Defaults of an answer."""

    thinking: bool = Field(True, description="Whether the model thinks when the request does not say.")
    max_tokens: int | None = Field(
        None, ge=1, description="Longest answer, thinking included, when the request does not say; else the context."
    )
    effort_budgets: dict[str, int | None] = Field(
        {"none": 0, "minimal": 512, "low": 2048, "medium": 8192, "high": 32768, "xhigh": None, "max": None},
        description="Most thinking tokens by `reasoning_effort`: 0 is no thinking, none no bound.",
    )
    strip_system_lines: list[str] = Field(
        [r"x-anthropic-billing-header:"],
        max_length=16,
        description="Regular expressions; lines of system text that begin as one of them says are left out. They keep "
        "what agents change in every request from making each prompt a new one to the prefix cache.",
    )
    sampling_thinking: SamplingSettings = Field(SamplingSettings(), description="Sampling with thinking on.")
    sampling_direct: SamplingSettings = Field(SamplingSettings(), description="Sampling with thinking off.")

    @field_validator("strip_system_lines")
    @classmethod
    def _are_patterns(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            if len(pattern) > _LONGEST_PATTERN:
                raise ValueError(f"a pattern may have {_LONGEST_PATTERN} characters")
            try:
                compiled = re.compile(pattern)
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
            if compiled.match(""):
                raise ValueError(f"{pattern!r} takes every line")
        return patterns


class TenantSettings(Section):
    """Who may ask."""

    file: str | None = Field(
        None, description="The tenants file; see `config/tenants.example.yaml`. Without it nobody needs a key."
    )
    private_caches: bool = Field(
        False,
        description="Whether tenants that do not say are kept apart in the prefix cache, so that none can tell by time "
        "what others ask. Prompts that they share are then computed for each of them.",
    )
    keys_file: str | None = Field(
        None,
        description="A file of keys that `qwend keys` writes, beside the tenants file or alone: its tenants then have "
        "every default.",
    )


class QuotaSettings(Section):
    """Where quotas are counted, and what is counted before it is known."""

    storage_url: SecretStr | None = Field(
        None,
        description="A Redis that several replicas share, such as `redis://host:6379/0`; by default each counts alone.",
    )
    storage_seconds: float = Field(
        0.2, gt=0, description="Longest that this Redis may take to answer; a request waits for it that long at most."
    )
    when_unreachable: Literal["local", "refuse", "allow"] = Field(
        "local",
        description="What holds while that Redis does not answer: the same limits in each replica alone, none of those "
        "who have limits (503 `quota_store_unavailable`), or no limit at all.",
    )
    default_output_tokens: int = Field(
        1024, ge=1, description="Tokens reserved for an answer whose request does not bound it."
    )

    @field_validator("storage_url")
    @classmethod
    def _is_a_redis(cls, url: SecretStr | None) -> SecretStr | None:
        schemes = ("redis", "rediss", "redis+unix", "redis+sentinel", "redis+cluster")
        if url is not None and url.get_secret_value().partition("://")[0] not in schemes:
            raise ValueError(f"the URL must begin with one of {', '.join(f'{scheme}://' for scheme in schemes)}")
        return url


class LogSettings(Section):
    """What is logged and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level of our own log lines.")
    engine_level: Literal["debug", "info", "warning", "error"] = Field(
        "error", description="Least level of vLLM's log lines."
    )
    format: Literal["console", "json"] = Field("console", description="`json` writes one object a line.")
    texts: bool = Field(False, description="Whether prompts and answers are in a request's log line, redacted.")
    redact: list[str] = Field(
        [],
        max_length=64,
        description="Regular expressions; what they match of logged texts is left out, beside e-mail addresses, keys "
        "and card numbers.",
    )

    @field_validator("redact")
    @classmethod
    def _are_patterns(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return patterns


class Settings(BaseSettings):
    """The whole tree. Build it with `load`."""

    model_config = SettingsConfigDict(
        env_prefix="QWEND_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    profile: str = Field("", description="Name of the profile that these settings came from; set by the loader.")
    extends: str | None = Field(None, description="The profile that this one starts from; only in a profile's file.")
    description: str = Field("", description="What the profile is for, in one line.")
    hardware: HardwareSettings = HardwareSettings()
    weights: WeightsSettings = WeightsSettings()
    model: ModelSettings = ModelSettings()
    engine: dict[str, Any] = Field(
        {}, description="Arguments of vLLM's AsyncEngineArgs, by their Python names; none leaves one to vLLM."
    )
    engine_environment: dict[str, str] = Field({}, description="Environment variables for the engine's processes.")
    reasons: dict[str, str] = Field(
        {}, description="Why an engine argument or variable is as it is; `qwend profiles show` prints it."
    )
    node: NodeSettings = NodeSettings()
    generation: GenerationSettings = GenerationSettings()
    limits: LimitSettings = LimitSettings()
    media: MediaSettings = MediaSettings()
    server: ServerSettings = ServerSettings()
    connections: ConnectionSettings = ConnectionSettings()
    streaming: StreamingSettings = StreamingSettings()
    responses_store: StoreSettings = StoreSettings()
    health: HealthSettings = HealthSettings()
    supervise: SuperviseSettings = SuperviseSettings()
    tenants: TenantSettings = TenantSettings()
    quotas: QuotaSettings = QuotaSettings()
    admission: AdmissionSettings = AdmissionSettings()
    prices: PriceSettings = PriceSettings()
    deployment: DeploymentSettings = DeploymentSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @field_validator("engine")
    @classmethod
    def _read_scalars(cls, engine: dict[str, Any]) -> dict[str, Any]:
        """Numbers and booleans from the environment arrive as text; they mean what they would in a profile."""
        return {
            name: cls._read_scalars(value)
            if isinstance(value, dict)
            else yaml.safe_load(value)
            if isinstance(value, str)
            else value
            for name, value in engine.items()
        }

    @field_validator("engine_environment")
    @classmethod
    def _in_capitals(cls, environment: dict[str, str]) -> dict[str, str]:
        """Names that come out of our own environment have lost them, and stand after the profile's."""
        return {name.upper(): value for name, value in environment.items()}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then the profile file (`_profile`, put aside by `load`)."""
        values = dict(init_settings())
        profile = values.pop("_profile", {})
        return (
            InitSettingsSource(settings_cls, values),
            env_settings,
            InitSettingsSource(settings_cls, profile),
        )


def load(profile: str, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings from a profile's name or file, the environment and `flags` (nested like the tree).

    Raises ProfileError, with a line for each mistake that names the file, variable or flag, the key and what was
    probably meant.
    """
    found = read_profile(profile, known_keys)
    wrong = [*_environment_mistakes(), *_needless_reasons(found)]
    if wrong:
        raise ProfileError("\n".join(wrong))
    profile_values = {**found.values, "profile": found.name, "reasons": _reasons(found, flags or {})}
    try:
        return Settings(_profile=profile_values, **dict(flags or {}))  # type: ignore[call-arg]
    except ValidationError as error:
        lines = [_told(each["loc"], each["msg"], found, flags or {}) for each in error.errors(include_url=False)]
        raise ProfileError("\n".join(lines)) from error


def known_keys(path: tuple[str, ...]) -> Collection[str] | None:
    """The keys that the settings have at `path`, below `engine` those of the installed vLLM; None where any may be."""
    section: type[BaseModel] = Settings
    for depth, key in enumerate(path):
        inner = section.model_fields[key].annotation
        if not (inspect.isclass(inner) and issubclass(inner, BaseModel)):
            return engine_argument_names() or None if path[: depth + 1] == ("engine",) == path else None
        section = inner
    return [name for name in section.model_fields if name != "profile"]


_PREFIX, _BETWEEN = "QWEND_", "__"


def _environment_mistakes() -> Iterator[str]:
    """Variables that are meant for the settings, to tell by the two underscores, and name none."""
    for variable in sorted(os.environ):
        if variable.startswith(_PREFIX) and _BETWEEN in variable:
            path = tuple(variable.removeprefix(_PREFIX).lower().split(_BETWEEN))
            nested: Any = None
            for key in reversed(path):
                nested = {key: nested}
            yield from (f"environment variable {variable}: {mistake}" for mistake in mistakes(nested, known_keys))


def _reasons(found: Profile, flags: Mapping[str, Any]) -> dict[str, str]:
    """The profile's reasons, without those of values that were replaced where no reason was given."""
    reasons = dict(found.values.get("reasons") or {})
    for section in ("engine", "engine_environment"):
        for name in found.values.get(section) or {}:
            chosen, explained = found.source((section, name)), found.source(("reasons", name))
            if chosen != explained and chosen is not None:
                files = [file for file, _ in found.files]
                if explained is None or files.index(chosen) < files.index(explained):
                    reasons[name] = f"Set in {chosen}, which gives no reason."
    for name in flags.get("engine", {}):
        reasons[name] = "Set on the command line."
    for variable in os.environ:
        section, _, name = variable.removeprefix(_PREFIX).partition(_BETWEEN)
        if variable.startswith(_PREFIX) and section in ("ENGINE", "ENGINE_ENVIRONMENT"):
            name = name.partition(_BETWEEN)[0]  # a part of an argument that is a mapping
            reasons[name.lower() if section == "ENGINE" else name] = f"Set by the environment variable {variable}."
    return reasons


def _needless_reasons(found: Profile) -> Iterator[str]:
    """A reason of nothing is a misspelt one."""
    set_here = {*(found.values.get("engine") or {}), *(found.values.get("engine_environment") or {})}
    for name in found.values.get("reasons") or {}:
        if name not in set_here:
            nearest = suggestion(name, set_here, ("reasons",))
            yield f"{found.source(('reasons', name))}: `reasons.{name}` explains nothing{nearest}"


def _told(place: tuple[int | str, ...], message: str, found: Profile, flags: Mapping[str, Any]) -> str:
    """One line about a wrong value: where it was set, the setting, what is wrong."""
    path = tuple(map(str, place))
    variable = _PREFIX + _BETWEEN.join(path).upper()
    given: Any = flags
    for key in path:
        given = given.get(key) if isinstance(given, Mapping) else None
    if given is not None:
        origin = "command line"
    elif variable in os.environ:
        origin = f"environment variable {variable}"
    else:
        origin = str(next((file for end in range(len(path), 0, -1) if (file := found.source(path[:end]))), "settings"))
    return f"{origin}: `{'.'.join(path)}`: {message}"
