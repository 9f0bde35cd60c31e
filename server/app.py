"""Puts the rooms together into one ASGI app."""

from __future__ import annotations

import re
import time
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

import server
from server.admission.classes import PriorityClass
from server.admission.desk import Desk
from server.admission.gate import Gate
from server.admission.policy.parameters import ClassRules, Rules
from server.admission.quota_memory import MemoryStore
from server.admission.quota_redis import RedisStore
from server.admission.quotas import Quotas, WhenLost
from server.admission.tenant_file import TenantFile
from server.admission.tenants import TenantDirectory
from server.admission_settings import AdmissionSettings
from server.api import chat, completions, health, messages, models, responses, stored_responses, tokenizer, version
from server.api.auth import DOCUMENT_READER, check_policies
from server.api.document import FAILURES, describe
from server.api.documents import documents
from server.api.errors import install_error_handlers
from server.api.farewell import Farewell
from server.api.rate_headers import RateHeaders
from server.api.request_trails import RequestTrails
from server.api.service import Service
from server.dialects.answer_schema import ChatCompletionChunk, CompletionPiece, ErrorEnvelope
from server.dialects.chat_request import ChatRequest
from server.dialects.completion_request import CompletionRequest
from server.dialects.limits import Limits
from server.dialects.messages_request import CountTokensRequest, MessagesRequest
from server.dialects.messages_schema import MessageErrorEnvelope, MessageEvent
from server.dialects.responses_request import CountInputRequest, ResponsesRequest
from server.dialects.responses_schema import ResponseEvent
from server.dialects.tokenize_request import DetokenizeRequest, TokenizeRequest
from server.engine.startup_phases import StartupPhases
from server.engine.version import vllm_version
from server.generation.conversation import Sampling
from server.generation.engine_state import EngineReport
from server.generation.pipeline import Defaults, Pipeline
from server.generation.ports import Engine
from server.media.fetch import Fetcher, FetchPolicy
from server.media.images import MediaDecoder
from server.media.videos import VideoDecoder, VideoLimits
from server.settings import SamplingSettings, Settings
from server.telemetry import cost as costs
from server.telemetry.engine_metrics import count_step
from server.telemetry.metrics import IN_FLIGHT, PROMPTS
from server.telemetry.readings import read
from server.telemetry.request_lines import Later
from server.telemetry.request_log import DEFAULT_PATTERNS, Redaction, request_logger
from server.telemetry.requests import Requests, View
from server.telemetry.tracing import Tracing
from server.vitals.signs import FLOOD, KV_FULL, MEDIA_SLOW, KvFull, Refusals, SlowMedia
from server.vitals.strains import Strains
from server.vitals.vitals import Vitals


def build_service(settings: Settings, phases: StartupPhases) -> Service:
    """The daemon's state before its engine is there: it answers probes and refuses the rest.

    Raises TenantFileError when the tenants file is bad.
    """
    limits = settings.limits
    url = settings.quotas.storage_url
    quotas = Quotas(
        MemoryStore(),
        RedisStore(url.get_secret_value(), settings.quotas.storage_seconds) if url is not None else None,
        WhenLost(settings.quotas.when_unreachable),
    )
    file, keys_file = settings.tenants.file, settings.tenants.keys_file
    tracing = _tracing(settings)
    desk = Desk(
        Gate(on_change=IN_FLIGHT.set, on_end=lambda outcome: PROMPTS.labels(outcome).inc()),
        quotas,
        enabled=settings.admission.enabled,
        overload_status=settings.admission.overload_status,
        default_output_tokens=settings.quotas.default_output_tokens,
    )
    service = Service(
        desk=desk,
        vitals=Vitals(
            desk.gate,
            phase=lambda: phases.current,
            waiting=lambda: desk.waiting,
            saturated_waiting=settings.health.saturated_waiting,
        ),
        tenants=TenantFile(
            Path(file) if file is not None else None,
            lambda new: _forget(quotas, new),
            settings.generation.effort_budgets,
            Path(keys_file) if keys_file is not None else None,
            settings.tenants.private_caches,
        ),
        quotas=quotas,
        refusals=Refusals(desk.clock),
        metrics_need_key=settings.server.metrics_need_key,
        documents=settings.server.documents != "none",
        documents_need_key=settings.server.documents == "key",
        limits=Limits(
            messages=limits.messages,
            tools=limits.tools,
            schema_bytes=limits.schema_bytes,
            prompts=limits.prompts,
            tokenize_bytes=limits.tokenize_bytes,
            detokenize_tokens=limits.detokenize_tokens,
            video_frames=limits.video_frames,
        ),
        body_bytes=limits.body_bytes,
        body_values=limits.body_values,
        body_seconds=settings.connections.body_seconds,
        cors_origins=tuple(settings.server.cors_origins),
        model=settings.model.served_name,
        fingerprint=f"qwend-{server.__version__}",
        started=int(time.time()),
        strict=settings.server.strict_parameters,
        keep_alive=settings.server.keep_alive_seconds,
        patience=settings.streaming.unread_seconds or None,
        version=server.__version__,
        engine_version=vllm_version(),
        aliases=tuple(alias for alias in settings.model.aliases if "*" not in alias),
        alias_patterns=tuple(_alias_pattern(alias) for alias in settings.model.aliases if "*" in alias),
        tracing=tracing,
        logs_texts=settings.log.texts,
    )
    if settings.telemetry.enabled:
        service.requests = _requests(settings, service)
    return service


def attach_engine(service: Service, engine: Engine, settings: Settings) -> None:
    """Gives the service its engine and opens the gate."""
    limits, media, generation = settings.limits, settings.media, settings.generation
    desk, slow_media = service.desk, SlowMedia(service.desk.clock)
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
        seen=slow_media.seen,
    )
    defaults = Defaults(
        thinking=generation.thinking,
        max_tokens=generation.max_tokens,
        sampling_thinking=_sampling(generation.sampling_thinking),
        sampling_direct=_sampling(generation.sampling_direct),
        max_images=limits.images,
        max_videos=limits.videos,
        effort_budgets=generation.effort_budgets,
        stripped_lines=tuple(map(re.compile, generation.strip_system_lines)),
    )
    service.max_model_len = engine.max_model_len
    service.pipeline = Pipeline(engine, decoder, defaults)
    engine.on_step(service.desk.observe)
    if settings.telemetry.enabled:
        _watch_engine(service, engine, settings)
    kv_full = KvFull(lambda: desk.controller, lambda: read("qwend_engine_kv_used_ratio"))
    service.vitals.strains = Strains({KV_FULL: kv_full, FLOOD: service.refusals, MEDIA_SLOW: slow_media})
    service.desk.open(engine.size, admission_rules(settings.admission))


def admission_rules(settings: AdmissionSettings) -> Rules:
    """The policy's rules as the settings have them."""
    rules = settings.model_dump(exclude={"enabled", "classes", "overload_status"})
    classes = {PriorityClass(name): ClassRules(**each) for name, each in settings.classes.model_dump().items()}
    return Rules(classes=classes, **rules)


def build_app(service: Service) -> FastAPI:
    """The public API over `service`."""
    app = FastAPI(
        title="qwend", version=server.__version__, openapi_url=None, redirect_slashes=False, responses=FAILURES
    )
    app.state.service = service
    describe(
        app,
        [
            *(ChatRequest, ChatCompletionChunk),
            *(CompletionRequest, CompletionPiece),
            *(MessagesRequest, CountTokensRequest, MessageEvent, MessageErrorEnvelope),
            *(ResponsesRequest, CountInputRequest, ResponseEvent),
            *(TokenizeRequest, DetokenizeRequest),
            ErrorEnvelope,
        ],
    )
    install_error_handlers(app)
    for module in (chat, completions, messages, responses, stored_responses, tokenizer, models, version, health):
        app.include_router(module.router)
    if service.documents:
        # A browser cannot send a key with a page.
        app.include_router(documents(DOCUMENT_READER, page=not service.documents_need_key))
    check_policies(app)
    app.add_middleware(RateHeaders, quotas=service.quotas)
    app.add_middleware(Farewell, leaving=lambda: service.vitals.leaving)
    if service.cors_origins:
        # Keys come in a header that a page must set, never by themselves as cookies do.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["*"],
            allow_credentials=False,
        )
    app.add_middleware(RequestTrails, requests=service.requests, tracing=service.tracing)
    return app


def _requests(settings: Settings, service: Service) -> Requests:
    redact = Redaction([*DEFAULT_PATTERNS, *settings.log.redact])
    service.request_lines = Later(request_logger(redact))
    views: list[View] = [service.request_lines, service.refusals.seen]
    if service.tracing is not None:
        views.append(service.tracing.ended)
    requests = Requests(
        tenants=settings.telemetry.tenant_labels,
        models=service.names,
        efforts=settings.generation.effort_budgets,
        views=views,
        charge=costs.charge,
    )
    for tenant in service.tenants.directory.tenants:
        requests.tenant_label(tenant.name)
    return requests


def _tracing(settings: Settings) -> Tracing | None:
    telemetry = settings.telemetry
    if telemetry.traces_endpoint is None or not telemetry.enabled:
        return None
    return Tracing(telemetry.traces_endpoint, telemetry.traces_ratio, version=server.__version__)


def _watch_engine(service: Service, engine: Engine, settings: Settings) -> None:
    """Counts the engine's steps, and what they cost."""
    hardware, size = settings.hardware, engine.size
    hourly = (hardware.usd_per_gpu_hour or 0.0) * hardware.gpus
    if hourly:
        service.cost = costs.CostMeter(hourly, size.kv_tokens)
        costs.show(service.cost)

    def step(report: EngineReport) -> None:
        count_step(report.step_seconds, report.prefill_tokens, report.decode_tokens, report.kv_used, report.preempted)
        if service.cost is not None:
            busy = report.running + report.waiting > 0
            service.cost.step(report.step_seconds, report.prefill_tokens, report.decode_tokens, busy=busy)

    engine.on_step(step)


def _alias_pattern(alias: str) -> re.Pattern[str]:
    """What an alias with a `*` stands for; bounded, since the name that was sent goes into every frame of an answer."""
    return re.compile("[!-~]{0,128}".join(map(re.escape, alias.split("*"))))


def _forget(quotas: Quotas, directory: TenantDirectory) -> None:
    quotas.forget({(tenant.name, key_id) for tenant in directory.tenants for key_id in ("", *tenant.key_quotas)})


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
