"""Settings of what a request may bring: limits, and media from strangers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from server.section import Section


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
