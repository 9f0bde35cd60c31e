from __future__ import annotations

import logging
import sys

from server.engine.last_words import LastWords, how_ended, said


def record_of(error: Exception) -> logging.LogRecord:
    try:
        raise error
    except Exception:  # noqa: BLE001
        return logging.makeLogRecord({"msg": "EngineCore encountered a fatal error.", "exc_info": sys.exc_info()})


def test_an_error_is_told_by_its_root() -> None:
    outer = RuntimeError("worker failed")
    outer.__cause__ = MemoryError("out of memory on rank 1\nand more")
    assert said(record_of(outer)) == "MemoryError: out of memory on rank 1"
    assert said(record_of(MemoryError())) == "MemoryError"
    assert said(logging.makeLogRecord({"msg": "Worker %d died", "args": (1,)})) == "Worker 1 died"


def test_a_long_message_is_told_by_its_last_line() -> None:
    quoted = 'Traceback (most recent call last):\n  File "x"\n    y\nValueError: wrong shape'
    assert said(record_of(RuntimeError(quoted))) == "RuntimeError: ValueError: wrong shape"
    assert len(said(record_of(RuntimeError("x" * 10_000)))) < 600


def test_the_first_of_errors_that_follow_each_other_is_the_cause() -> None:
    now = [0.0]
    words = LastWords(lambda: now[0])
    assert words.first == ""
    words.hear("long ago")
    now[0] = 100.0
    words.hear("the cause")
    now[0] = 101.0
    words.hear("what it took along")
    assert words.first == "the cause"
    now[0] = 200.0
    assert words.first == ""


def test_ends_in_words() -> None:
    told = how_ended({7: -9, 8: 1, 9: None})
    assert told == (
        "engine core 7 was ended by SIGKILL (the kernel does so when memory runs out), engine core 8 exited with 1"
    )
    assert how_ended({7: -63}) == "engine core 7 was ended by signal 63"
