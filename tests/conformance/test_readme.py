"""The README's own examples, as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon_process import DaemonProcess

pytestmark = pytest.mark.engine

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(language: str, holds: str) -> str:
    """The README's code block in a language that holds a text."""
    found = [each for each in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holds in each]
    assert len(found) == 1
    return found[0]


def test_the_curl_command(daemon: DaemonProcess) -> None:
    command = block("bash", "chat/completions").replace("http://127.0.0.1:8000", daemon.url)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Hello, Ada!" in done.stdout
    assert '"reasoning":"' in done.stdout


def test_the_python_program(daemon: DaemonProcess) -> None:
    program = block("python", "from openai").replace("http://127.0.0.1:8000", daemon.url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    added, counted, called, used, seen = done.stdout.splitlines()
    reasoning, _, answer = added.rpartition(" -> ")
    assert reasoning
    assert "42" in answer
    assert counted == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    assert called == 'get_weather {"city": "Lisbon"}'
    assert "17" in used
    assert "red" in seen.lower()


def test_the_python_program_for_anthropics_api(daemon: DaemonProcess) -> None:
    program = block("python", "from anthropic").replace("http://127.0.0.1:8000", daemon.url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, _, thinking = done.stdout.strip().partition(" <- ")
    assert "42" in answer
    assert thinking


def test_the_responses_program(daemon: DaemonProcess) -> None:
    program = block("python", "import openai").replace("http://127.0.0.1:8000", daemon.url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [("Ada" in line) for line in done.stdout.splitlines()] == [True, True]
