"""Settings of the HTTP side: where it listens, and how it streams."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from server.section import Section


class ServerSettings(Section):
    """Where the daemon listens and how it ends."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Without `tenants.file` anyone who reaches it is served."
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    admin: bool = Field(True, description="Whether there is an admin port.")
    admin_host: str = Field(
        "127.0.0.1", description="Address of the admin port; any but a loopback one needs a key with the scope `admin`."
    )
    admin_port: int | None = Field(
        None, ge=0, le=65535, description="Admin TCP port; by default the one after `port`; 0 takes a free one."
    )
    admin_needs_key: bool = Field(False, description="Whether the admin port asks for a key on a loopback address too.")
    metrics_need_key: bool = Field(False, description="Whether `/metrics` asks for an API key.")
    documents: Literal["public", "key", "none"] = Field(
        "public",
        description="Who gets `/openapi.json` and `/docs`: anyone, who has a key (then without the page), or nobody.",
    )
    keep_alive_seconds: float = Field(
        15.0, ge=0, description="After how long without a frame a stream gets a comment; 0 for never."
    )
    tls_certificate: str | None = Field(
        None, description="Certificate chain in PEM: the port speaks TLS. Read again when it changes and on SIGHUP."
    )
    tls_key: str | None = Field(None, description="Key of the certificate in PEM, without a passphrase.")
    cors_origins: list[str] = Field(
        [],
        description="Origins whose web pages may call the API, such as `https://chat.example.com`; `*` is any. None by "
        "default: a page that may call it needs a key that its visitors can read.",
    )
    strict_parameters: bool = Field(False, description="Refuse request fields that are not known.")
    lame_duck_seconds: float = Field(
        0.0,
        ge=0,
        description="How long after SIGTERM requests are still taken while `/health/ready` says 503 already, so that a "
        "load balancer stops sending before any is refused: longer than its probe takes to notice.",
    )
    drain_seconds: float = Field(60.0, ge=0, description="How long running streams may go on after that.")

    @model_validator(mode="after")
    def _a_certificate_has_a_key(self) -> ServerSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("`tls_certificate` and `tls_key` need each other")
        return self

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/?#\s*]+", origin):
                raise ValueError(f"{origin!r} is no origin: scheme, host and port, without a path")
        return origins


def admin_needs_key(server: ServerSettings) -> bool:
    """Whether the admin port asks for a key: where others than this machine reach it, and where that is wished."""
    if server.admin_needs_key or server.admin_host == "localhost":
        return server.admin_needs_key
    try:
        return not ipaddress.ip_address(server.admin_host).is_loopback
    except ValueError:
        return True  # a name may lead anywhere


class ConnectionSettings(Section):
    """What a connection may cost before it brings a request; see `docs/security.md`."""

    head_bytes: int = Field(64 * 1024, ge=1024, description="Largest request line with its headers.")
    headers: int = Field(128, ge=8, description="Most headers of a request.")
    head_seconds: float = Field(20.0, gt=0, description="Longest that the head of a request may take to come.")
    body_seconds: float = Field(60.0, gt=0, description="Longest that the body of a request may take to come.")
    idle_seconds: float = Field(
        75.0,
        gt=0,
        description="After how long without a request a connection is closed: longer than a load balancer's own time, "
        "which must be the one to close.",
    )
    total: int | None = Field(20_000, ge=1, description="Most connections at a time; none is no bound.")
    per_address: int | None = Field(
        None,
        ge=1,
        description="Most connections from one address (of IPv6 its first 64 bits). Leave it out behind a proxy, whose "
        "address all of them have.",
    )


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
