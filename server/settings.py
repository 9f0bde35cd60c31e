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
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from server.admission_settings import AdmissionSettings
from server.deployment_settings import HardwareSettings, NodeSettings, PriceSettings, WeightsSettings
from server.engine_argument_names import engine_argument_names
from server.profile_files import Profile, ProfileError, mistakes, read_profile, suggestion
from server.section import Section

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


class LimitSettings(Section):
    """Bounds on what one request may bring."""

    body_bytes: int = Field(32 * 2**20, ge=1024, description="Largest request body in bytes.")
    body_values: int = Field(
        250_000, ge=1000, description="Most commas in a request body, which bound the time that parsing it takes."
    )
    messages: int = Field(2048, ge=1, description="Most messages in one request.")
    tools: int = Field(128, ge=0, description="Most tools in one request.")
    schema_bytes: int = Field(128 * 1024, ge=1, description="Largest schema or grammar of an answer, as JSON.")
    schema_seconds: float = Field(
        5.0,
        gt=0,
        description="Longest compilation of a schema, a grammar or a request's tools, and longest wait for it.",
    )
    schemas_at_once: int = Field(
        1, ge=1, description="Processes that compile schemas before the engine does; some 300 MiB each."
    )
    schema_memory_bytes: int = Field(2 * 2**30, ge=2**27, description="Memory that a compilation may take.")
    prompts: int = Field(128, ge=1, description="Most prompts in one completions request.")
    tokenize_bytes: int = Field(2**20, ge=1, description="Longest text for /tokenize, in bytes of UTF-8.")
    detokenize_tokens: int = Field(2**17, ge=1, description="Most token ids for /detokenize.")
    images: int = Field(16, ge=0, description="Most images in one request.")
    image_bytes: int = Field(20 * 2**20, ge=1, description="Largest encoded image in bytes.")
    image_pixels: int = Field(16_777_216, ge=1, description="Largest image in pixels, checked before it is decoded.")
    request_pixels: int = Field(
        67_108_864, ge=1, description="Most pixels of all images of one request, counted before they are made smaller."
    )
    decode_threads: int = Field(2, ge=1, description="Threads that decode images.")
    videos: int = Field(1, ge=0, description="Most videos in one request.")
    video_bytes: int = Field(
        48 * 2**20, ge=1, description="Largest encoded video in bytes; in a data: URL `body_bytes` comes first."
    )
    video_seconds: float = Field(600.0, gt=0, description="Longest video in seconds.")
    video_frames: int = Field(
        768, ge=2, description="Most frames that are sampled from a video; from a longer one they are farther apart."
    )
    video_frame_pixels: int = Field(
        8_847_360, ge=1, description="Largest frame of a video in pixels, checked before it is decoded: 4096x2160."
    )


class DetailSettings(Section):
    """To how many pixels an image is made smaller by its `detail`; Qwen3.5 spends one token on 32x32 pixels."""

    low: int = Field(262_144, ge=1, description="Pixels of an image with `detail` low: 512x512, some 256 tokens.")
    auto: int = Field(16_777_216, ge=1, description="Pixels of an image with `detail` auto or none.")
    high: int = Field(16_777_216, ge=1, description="Pixels of an image with `detail` high.")


class VideoSettings(Section):
    """How videos are sampled and decoded; the first two are what Qwen3.5 was trained with."""

    fps: float = Field(2.0, gt=0, le=60, description="Frames that are sampled from each second.")
    pixels: int = Field(
        25_165_824,
        ge=2048,
        description="Pixels of all frames together, to which they are made smaller; a token is 2 frames of 32x32.",
    )
    decode_seconds: float = Field(20.0, gt=0, description="Longest decoding of one video, and longest wait for it.")
    decode_memory_bytes: int = Field(
        2 * 2**30, ge=2**28, description="Address space of a process that decodes a video."
    )
    decode_at_once: int = Field(2, ge=1, description="Most videos decoded at a time, each in a process of its own.")


class MediaSettings(Section):
    """Whether and how images and videos are fetched from http(s) addresses, and how large the model sees them."""

    fetch: Literal["off", "hosts", "public"] = Field(
        "off",
        description="What is fetched: nothing, from the hosts in `fetch_hosts`, or from any public address.",
    )
    fetch_hosts: list[str] = Field(
        [], description="Hosts that images are fetched from; `*.example.com` is every name below example.com."
    )
    fetch_private: bool = Field(
        False, description="Whether hosts in `fetch_hosts` may be on a private network; this machine is never fetched."
    )
    fetch_ports: list[int] = Field([80, 443], description="Ports that images are fetched from.")
    fetch_seconds: float = Field(10.0, gt=0, description="Longest fetch, from the look-up to the last byte.")
    fetch_redirects: int = Field(3, ge=0, description="Most redirects in one fetch; each is checked like the first.")
    fetch_request_bytes: int = Field(64 * 2**20, ge=1, description="Most bytes fetched for one request.")
    fetch_at_once: int = Field(64, ge=1, description="Most fetches of the whole daemon at a time; others wait.")
    detail: DetailSettings = DetailSettings()
    video: VideoSettings = VideoSettings()

    @field_validator("fetch", mode="before")
    @classmethod
    def _off_is_a_word(cls, fetch: object) -> object:
        """YAML reads a bare `off` as false."""
        return "off" if fetch is False else fetch

    @model_validator(mode="after")
    def _hosts_are_used(self) -> MediaSettings:
        """A list that has no effect would be taken for a protection."""
        if self.fetch == "hosts" and not self.fetch_hosts:
            raise ValueError("`fetch: hosts` needs `fetch_hosts`")
        if self.fetch == "public" and (self.fetch_hosts or self.fetch_private):
            raise ValueError("`fetch_hosts` and `fetch_private` have no effect with `fetch: public`")
        return self


class ServerSettings(Section):
    """Where the daemon listens and how it ends."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Without `tenants.file` anyone who reaches it is served."
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    admin: bool = Field(True, description="Whether there is an admin port.")
    admin_host: str = Field("127.0.0.1", description="Address of the admin port. It asks for no key: keep it private.")
    admin_port: int | None = Field(
        None, ge=0, le=65535, description="Admin TCP port; by default the one after `port`; 0 takes a free one."
    )
    metrics_need_key: bool = Field(False, description="Whether `/metrics` asks for an API key.")
    keep_alive_seconds: float = Field(
        15.0, ge=0, description="After how long without a frame a stream gets a comment; 0 for never."
    )
    strict_parameters: bool = Field(False, description="Refuse request fields that are not known.")
    drain_seconds: float = Field(60.0, ge=0, description="How long running streams may go on after SIGTERM.")


class StreamingSettings(Section):
    """How streams are sent; see `docs/frontend.md`."""

    hold_seconds: float = Field(
        0.04,
        ge=0,
        le=5,
        description="Longest that a token is held back to share a frame with later ones while the event loop is behind;"
        " 0 holds none.",
    )
    behind: float = Field(
        0.8, gt=0, le=1, description="Part of the time between two steps above which serving one is being behind."
    )
    unread_seconds: float = Field(
        30.0, ge=0, description="After how long a client that reads nothing of its stream is cut off; 0 for never."
    )


class TenantSettings(Section):
    """Who may ask."""

    file: str | None = Field(
        None, description="The tenants file; see `config/tenants.example.yaml`. Without it nobody needs a key."
    )


class QuotaSettings(Section):
    """Where quotas are counted, and what is counted before it is known."""

    storage_url: SecretStr | None = Field(
        None,
        description="A Redis that several replicas share, such as `redis://host:6379/0`; by default each counts alone.",
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
    streaming: StreamingSettings = StreamingSettings()
    tenants: TenantSettings = TenantSettings()
    quotas: QuotaSettings = QuotaSettings()
    admission: AdmissionSettings = AdmissionSettings()
    prices: PriceSettings = PriceSettings()
    log: LogSettings = LogSettings()

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
