from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from server.doctor.findings import Level
from server.doctor.gathering import hub as asking
from server.doctor.gathering.hub import ask_hub
from server.doctor.hub import HubFacts, HubFile, check_hub, missing_bytes

COMMIT = "c0ffee" + "0" * 34
LISTING = {
    "sha": COMMIT,
    "siblings": [
        {"rfilename": "config.json", "size": 57, "blobId": "1" * 40},
        {"rfilename": "model.safetensors", "size": 1000, "blobId": "2" * 40, "lfs": {"sha256": "3" * 64, "size": 1000}},
        {"rfilename": "pytorch_model.bin", "size": 9000, "blobId": "4" * 40, "lfs": {"sha256": "5" * 64, "size": 9000}},
        {"rfilename": "original/consolidated.safetensors", "size": 9000, "blobId": "6" * 40},
    ],
}


class Hub(BaseHTTPRequestHandler):
    """Knows one public and one gated model."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("authorization")))  # type: ignore[attr-defined]
        gated = self.path.startswith("/api/models/Qwen/Gated/") and self.headers.get("authorization") != "Bearer hf_1"
        known = self.path.startswith(("/api/models/Qwen/Tiny/revision/main", "/api/models/Qwen/Gated/revision/main"))
        body = json.dumps(LISTING).encode()
        self.send_response(401 if gated else 200 if known else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def at(server: ThreadingHTTPServer) -> dict[str, str]:
    return {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}/", "HF_TOKEN_PATH": "/none"}


def test_a_model_and_its_files(server: ThreadingHTTPServer) -> None:
    facts = ask_hub(at(server), "Qwen/Tiny", None)
    assert (facts.status, facts.commit) == (200, COMMIT)
    assert facts.files["model.safetensors"] == HubFile(1000, "3" * 64)
    assert facts.files["config.json"] == HubFile(57, "1" * 40)
    assert facts.ahead is not None
    assert abs(facts.ahead) < 5
    found = check_hub(facts, "Qwen/Tiny", complete=True, local_commit=COMMIT)
    assert found is not None
    assert found.level is Level.OK
    assert "newer" not in found.what
    newer = check_hub(facts, "Qwen/Tiny", complete=True, local_commit="beef" * 10)
    assert newer is not None
    assert "it has a newer revision, c0ffee00 (here beefbeef)" in newer.what
    # What vLLM fetches, less what is here: no folders, no other formats.
    assert missing_bytes(facts, {}) == 1057
    assert missing_bytes(facts, {"model.safetensors": 1000}) == 57
    assert missing_bytes(facts, {"model.safetensors": 999, "config.json": 57}) == 1000
    assert missing_bytes(None, {}) is None


@pytest.mark.parametrize(
    ("model", "revision", "token", "status", "word"),
    [
        ("Qwen/None", None, "", 404, "does not know Qwen/None"),
        ("Qwen/Tiny", "v9", "", 404, "does not know Qwen/Tiny"),
        ("Qwen/Gated", None, "", 401, "does not show Qwen/Gated"),
        ("Qwen/Gated", None, "hf_1", 200, "knows Qwen/Gated"),
    ],
)
def test_what_the_hub_refuses(
    server: ThreadingHTTPServer, model: str, revision: str | None, token: str, status: int, word: str
) -> None:
    facts = ask_hub({**at(server), "HF_TOKEN": token}, model, revision)
    assert facts.status == status
    found = check_hub(facts, model, complete=False)
    assert found is not None
    assert found.level is (Level.OK if status == 200 else Level.FAIL)
    assert word in found.what
    assert "hf_1" not in found.what + found.todo


def test_a_hub_that_says_nothing_costs_no_more_than_its_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        facts = ask_hub({"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}, "Qwen/Tiny", None, seconds=0.4)
        assert time.monotonic() - began < 1.5
    assert facts.status is None
    assert facts.trouble


def test_a_name_that_is_never_found_costs_no_more_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver without a name server is slow, and httpx's time limit does not hold it."""
    monkeypatch.setattr(asking, "_ask", lambda *_: time.sleep(3))
    began = time.monotonic()
    facts = ask_hub({}, "Qwen/Tiny", None, seconds=0.2)
    assert time.monotonic() - began < 1.0
    assert facts.trouble == "no answer in 0.2 s"


def test_an_unreachable_hub_matters_only_where_something_is_missing() -> None:
    facts = HubFacts("https://huggingface.co", trouble="no answer in 3 s")
    for complete, level in ((True, Level.WARN), (False, Level.FAIL)):
        found = check_hub(facts, "Qwen/Tiny", complete=complete)
        assert found is not None
        assert found.level is level
    assert check_hub(None, "/models/tiny", complete=True) is None


def test_offline_it_is_not_asked(server: ThreadingHTTPServer) -> None:
    facts = ask_hub({**at(server), "HF_HUB_OFFLINE": "1"}, "Qwen/Tiny", None)
    assert facts.offline
    assert server.asked == []  # type: ignore[attr-defined]
    for complete, level in ((True, Level.OK), (False, Level.FAIL)):
        found = check_hub(facts, "Qwen/Tiny", complete=complete)
        assert found is not None
        assert found.level is level


def test_an_answer_that_is_no_listing_is_trouble(monkeypatch: pytest.MonkeyPatch, server: ThreadingHTTPServer) -> None:
    monkeypatch.setitem(LISTING, "siblings", [{"size": 1}])
    facts = ask_hub(at(server), "Qwen/Tiny", None)
    assert (facts.status, facts.files) == (None, {})
    assert "rfilename" in facts.trouble
