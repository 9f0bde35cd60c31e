"""Puts the rooms together into one ASGI app."""

from __future__ import annotations

import time

from fastapi import FastAPI

import server
from server.admission.gate import Gate
from server.api import chat, health, models
from server.api.document import FAILURES, describe
from server.api.errors import install_error_handlers
from server.api.service import Service
from server.dialects.answer_schema import ChatCompletionChunk, ErrorEnvelope
from server.dialects.chat_request import ChatRequest
from server.dialects.limits import Limits
from server.engine.startup_phases import StartupPhases
from server.generation.conversation import Sampling
from server.generation.pipeline import Defaults, Pipeline
from server.generation.ports import Engine
from server.media.fetch import Fetcher, FetchPolicy
from server.media.images import MediaDecoder
from server.media.videos import VideoDecoder, VideoLimits
from server.settings import SamplingSettings, Settings
from server.telemetry.metrics import IN_FLIGHT, REQUESTS


def build_service(settings: Settings, phases: StartupPhases) -> Service:
    """The daemon's state before its engine is there: it answers probes and refuses the rest."""
    limits = settings.limits
    return Service(
        gate=Gate(on_change=IN_FLIGHT.set, on_end=lambda outcome: REQUESTS.labels(outcome).inc()),
        limits=Limits(
            messages=limits.messages,
            tools=limits.tools,
            schema_bytes=limits.schema_bytes,
            video_frames=limits.video_frames,
        ),
        body_bytes=limits.body_bytes,
        model=settings.model.served_name,
        fingerprint=f"qwend-{server.__version__}",
        started=int(time.time()),
        strict=settings.server.strict_parameters,
        keep_alive=settings.server.keep_alive_seconds,
        phase=lambda: phases.current,
    )


def attach_engine(service: Service, engine: Engine, settings: Settings) -> None:
    """Gives the service its engine and opens the gate."""
    limits, media, generation = settings.limits, settings.media, settings.generation
    fetcher = _fetcher(settings)
    decoder = MediaDecoder(
        max_bytes=limits.image_bytes,
        max_pixels=limits.image_pixels,
        request_pixels=limits.request_pixels,
        shown_pixels={"low": media.detail.low, "auto": media.detail.auto, "high": media.detail.high},
        threads=limits.decode_threads,
        fetcher=fetcher,
        fetched_bytes=media.fetch_request_bytes,
        videos=_video_decoder(settings, fetcher),
    )
    defaults = Defaults(
        thinking=generation.thinking,
        max_tokens=generation.max_tokens,
        sampling_thinking=_sampling(generation.sampling_thinking),
        sampling_direct=_sampling(generation.sampling_direct),
        max_images=limits.images,
        max_videos=limits.videos,
        effort_budgets=generation.effort_budgets,
    )
    service.max_model_len = engine.max_model_len
    service.pipeline = Pipeline(engine, decoder, defaults)
    service.gate.open()


def build_app(service: Service) -> FastAPI:
    """The public API over `service`."""
    app = FastAPI(title="qwend", version=server.__version__, redoc_url=None, responses=FAILURES)
    app.state.service = service
    describe(app, [ChatRequest, ChatCompletionChunk, ErrorEnvelope])
    install_error_handlers(app)
    for router in (chat.router, models.router, health.router):
        app.include_router(router)
    return app


def _fetcher(settings: Settings) -> Fetcher | None:
    media = settings.media
    if media.fetch == "off":
        return None
    return Fetcher(
        FetchPolicy(
            hosts=frozenset(media.fetch_hosts) if media.fetch == "hosts" else None,
            private_addresses=media.fetch_private,
            ports=frozenset(media.fetch_ports),
            max_bytes=settings.limits.image_bytes,
            seconds=media.fetch_seconds,
            redirects=media.fetch_redirects,
            at_once=media.fetch_at_once,
            max_video_bytes=settings.limits.video_bytes,
        )
    )


def _video_decoder(settings: Settings, fetcher: Fetcher | None) -> VideoDecoder:
    limits, video = settings.limits, settings.media.video
    return VideoDecoder(
        VideoLimits(
            max_bytes=limits.video_bytes,
            max_seconds=limits.video_seconds,
            max_frame_pixels=limits.video_frame_pixels,
            max_frames=limits.video_frames,
            pixels=video.pixels,
            seconds=video.decode_seconds,
            memory_bytes=video.decode_memory_bytes,
        ),
        fps=video.fps,
        at_once=video.decode_at_once,
        fetcher=fetcher,
    )


def _sampling(settings: SamplingSettings) -> Sampling:
    return Sampling(**settings.model_dump())
