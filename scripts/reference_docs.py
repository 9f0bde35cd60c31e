"""Writes docs/reference.md (settings, routes, metrics) and the table in docs/profiles.md, read from code and profiles.

python scripts/reference_docs.py           # writes them; a test fails when they are out of date
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from fastapi import FastAPI
from fastapi.routing import APIRoute
from prometheus_client import Counter, Gauge, Histogram
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from server import telemetry
from server.admission.scopes import DIALECTS
from server.admission.tenant_schema import AnonymousEntry, TenantsFile
from server.admission.tenants import Quota
from server.api.admin import Controls, build_admin_app
from server.api.auth import policies
from server.api.routes import flat_routes
from server.app import build_app, build_service
from server.dialects.chat_request import ChatRequest
from server.dialects.completion_request import CompletionRequest
from server.dialects.decisions import Decision
from server.dialects.messages_request import CountTokensRequest, MessagesRequest
from server.dialects.responses_request import ResponsesRequest
from server.dialects.tokenize_request import DetokenizeRequest, TokenizeChatRequest, TokenizeTextRequest
from server.engine.startup_phases import StartupPhases
from server.profile_files import profiles
from server.settings import Settings, load

TARGET = Path(__file__).parents[1] / "docs" / "reference.md"
PROFILES = TARGET.with_name("profiles.md")
_TABLE_BEGINS, _TABLE_ENDS = "<!-- profiles -->", "<!-- /profiles -->"

HEAD = """# Reference

Made by `scripts/reference_docs.py` from the code; a test fails when it is out of date.
"""


UNKNOWN = (
    "A field that is not listed is accepted, has no effect and is named in the response header "
    "`x-qwend-ignored-parameters`; with `server.strict_parameters` it is refused."
)
_POLICIES = {
    "public": "anyone",
    "any_key": "whoever has a key",
    "with_key": "whoever has a key that is not bound to dialects",
    **{f"{dialect}_key": f"whoever has a key for `{dialect}`" for dialect in DIALECTS},
    "metrics_reader": "anyone, or whoever has a key with `server.metrics_need_key`",
    "document_reader": "anyone, or whoever has a key with `server.documents: key`",
    "admin": "whoever reaches a loopback port, else who has a key with the scope `admin`; no web page",
}


def render() -> str:
    parts = [HEAD, "## Settings", _text(sys.modules["server.settings"].__doc__), _settings()]
    at = build_service(Settings(), StartupPhases(lambda phase, seconds: None))
    admin = build_admin_app(Controls(at.tenants, at.quotas, at.desk, lambda: None, lambda: at.gate.state, lambda: 0))
    parts += ["## Routes", _routes(build_app(at)), "## Routes of the admin port", _routes(admin)]
    parts += ["## Metrics", _metrics(), "## Fields of a tenants file", _tenants()]
    parts += ["## Fields of a chat request", _fields(ChatRequest), UNKNOWN]
    parts += ["## Fields of a completions request", _text(sys.modules[CompletionRequest.__module__].__doc__)]
    parts += [_fields(CompletionRequest), UNKNOWN]
    parts += ["## Fields of a messages request", _text(sys.modules[MessagesRequest.__module__].__doc__)]
    parts += [_fields(MessagesRequest), UNKNOWN]
    parts += ["`POST /v1/messages/count_tokens` takes the same fields, but"]
    parts += [_fields(CountTokensRequest, beside=MessagesRequest)]
    parts += ["## Fields of a responses request", _text(sys.modules[ResponsesRequest.__module__].__doc__)]
    parts += [_fields(ResponsesRequest), UNKNOWN, "`POST /v1/responses/input_tokens` takes the same fields."]
    parts += ["## Fields of a tokenizer request", "`POST /tokenize` with a text:", _fields(TokenizeTextRequest)]
    parts += ["`POST /tokenize` with a conversation takes every field of a chat request, and"]
    parts += [_fields(TokenizeChatRequest, beside=ChatRequest), "`POST /detokenize`:", _fields(DetokenizeRequest)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def with_profiles(document: str) -> str:
    """docs/profiles.md with its table made anew."""
    head, _, rest = document.partition(_TABLE_BEGINS)
    _, _, tail = rest.partition(_TABLE_ENDS)
    return f"{head}{_TABLE_BEGINS}\n{_profiles()}\n{_TABLE_ENDS}{tail}"


def _profiles() -> str:
    rows = [("profile", "hardware", "weights", "parallel", "KV cache", "context", "for")]
    for name in sorted(profiles()):
        settings = load(name)
        hardware, engine = settings.hardware, settings.engine
        nodes = f"{hardware.nodes} nodes of " if hardware.nodes > 1 else ""
        machine = (
            f"{nodes}{hardware.gpus_per_node}x {hardware.gpu}"
            if hardware.gpu
            else "CPU"
            if settings.model.max_model_len
            else "any"
        )
        sizes = [
            f"{short} {engine[argument]}"
            for short, argument in (
                ("DP", "data_parallel_size"),
                ("TP", "tensor_parallel_size"),
                ("PP", "pipeline_parallel_size"),
            )
            if engine.get(argument, 1) > 1
        ]
        sizes += ["EP"] if engine.get("enable_expert_parallel") else []
        sizes += (
            [f"MTP {engine['speculative_config']['num_speculative_tokens']}"] if "speculative_config" in engine else []
        )
        length = f"{settings.model.max_model_len:,}" if settings.model.max_model_len else "the model's"
        cache = "FP8" if engine.get("kv_cache_dtype") == "fp8" else "BF16"
        weights = settings.weights.precision if settings.weights.shapes else ""
        rows.append((f"`{name}`", machine, weights, ", ".join(sizes) or "no", cache, length, settings.description))
    return _table(rows)


def _settings() -> str:
    rows = [("setting", "environment variable", "default", "what it is")]

    def walk(model: type[BaseModel], path: tuple[str, ...]) -> None:
        for name, field in model.model_fields.items():
            here = (*path, name)
            section = field.annotation
            if inspect.isclass(section) and issubclass(section, BaseModel):
                walk(section, here)
            elif name != "profile":
                variable = "QWEND_" + "__".join(here).upper()
                default = field.get_default(call_default_factory=True)
                shown = "none" if default is None else str(default)
                rows.append((f"`{'.'.join(here)}`", f"`{variable}`", f"`{shown}`", _described(field)))

    walk(Settings, ())
    return _table(rows)


def _routes(app: FastAPI) -> str:
    rows = [("route", "who may", "what it does")]
    who = policies(app)
    for route in flat_routes(app.routes):
        if isinstance(route, APIRoute):
            for method in sorted(route.methods or ()):
                rows.append((f"`{method} {route.path}`", _POLICIES[who[route.path]], _text(route.description)))
    return _table(sorted(rows[1:], key=lambda row: row[0].split()[1]), head=rows[0])


def _tenants() -> str:
    rows = [("field", "default", "what it is")]

    def walk(model: type[BaseModel], path: str) -> None:
        for name, field in model.model_fields.items():
            here = f"{path}{field.alias or name}"
            inner, many = _model_in(field.annotation)
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            shown = "required" if field.is_required() else "none" if default is None else f"`{default}`"
            rows.append((f"`{here}`", "" if inner else shown, _described(field)))
            # An anonymous tenant's fields are a tenant's, told there already.
            if inner is not None and inner is not AnonymousEntry and not (inner is Quota and "keys" in path):
                walk(inner, f"{here}{'[]' if many else ''}.")

    walk(TenantsFile, "")
    return _table(rows) + "\n\n`anonymous` has a tenant's fields but `name` and `keys`, a key's `quotas` a tenant's."


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model that a field holds, and whether it holds a list of them."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation, False
    many = get_origin(annotation) is list
    for inner in get_args(annotation):
        found, deeper = _model_in(inner)
        if found is not None:
            return found, many or deeper
    return None, False


def _metrics() -> str:
    rows = [("metric", "type", "unit", "labels", "what it says")]
    for metric in own_metrics():
        name = metric._name + ("_total" if isinstance(metric, Counter) else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "none"
        rows.append((f"`{name}`", type(metric).__name__.lower(), unit(metric._name), labels, metric._documentation))
    return (
        _table(rows) + "\n\nvLLM's own metrics, `vllm:*`, are in the same answer, and `process_*` and `python_*` of "
        "the front end's process: `process_cpu_seconds_total` is its CPU time."
    )


def own_metrics() -> list[Counter | Gauge | Histogram]:
    """Every metric that a module of server.telemetry has at its top."""
    names = sorted(name for _, name, _ in pkgutil.iter_modules(telemetry.__path__))
    modules = [importlib.import_module(f"server.telemetry.{name}") for name in names]
    found = {id(metric): metric for module in modules for metric in vars(module).values()}
    return [metric for metric in found.values() if isinstance(metric, Counter | Gauge | Histogram)]


def unit(name: str) -> str:
    """A metric's unit, by its name: what is not measured is counted."""
    units = ("seconds", "bytes", "ratio", "dollars_per_million_tokens", "dollars_per_hour", "dollars", "tokens")
    return next((each.replace("_", " ") for each in units if name.endswith(f"_{each}")), "count")


def _fields(model: type[BaseModel], beside: type[BaseModel] | None = None) -> str:
    """The table of a request's fields; of those that differ from another request's, if that is given."""
    schema = model.model_json_schema()["properties"]
    order = [Decision.SUPPORTED, Decision.IGNORED, Decision.REFUSED]
    rows = []
    for name, field in model.model_fields.items():
        if beside is not None and _described(field) == _described(beside.model_fields.get(name, FieldInfo())):
            continue
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        decision = str(extra.get("decision", Decision.SUPPORTED))
        allowed = "nothing" if decision == Decision.REFUSED else _allowed(schema[name])
        shown = f"`{name}`" + (" (required)" if field.is_required() else "")
        rows.append((not field.is_required(), order.index(decision), (shown, decision, allowed, _described(field))))
    rows.sort(key=lambda row: row[:2])
    head = ("field", "decision", "allowed", "what it does, or why it does nothing")
    return _table([row[2] for row in rows], head=head)


def _allowed(schema: dict[str, Any]) -> str:
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    return " or ".join(map(_one, options))


def _one(schema: dict[str, Any]) -> str:
    if "$ref" in schema or "oneOf" in schema:
        return "object"
    if "const" in schema:
        return f"only `{schema['const']}`".lower()
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in schema
    ]
    return " ".join([schema.get("type", "any"), ", ".join(bounds)]).strip()


def _described(field: FieldInfo) -> str:
    return field.description or ""


def _text(doc: str | None) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(doc or ""))


def _table(rows: list[tuple[str, ...]], head: tuple[str, ...] | None = None) -> str:
    if head is None:
        head, rows = rows[0], rows[1:]
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    PROFILES.write_text(with_profiles(PROFILES.read_text(encoding="utf-8")), encoding="utf-8")
