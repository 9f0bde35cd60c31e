"""What went on in each second of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from loadtest.record import Record
from loadtest.watcher import Seen


def timeline(records: Sequence[Record], seconds: float, seen: Seen) -> dict[str, Any]:
    """A number for each second: what came, ended, was refused, ran at its end, and pieces of answers that came."""
    size = max(1, math.ceil(seconds))
    came, finished, refused, failed, pieces, changes = ([0] * size for _ in range(6))

    def place(moment: float) -> int:
        return min(size - 1, max(0, int(moment)))

    for each in records:
        came[place(each.at)] += 1
        if each.tries:
            changes[place(each.at + each.tries[0].sent)] += 1
            changes[place(each.at + each.e2e)] -= 1
        ended = place(each.at + each.e2e)
        if each.refused:
            refused[place(each.at + each.tries[0].ended)] += 1
        if each.finished:
            finished[ended] += 1
        elif each.error:
            failed[ended] += 1
        for time in each.times:
            pieces[place(each.at + time)] += 1
    running, now = [], 0
    for change in changes:
        now += change
        running.append(now)
    return {
        "came": came,
        "finished": finished,
        "refused": refused,
        "failed": failed,
        "running": running,
        "pieces": pieces,
        "server": {"at": seen.at, **seen.gauges},
        "events": seen.events,
    }
