"""Settings of the store of responses."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator, model_validator

from server.section import Section

_MIB = 2**20


class StoreSettings(Section):
    """Where `/v1/responses` keeps what clients may ask for again, how much of it, and for how long."""

    enabled: bool = Field(True, description="Whether responses are stored; without it nothing is kept anywhere.")
    url: SecretStr | None = Field(
        None,
        description="Any SQLAlchemy URL, such as `postgresql+psycopg://user:password@host/name` for several replicas, "
        "or `sqlite://` to keep responses in memory; by default the file `qwend/responses.sqlite` in "
        "`$XDG_STATE_HOME`, else in `~/.local/state`.",
    )
    lifetime_seconds: float = Field(30 * 86400.0, ge=1, description="How long a response is kept: 30 days.")
    max_entries: int = Field(100_000, ge=1, description="Most responses; the oldest finished ones go first.")
    max_bytes: int = Field(4096 * _MIB, ge=1024, description="Most bytes of all responses.")
    max_entries_per_key: int = Field(
        20_000, ge=1, description="Most responses of one key; all who send none share one such part."
    )
    max_bytes_per_key: int = Field(1024 * _MIB, ge=1024, description="Most bytes of one key's responses.")
    max_record_bytes: int = Field(
        64 * _MIB, ge=1024, le=512 * _MIB, description="Largest response with the whole conversation that led to it."
    )
    busy_seconds: float = Field(
        2.0, gt=0, le=60, description="Longest that a request waits for a database that is locked or does not answer."
    )

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and "://" not in url.get_secret_value():
            raise ValueError("the URL must begin with a database's name, such as `sqlite:////path` or `postgresql://`")
        return url

    @model_validator(mode="after")
    def _one_fits(self) -> StoreSettings:
        """A response that is larger than its key's whole part would push out all others and still not fit."""
        if not self.max_record_bytes <= self.max_bytes_per_key <= self.max_bytes:
            raise ValueError("must be: max_record_bytes <= max_bytes_per_key <= max_bytes")
        return self
