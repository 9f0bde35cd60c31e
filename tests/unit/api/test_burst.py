"""Lines of one burst over a server whose sends wait when the test says so: when each is sent, in what order, and that
a client that does not read holds up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from server.api.burst import Burst, Line


class Wire:
    """A client's connection; what it got is in `sent`, and in `log` beside what others got."""

    def __init__(self, log: list[str] | None = None) -> None:
        self.sent: list[str] = []
        self.log = [] if log is None else log
        self.error: Exception | None = None
        self._reads = asyncio.Event()
        self._reads.set()

    def pause(self) -> None:
        self._reads.clear()

    def resume(self) -> None:
        self._reads.set()

    async def send(self, message: Message) -> None:
        await self._reads.wait()
        if self.error is not None:
            raise self.error
        assert (message["type"], message["more_body"]) == ("http.response.body", True)
        self.sent.append(message["body"].decode())
        self.log.append(message["body"].decode())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_one_line_writes_in_a_turn_is_sent_after_it_and_in_order() -> None:
    wire = Wire()
    line = Line(Burst(), wire.send)
    for body in (b"a", b"b", b"c"):
        await line.write(body)
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == ["a", "b", "c"]


async def test_lines_of_one_turn_are_sent_back_to_back_after_the_last_has_produced() -> None:
    log: list[str] = []
    burst = Burst()

    async def stream(name: str) -> None:
        line = Line(burst, Wire(log).send)
        for turn in range(3):
            log.append(f"made {name}{turn}")
            await line.write(f"{name}{turn}".encode())
            await asyncio.sleep(0)

    await asyncio.gather(*map(stream, "abc"))
    await asyncio.sleep(0)
    expected: list[str] = []
    for turn in range(3):
        expected += [f"made {name}{turn}" for name in "abc"]
        expected += [f"{name}{turn}" for name in "abc"]
    assert log == expected


async def test_drain_sends_at_once_and_only_its_own() -> None:
    burst = Burst()
    one, other = Wire(), Wire()
    drained, waits = Line(burst, one.send), Line(burst, other.send)
    await waits.write(b"x")
    await drained.write(b"a")
    await drained.drain()
    assert (one.sent, other.sent) == (["a"], [])
    await asyncio.sleep(0)
    assert (one.sent, other.sent) == (["a"], ["x"])


async def test_a_client_that_does_not_read_holds_up_only_its_own_line() -> None:
    burst = Burst()
    paused, reads = Wire(), Wire()
    held, free = Line(burst, paused.send), Line(burst, reads.send)
    paused.pause()
    await held.write(b"a")
    await held.write(b"b")
    await free.write(b"x")
    await settle()
    assert (paused.sent, reads.sent) == ([], ["x"])
    writing = asyncio.create_task(held.write(b"c"))
    await free.write(b"y")
    await settle()
    assert not writing.done()
    assert reads.sent == ["x", "y"]
    paused.resume()
    await asyncio.wait_for(writing, 1)
    await held.drain()
    assert paused.sent == ["a", "b", "c"]


async def test_two_who_write_to_a_paused_client_both_wait() -> None:
    """As a stream and its keep-alive comments do."""
    wire = Wire()
    line = Line(Burst(), wire.send)
    wire.pause()
    await line.write(b"a")
    await line.write(b"b")
    await settle()
    writers = [asyncio.create_task(line.write(body)) for body in (b"c", b"d", b"e")]
    await settle()
    assert not any(writer.done() for writer in writers)
    writers[1].cancel()
    await settle()
    wire.resume()
    await asyncio.wait_for(asyncio.gather(*writers, return_exceptions=True), 1)
    await line.drain()
    assert wire.sent == ["a", "b", "c", "e"]


async def test_drain_leaves_nothing_behind_that_came_while_it_waited() -> None:
    wire = Wire()
    line = Line(Burst(), wire.send)
    wire.pause()
    await line.write(b"a")
    await settle()
    other = asyncio.create_task(line.write(b"b"))
    await settle()
    draining = asyncio.create_task(line.drain())
    await settle()
    wire.resume()
    await asyncio.wait_for(draining, 1)
    assert other.done()
    assert wire.sent == ["a", "b"]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("by_draining", [False, True])
async def test_what_sending_raised_is_told_to_whoever_comes_next(waits: bool, by_draining: bool) -> None:
    burst = Burst()
    broken, other = Wire(), Wire()
    line, beside = Line(burst, broken.send), Line(burst, other.send)
    broken.error = ConnectionError("x")
    if waits:
        broken.pause()
    await line.write(b"a")
    await beside.write(b"x")
    await settle()
    broken.resume()
    await settle()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await (line.drain() if by_draining else line.write(b"b"))
    assert other.sent == ["x"]


async def test_an_error_while_a_writer_waits_is_raised_there() -> None:
    wire = Wire()
    line = Line(Burst(), wire.send)
    wire.pause()
    await line.write(b"a")
    await settle()
    writing = asyncio.create_task(line.write(b"b"))
    await settle()
    wire.error = ConnectionError("x")
    wire.resume()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(writing, 1)
    with pytest.raises(ConnectionError):
        await line.drain()


async def test_closing_gives_up_what_waits_and_sends_what_does_not() -> None:
    before = asyncio.all_tasks()
    burst = Burst()
    wire, reads = Wire(), Wire()
    line, free = Line(burst, wire.send), Line(burst, reads.send)
    wire.pause()
    await line.write(b"a")
    await settle()
    writing = asyncio.create_task(line.write(b"b"))
    await settle()
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    line.close()
    await free.write(b"x")
    free.close()
    assert reads.sent == ["x"]
    await settle()
    assert asyncio.all_tasks() == before
    wire.resume()
    await settle()
    assert wire.sent == []


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["write", "pause", "resume", "drain", "turn"])), max_size=40),
    st.lists(st.integers(0, 2), max_size=12),
)
def test_whichever_sends_wait_nothing_is_lost_or_overtakes(steps: list[tuple[int, str]], waiting: list[int]) -> None:
    """Three streams over one burst. Beside the pauses, the sends counted in `waiting` take so many turns more."""

    async def run() -> None:
        burst = Burst()
        wires = [Wire() for _ in range(3)]
        turns = list(waiting)

        def lazy(wire: Wire) -> Line:
            async def send(message: Message) -> None:
                for _ in range(turns.pop() if turns else 0):
                    await asyncio.sleep(0)
                await wire.send(message)

            return Line(burst, send)

        lines = [lazy(wire) for wire in wires]
        todo: list[asyncio.Queue[str]] = [asyncio.Queue() for _ in lines]
        written: list[list[str]] = [[] for _ in lines]

        async def stream(index: int) -> None:
            while (what := await todo[index].get()) != "end":
                if what == "drain":
                    await lines[index].drain()
                    assert wires[index].sent == written[index]
                else:
                    await lines[index].write(what.encode())
                    written[index].append(what)
            await lines[index].drain()

        streams = [asyncio.create_task(stream(index)) for index in range(3)]
        asked: list[list[str]] = [[] for _ in lines]
        for index, step in steps:
            if step == "write":
                asked[index].append(str(len(asked[index])))
                todo[index].put_nowait(asked[index][-1])
            elif step == "drain":
                todo[index].put_nowait("drain")
            elif step == "turn":
                await asyncio.sleep(0)
            else:
                (wires[index].pause if step == "pause" else wires[index].resume)()
        for index in range(3):
            wires[index].resume()
            todo[index].put_nowait("end")
        await asyncio.wait_for(asyncio.gather(*streams), 5)
        assert [wire.sent for wire in wires] == asked

    asyncio.run(run())
