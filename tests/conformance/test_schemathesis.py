"""schemathesis generates requests from our OpenAPI document and holds every answer against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.daemon_process import DaemonProcess

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
REQUESTS = 2000
# It takes some 3 minutes on two cores with nothing else to do.
MOST_SECONDS = 900

# `positive_data_acceptance` is left out: a schema cannot say that an image decodes or that a prompt fits.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,allow_header_conformance"
)


@pytest.mark.timeout(MOST_SECONDS + 60)
def test_every_answer_is_what_the_document_says(daemon: DaemonProcess, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{daemon.url}/openapi.json"),
        *("--phases", "coverage,fuzzing", "--checks", CHECKS, "--continue-on-failure"),
        # The same requests every time; this many for each route, and those of the coverage phase on top.
        *("--max-examples", "250", "--generation-deterministic"),
        # A request gets longer than an answer may take, so that a slow answer is told as one.
        *("--max-response-time", "20", "--request-timeout", "30", "--no-color"),
        *("--report", "json", "--report-json-path", str(report)),
    ]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.conformance.schemathesis_hooks",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    # In a folder of its own, so that no configuration file of schemathesis's is found.
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=MOST_SECONDS
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
    told = json.loads(report.read_text())
    assert told["complete"]
    assert told["operations"]["tested"] == told["operations"]["total"] >= 7
    print(f"{told['test_cases']['generated']} requests to {told['operations']['tested']} operations")
    assert told["test_cases"]["generated"] >= REQUESTS
    # The hooks do their work: of the requests that are right by the schema, many are answered.
    made = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses")
    for route in (*made, "/v1/messages/count_tokens", "/tokenize", "/detokenize"):
        rates = told["valid_rates"][f"POST {route}"]
        assert sum(phase["accepted"] for phase in rates.values()) > 50, route
    # And no request is still inside, of those in the background neither.
    deadline = time.monotonic() + 10
    while httpx.get(f"{daemon.url}/health").json()["in_flight"] and time.monotonic() < deadline:
        time.sleep(0.2)
    health = httpx.get(f"{daemon.url}/health").json()
    assert (health["status"], health["in_flight"], health["waiting"]) == ("serving", 0, 0)
