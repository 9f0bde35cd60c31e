"""The store beside a dictionary that does the same, over any order of calls."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server.store.records import UNFINISHED, Owner, StoredResponse
from server.store.response_store import LEASE_SECONDS, ResponseStore, StoreUnavailable
from server.store_settings import StoreSettings
from tests.unit.store.records_made import ANNA, BERT, CARL, EPOCH, Clock, record

LIFETIME, ENTRIES, BYTES, KEY_ENTRIES, KEY_BYTES = 100, 5, 6000, 3, 4000

numbers, owners = st.integers(0, 5), st.sampled_from([ANNA, BERT, CARL])
statuses = st.sampled_from(["completed", "failed", "cancelled", *UNFINISHED])


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory(prefix="qwend-store-")
        self.clock = Clock()
        self.rows: dict[str, StoredResponse] = {}  # in the order of their first put
        self.open()

    def open(self) -> None:
        self.store = self.wait(
            ResponseStore.open(
                StoreSettings(
                    url=f"sqlite:///{Path(self.folder.name) / 'store.sqlite'}",
                    lifetime_seconds=LIFETIME,
                    max_entries=ENTRIES,
                    max_bytes=BYTES,
                    max_entries_per_key=KEY_ENTRIES,
                    max_bytes_per_key=KEY_BYTES,
                    max_record_bytes=2000,
                ),
                self.clock,
            )
        )

    def wait(self, call):
        return self.loop.run_until_complete(call)

    def teardown(self) -> None:
        self.wait(self.store.close())
        self.loop.close()
        self.folder.cleanup()

    def evict(self, rows: dict[str, StoredResponse], kept: str, owner: Owner) -> bool:
        for mine, entries, size in ((True, KEY_ENTRIES, KEY_BYTES), (False, ENTRIES, BYTES)):
            while True:
                counted = [row for row in rows.values() if not mine or row.owner == owner]
                if len(counted) <= entries and sum(row.size for row in counted) <= size:
                    break
                finished = [row for row in counted if row.status not in UNFINISHED and row.id != kept]
                if not finished:
                    return False
                del rows[min(finished, key=lambda row: row.created_at).id]
        return True

    @rule(number=numbers, owner=owners, status=statuses, size=st.integers(200, 2000), text=st.text(max_size=5))
    def put(self, number: int, owner: Owner, status: str, size: int, text: str) -> None:
        at = int(self.clock.now) - EPOCH
        new = record(number, owner, at=at, status=status, size=size, text=text)
        rows = dict(self.rows)
        there = new.id in rows
        if there and rows[new.id].owner != owner:
            outcome = ValueError
        else:
            rows[new.id] = new
            outcome = None if self.evict(rows, new.id, owner) or there else StoreUnavailable
        if outcome is not None:
            with pytest.raises(outcome):
                self.wait(self.store.put(new))
        else:
            self.wait(self.store.put(new))
            self.rows = rows

    def seen(self, number: int, owner: Owner) -> StoredResponse | None:
        row = self.rows.get(f"resp_{number}")
        if row is None or row.owner != owner:
            return None
        young = row.created_at > self.clock.now - LIFETIME
        return row if young or row.status in UNFINISHED else None

    @rule(number=numbers, owner=owners)
    def delete(self, number: int, owner: Owner) -> None:
        there = self.seen(number, owner) is not None
        assert self.wait(self.store.delete(f"resp_{number}", owner)) is there
        if there:
            del self.rows[f"resp_{number}"]

    @rule(seconds=st.integers(1, 60))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def purge(self) -> None:
        old = [
            row.id
            for row in self.rows.values()
            if row.created_at <= self.clock.now - LIFETIME and row.status not in UNFINISHED
        ]
        assert self.wait(self.store.purge()) == len(old)
        for id in old:
            del self.rows[id]

    @rule(crashed=st.booleans())
    def restart(self, crashed: bool) -> None:
        if crashed:
            before = self.store
            self.open()
            self.clock.now += LEASE_SECONDS + 1
            before._workers.stop()
            before._database.close()
        else:
            self.wait(self.store.close())
            self.open()
        lost = [row for row in self.rows.values() if row.status in UNFINISHED]
        assert self.wait(self.store.left_unfinished()) == len(lost)
        for row in lost:
            found = self.wait(self.store.get(row.id, row.owner))
            if found is None:
                assert row.created_at <= self.clock.now - LIFETIME, "finished now, and too old"
            else:
                assert found.status == "failed"
                self.rows[row.id] = replace(row, status="failed", response=found.response)
        # Those that nothing can be read of any more are taken out, so that both know the same.
        self.wait(self.store.purge())
        self.rows = {id: row for id, row in self.rows.items() if row.created_at > self.clock.now - LIFETIME}

    @invariant()
    def the_same_is_there(self) -> None:
        for number in range(6):
            row = self.rows.get(f"resp_{number}")
            for owner in {ANNA, row.owner if row is not None else BERT}:
                assert self.wait(self.store.get(f"resp_{number}", owner)) == self.seen(number, owner)


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
