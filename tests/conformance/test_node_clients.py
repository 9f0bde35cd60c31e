"""The npm packages `openai`, `ai` with two of its providers and `@anthropic-ai/sdk`, run on Node.js."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon_process import DaemonProcess

pytestmark = pytest.mark.engine

FOLDER = Path(__file__).parent / "node"
NODE_MAJOR = 20

Scenario = Callable[[str], Any]


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js, with the packages that node/package-lock.json pins."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.fail(f"`make test` needs Node.js {NODE_MAJOR} or later with npm on the PATH")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(re.match(r"v(\d+)", version).group(1)) < NODE_MAJOR:
        pytest.fail(f"`make test` needs Node.js {NODE_MAJOR} or later; {node} is {version}")
    # `npm ci` removes and fetches everything each time, so it only runs when the lock has changed.
    stamp = FOLDER / "node_modules" / "installed"
    want = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != want:
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        stamp.write_text(want)
    return node


@pytest.fixture(params=["openai", "openai-responses", "ai", "ai-responses", "anthropic"])
def scenario(request: pytest.FixtureRequest, node: str, daemon: DaemonProcess) -> Scenario:
    """Runs one scenario of one client in a Node.js of its own; what it told."""

    def run(name: str) -> Any:
        command = [node, f"{request.param}.mjs", f"{daemon.url}/v1", name]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((FOLDER / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    named = {name: lock["packages"][f"node_modules/{name}"] for name in lock["packages"][""]["dependencies"]}
    assert {name: package["version"] for name, package in named.items()} == lock["packages"][""]["dependencies"]


def test_a_whole_answer(scenario: Scenario) -> None:
    told = scenario("whole")
    assert (told["text"], told["finish"]) == ("Hello, Rosa!", "stop")
    assert told["reasoning"]
    assert 0 < told["reasoningTokens"] < told["tokens"]


def test_an_answer_without_thinking(scenario: Scenario) -> None:
    told = scenario("direct")
    assert (told["text"], told["reasoning"], told["reasoningTokens"]) == ("Hello, Rosa!", "", 0)


def test_a_streamed_answer_is_the_whole_one_in_pieces(scenario: Scenario) -> None:
    told = scenario("stream")
    assert told.pop("pieces") > 1
    assert told == scenario("whole")


@pytest.mark.parametrize("name", ["tools", "streamed-tools"])
def test_a_tool_is_called_and_its_result_used(scenario: Scenario, name: str) -> None:
    told = scenario(name)
    assert told["asked"] == [{"city": "Lisbon"}]
    assert "17" in told["text"]


def test_the_color_of_an_image(scenario: Scenario) -> None:
    assert "red" in scenario("image")["text"].lower()


def test_an_answer_in_a_schemas_form(scenario: Scenario) -> None:
    told = scenario("object")
    assert list(told) == ["polite"]
    assert isinstance(told["polite"], bool)


def test_an_unknown_model_arrives_as_the_clients_own_error(scenario: Scenario) -> None:
    told = scenario("unknown-model")
    assert (told["status"], told["code"], told["param"]) == (404, "model_not_found", "model")
    assert told["kind"] in ("NotFoundError", "AI_APICallError")


def test_a_bad_request_arrives_as_the_clients_own_error(scenario: Scenario) -> None:
    told = scenario("bad-request")
    assert (told["status"], told["code"]) == (400, "invalid_value")
    # The AI SDK checks that there are messages itself, so it sends another bad request; so do Responses.
    assert told["param"] in ("messages", "temperature")
    assert told["kind"] in ("BadRequestError", "AI_APICallError")


@pytest.mark.parametrize("scenario", ["openai-responses"], indirect=True)
def test_a_response_in_the_background_is_stored(scenario: Scenario) -> None:
    told = scenario("stored")
    assert told.pop("first") in ("queued", "in_progress")
    assert told == {"text": "Hello, Rosa!", "status": "completed", "items": ["message"], "gone": 404}


@pytest.mark.parametrize("scenario", ["anthropic", "openai-responses"], indirect=True)
def test_tokens_are_counted_as_they_are_used(scenario: Scenario) -> None:
    told = scenario("count")
    assert told["counted"] == told["used"] > 0
