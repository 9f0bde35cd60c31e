from __future__ import annotations

import logging
import os
import time

from server.engine.last_words import LastWords
from server.engine.startup_phases import EngineLogTap, PhaseHandler, StartupPhases


def test_phases_go_forward_only_and_are_timed() -> None:
    now, ended = [100.0], []
    phases = StartupPhases(lambda name, seconds: ended.append((name, seconds)), clock=lambda: now[0])
    assert phases.current == "configuration"
    for moment, phase in (
        (101, "engine process"),
        (104, "weights"),
        (105, "engine process"),
        (110, "weights"),
        (120, "ready"),
    ):
        now[0] = moment
        phases.enter(phase)
    assert phases.current == "ready"
    assert ended == [("configuration", 1.0), ("engine process", 3.0), ("weights", 16.0)]


def test_a_log_line_of_the_engine_moves_the_daemon_to_the_next_phase() -> None:
    phases = StartupPhases(lambda name, seconds: None)
    tap = EngineLogTap(phases, "error")
    tap.open()
    try:
        handler = PhaseHandler()
        for line, phase in (
            ("Initializing a V1 LLM engine (v%s)", "weights"),
            ("Loading weights took %.2f", "warm-up"),
        ):
            handler.emit(logging.makeLogRecord({"msg": "something else", "levelno": logging.INFO}))
            handler.emit(logging.makeLogRecord({"msg": line}))
            deadline = time.monotonic() + 5
            while phases.current != phase and time.monotonic() < deadline:
                time.sleep(0.01)
            assert phases.current == phase
    finally:
        tap.close()
    assert "VLLM_LOGGING_CONFIG_PATH" not in os.environ, "a file that is gone"
    handler.emit(logging.makeLogRecord({"msg": "Loading weights took"}))  # nobody listens: no error


def test_errors_of_the_engines_processes_are_heard_until_the_end() -> None:
    words = LastWords()
    tap = EngineLogTap(StartupPhases(lambda name, seconds: None), "error", words)
    tap.open()
    address = os.environ["QWEND_STARTUP_SOCKET"]
    tap.started()
    assert "QWEND_STARTUP_SOCKET" not in os.environ
    try:
        os.environ["QWEND_STARTUP_SOCKET"] = address  # as the engine's processes have it
        PhaseHandler().emit(logging.makeLogRecord({"msg": "a warning", "levelno": logging.WARNING}))
        PhaseHandler().emit(
            logging.makeLogRecord({"msg": "no memory for %s", "args": ("it",), "levelno": logging.ERROR})
        )
        deadline = time.monotonic() + 5
        while not words.first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert words.first == "no memory for it"
    finally:
        del os.environ["QWEND_STARTUP_SOCKET"]
        tap.close()
