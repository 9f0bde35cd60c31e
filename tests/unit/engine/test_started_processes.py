from __future__ import annotations

import multiprocessing
import signal
import time

from server.engine.last_words import how_ended
from server.engine.started_processes import StartedProcesses


def test_those_that_were_killed_are_known_and_those_that_were_asked_to_end_are_not() -> None:
    context = multiprocessing.get_context("fork")
    with StartedProcesses() as started:
        killed, asked = (context.Process(target=time.sleep, args=(60,)) for _ in range(2))
        for each in (killed, asked):
            each.start()
        time.sleep(0.3)
        killed.kill()
        asked.terminate()
        killed.join()
        asked.join()
    assert started.failed == {killed.pid: -signal.SIGKILL}
    assert "was ended by SIGKILL" in how_ended(started.failed)


def test_a_start_without_failures_knows_of_none() -> None:
    context = multiprocessing.get_context("fork")
    with StartedProcesses() as started:
        well = context.Process(target=time.sleep, args=(0.3,))
        well.start()
        well.join()
    assert started.failed == {}
