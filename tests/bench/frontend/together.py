"""All parts that compare peers, over servers that are started once and side by side.

For a machine with a GPU and cores for all of them: there a start costs more than a measurement, and who is not loaded
takes nothing from who is. On a machine whose cores they share it takes longer than one after the other.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from tests.bench.frontend.first_token import first_tokens_of
from tests.bench.frontend.peers import Floor, Peer, Qwend, VllmPython, at_hand
from tests.bench.frontend.side_by_side import rows_together
from tests.bench.frontend.stalls import CONTEXT, LettingIn, stalls_of


def shown(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All of them, each printed when it is there: what a run has found must outlive its being ended."""
    found = []
    for row in rows:
        print(json.dumps(row), flush=True)
        found.append(row)
    return found


def together(
    profile: str, widths: list[int], rounds: int, stall_rounds: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each part's name and rows, as the parts by themselves give them."""
    # All read their settings from the environment of the profile's loader.
    os.environ["QWEND_MODEL__MAX_MODEL_LEN"] = str(CONTEXT)
    with contextlib.ExitStack() as running:
        started = [kind(profile) for kind in (*at_hand(), LettingIn)]
        for peer in started:
            running.enter_context(peer)
        letting_in = started.pop()
        yield "first-token", first_tokens_of(_of(started, Floor, Qwend, VllmPython))
        stalls = (
            {**row, "round": number}
            for number in range(stall_rounds)
            for peer in (letting_in, *_of(started, VllmPython))
            for row in stalls_of(peer)
        )
        yield "stalls", shown(stalls)
        yield "peers", shown(rows_together(started, widths, rounds))


def _of(peers: list[Peer], *kinds: type[Peer]) -> list[Peer]:
    return [peer for kind in kinds for peer in peers if type(peer) is kind]
