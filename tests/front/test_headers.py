"""Headers that an engine behind a proxy trusts, and what becomes of them here."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import pytest
from uvicorn.server import ServerState

from server.api.connection import STRIPPED, Connection
from server.http_server import http_server
from server.settings import Settings
from tests.front.conftest import Front

ROOT = Path(__file__).parents[2] / "server"

# Every header of a request that is looked at, and where. Who looks at another one says here what keeps it from being
# trusted for what it says.
READ = {
    # The Host header only keeps web pages out.
    "api/auth.py": {"authorization", "x-api-key", "api-key", "origin", "sec-fetch-site", "host"},
    "api/body.py": {"content-type", "content-encoding", "content-length"},
    "api/asking.py": {"x-request-timeout-ms"},
    # Told back in the answer and the log; what does not look like an id was taken off before.
    "api/request_trails.py": {"x-request-id"},
    "api/anthropic_shape.py": {"anthropic-version"},
}


def headers_read(source: str) -> set[str]:
    """Names in `headers.get(...)`, `headers[...]`, `headers.getlist(...)` and `... in request.headers`."""
    names: set[str] = set()
    constants = {
        target.id: node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    # What is read in a loop over names.
    looped = {
        each.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.comprehension) and isinstance(node.iter, ast.Tuple)
        for each in node.iter.elts
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }

    def named(node: ast.expr) -> None:
        if isinstance(node, ast.Constant):
            names.add(str(node.value))
        elif isinstance(node, ast.Name):
            names.update([str(constants[node.id])] if node.id in constants else looped or {f"?{node.id}"})

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if node.func.attr in ("get", "getlist") and "headers" in ast.unparse(node.func.value):
                named(node.args[0])
        elif isinstance(node, ast.Compare) and "request.headers" in ast.unparse(node.comparators[0]):
            named(node.left)
    return names


def test_no_other_header_is_looked_at() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): names
        for path in sorted((ROOT / "api").glob("*.py"))
        if (names := headers_read(path.read_text(encoding="utf-8")))
    }
    assert found == READ


def test_nothing_is_put_together_from_the_host_header() -> None:
    """`request.url` and `request.base_url` are; `scope["path"]` is not."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("url", "base_url"):
                assert ast.unparse(node.value) not in ("request", "self.request"), path


class _Transport(asyncio.Transport):
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def is_closing(self) -> bool:
        return False


async def scope_of(head: bytes) -> dict[str, Any]:
    """The scope that an app gets for a request with this head."""
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    # As the daemon makes it, so that what uvicorn would trust by itself shows.
    config = http_server(app, Settings()).config
    config.load()
    connection: Connection = config.http(config, ServerState(), {})  # type: ignore[operator]
    connection.connection_made(_Transport())
    connection.data_received(head)
    for _ in range(5):
        await asyncio.sleep(0)
    connection._cancel_timers()
    return seen[0]


async def test_what_vllm_trusts_does_not_reach_the_app() -> None:
    # vllm/entrypoints/generate/base/serving.py, 0.32: the rank that computes, the session, the priority.
    assert {b"x-data-parallel-rank", b"x-session-id", b"x-vllm-priority"} <= STRIPPED
    lines = b"".join(name.title() + b": 7\r\n" for name in sorted(STRIPPED))
    scope = await scope_of(b"GET / HTTP/1.1\r\nHost: x\r\n" + lines + b"x-kept: 1\r\n\r\n")
    assert scope["headers"] == [(b"host", b"x"), (b"x-kept", b"1")]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"req-1.a_B:2", True),
        (b"x" * 128, True),
        (b"x" * 129, False),
        (b"a b", False),
        (b"a\tb", False),
        (b"\xff", False),
        (b'"}{"level":"info', False),
        (b"../../x", False),
        (b"", False),
    ],
)
async def test_a_request_id_is_one_or_is_not_there(value: bytes, kept: bool) -> None:
    scope = await scope_of(b"GET / HTTP/1.1\r\nhost: x\r\nX-Request-Id: " + value + b"\r\n\r\n")
    assert ((b"x-request-id", value) in scope["headers"]) is kept
    assert kept or not any(name == b"x-request-id" for name, _ in scope["headers"])


async def test_a_clients_address_is_what_the_connection_says() -> None:
    scope = await scope_of(b"GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 8.8.8.8\r\nx-forwarded-proto: https\r\n\r\n")
    assert (scope["client"], scope["scheme"], scope["root_path"]) == (("127.0.0.1", 1), "http", "")


def test_without_configured_origins_no_page_may_call(front: Front) -> None:
    with front.client(front.keys.whole) as client:
        asked = {"origin": "https://chat.example.com", "access-control-request-method": "POST"}
        preflight = client.options("/v1/chat/completions", headers=asked)
        assert preflight.status_code == 405
        for answer in (preflight, client.get("/v1/models", headers=asked)):
            assert not any(name.startswith("access-control") for name in answer.headers)
