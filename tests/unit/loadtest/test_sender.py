"""What the sender does with whatever a server does to it."""

from __future__ import annotations

import asyncio
import time

import pytest

from loadtest.http_client import Target
from loadtest.record import Record, Shot, Turn
from loadtest.sender import Sender, fire, retry_after
from tests.unit.loadtest.scripted_server import DONE, STREAM, ScriptedServer, chunk, piece, refusal, whole

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}


def shots(*at: float, **fields: object) -> list[Shot]:
    return [Shot(each, dict(BODY), number=number, **fields) for number, each in enumerate(at)]  # type: ignore[arg-type]


async def answered(
    data: bytes, sent: list[Shot] | None = None, *, stays: bool = True
) -> tuple[list[Record], ScriptedServer]:
    async def script(number: int, body: object, writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        await writer.drain()
        return stays

    async with ScriptedServer(script) as server:
        return await fire(server.url, sent or shots(0.0)), server


async def test_an_answer_is_recorded_and_its_connection_used_again() -> None:
    records, server = await answered(whole("a", "b"), shots(0.0, 0.1, 0.2))
    assert [(each.finished, each.status, len(each.times), each.code) for each in records] == [(True, 200, 2, "")] * 3
    assert server.connections == 1
    assert server.heads[0].startswith("POST /v1/chat/completions HTTP/1.1\r\n")
    assert all(0 <= each.lag < 0.1 and each.ttft is not None and each.ttft >= each.lag for each in records)


async def test_requests_do_not_wait_for_answers() -> None:
    running, most = 0, 0

    async def script(number: int, body: object, writer: asyncio.StreamWriter) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.5)
        running -= 1
        writer.write(whole("a"))
        return True

    async with ScriptedServer(script) as server:
        records = await fire(server.url, shots(*(0.01 * n for n in range(20))))
    assert most == 20
    assert all(each.finished for each in records)


async def test_time_counts_from_the_intended_moment_when_the_sender_is_held_up() -> None:
    async def script(number: int, body: object, writer: asyncio.StreamWriter) -> bool:
        if number == 0:
            time.sleep(0.3)  # noqa: ASYNC251 - holds up the sender too, which runs in the same loop
        writer.write(whole("a"))
        return True

    async with ScriptedServer(script) as server:
        records = await fire(server.url, shots(0.0, 0.1))
    assert records[1].lag >= 0.15
    assert records[1].ttft is not None
    assert records[1].ttft >= 0.15


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"nonsense\r\n\r\n", "malformed_answer"),
        (b"", "connection_closed"),
        (STREAM + chunk(piece("a")), "connection_closed"),
        (STREAM + chunk(piece("a")) + b"0\r\n\r\n", "stream_ended_early"),
        (STREAM + chunk(b'data: {"error": {"code": "engine_died"}}\n\n') + b"0\r\n\r\n", "engine_died"),
        (b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno", "http_500"),
        (b"HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\n{}", "error"),
    ],
)
async def test_every_failure_has_a_name(data: bytes, code: str) -> None:
    (record,), _ = await answered(data, stays=False)
    assert not record.finished
    assert record.error
    assert record.code.split(":")[0] == code


async def test_nobody_listening_is_an_error() -> None:
    async with ScriptedServer(lambda *_: asyncio.sleep(0, True)) as server:
        url = server.url
    (record,) = await fire(url, shots(0.0))
    assert (record.code, record.error, record.status) == ("ConnectionRefusedError", True, 0)


async def test_an_answer_without_length_ends_with_its_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    (record,), _ = await answered(head + piece("a") + DONE, stays=False)
    assert (record.finished, record.code) == (True, "")


async def test_a_connection_that_was_closed_while_idle_is_made_good() -> None:
    async def script(number: int, body: object, writer: asyncio.StreamWriter) -> bool:
        if number == 0:
            writer.write(whole("a"))
            return True
        if number == 1:
            return False  # as a server does whose keep-alive ended just then
        writer.write(whole("b"))
        return True

    async with ScriptedServer(script) as server:
        records = await fire(server.url, shots(0.0, 0.2))
        assert server.connections == 2
    assert [each.finished for each in records] == [True, True]


async def test_refused_clients_come_back_when_they_are_told() -> None:
    async def script(number: int, body: object, writer: asyncio.StreamWriter) -> bool:
        writer.write(refusal("retry-after: 1\r\nretry-after-ms: 250\r\n") if number == 0 else whole("a"))
        return True

    async with ScriptedServer(script) as server:
        (record,) = await fire(server.url, shots(0.0, retries=1))
    assert [each.status for each in record.tries] == [503, 200]
    assert record.finished
    assert record.refused, "a refusal stays one"
    assert record.tries[1].sent - record.tries[0].ended == pytest.approx(0.25, abs=0.08)
    assert record.tries[0].retry_after == 0.25


async def test_nobody_comes_back_without_being_told_when() -> None:
    (record,), server = await answered(refusal(""), shots(0.0, retries=3))
    assert ([each.status for each in record.tries], record.code) == ([503], "overloaded")
    (record,), server = await answered(refusal("retry-after: 0\r\n", "429 Many"), shots(0.0, retries=2))
    assert [each.status for each in record.tries] == [429] * 3
    assert len(server.bodies) == 3


def test_retry_after_is_read_in_both_units() -> None:
    assert retry_after({"retry-after": "2"}) == 2
    assert retry_after({"retry-after": "2", "retry-after-ms": "1500"}) == 1.5
    assert retry_after({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}) is None
    assert retry_after({}) is None


async def slow(number: int, body: object, writer: asyncio.StreamWriter) -> bool:
    writer.write(STREAM + chunk(piece("a")))
    await asyncio.sleep(2)
    writer.write(chunk(DONE) + b"0\r\n\r\n")
    return True


async def test_who_goes_away_is_no_failure_and_who_gives_up_is() -> None:
    async with ScriptedServer(slow) as server:
        gone, gave_up = await fire(
            server.url, [*shots(0.0, cancel_after=0.3), *shots(0.01, deadline=0.3, cancel_after=5.0)]
        )
    assert (gone.cancelled, gone.error, gone.code, gone.finished) == (True, False, "", False)
    assert (gave_up.cancelled, gave_up.error, gave_up.code) == (False, True, "deadline")
    for each in (gone, gave_up):
        assert each.e2e == pytest.approx(0.3, abs=0.1)
        assert (each.completion_tokens, each.counted) == (1, True)


async def test_what_does_not_end_is_cut_off() -> None:
    async with ScriptedServer(slow) as server:
        began = time.monotonic()
        (record,) = await fire(server.url, shots(0.0), settle=0.3)
    assert time.monotonic() - began < 1.5
    assert (record.code, record.finished, record.error) == ("unfinished", False, True)


async def test_agents_come_back_with_all_that_was_said() -> None:
    async def script(number: int, body: object, writer: asyncio.StreamWriter) -> bool:
        writer.write(whole("answer ", str(number)))
        return True

    turns = (Turn("more", 0.2, 7), Turn("and more", 0.1, 9))
    async with ScriptedServer(script) as server:
        records = await fire(server.url, shots(0.0, turns=turns))
        bodies = server.bodies
    assert [each.turn for each in records] == [0, 1, 2]
    assert all(each.finished for each in records)
    said = [(each["role"], each["content"]) for each in bodies[2]["messages"]]
    assert said == [
        ("user", "hello"), ("assistant", "answer 0"), ("user", "more"), ("assistant", "answer 1"), ("user", "and more"),
    ]  # fmt: skip
    assert [each["max_tokens"] for each in bodies] == [5, 7, 9]
    assert records[1].at - (records[0].at + records[0].e2e) == pytest.approx(0.2, abs=1e-6)


async def test_a_conversation_ends_with_a_failure() -> None:
    records, _ = await answered(refusal(), shots(0.0, turns=(Turn("more", 0.0, 7),)))
    assert len(records) == 1


async def test_a_header_cannot_break_out_of_its_line() -> None:
    sender = Sender(Target.of("http://127.0.0.1:1/v1"))
    with pytest.raises(ValueError, match="line break"):
        sender.prepare([Shot(0.0, dict(BODY), headers={"x": "a\r\nb: c"})])


@pytest.mark.parametrize(
    ("url", "shown", "root"),
    [
        ("http://h:8000/v1", "http://h:8000/v1", ""),
        ("http://h/", "http://h:80/v1", ""),
        ("https://user:secret@h/api/v1?key=secret", "https://h:443/api/v1", "/api"),
        ("http://[::1]:9/v1", "http://[::1]:9/v1", ""),
    ],
)
def test_a_base_url_is_shown_without_secrets(url: str, shown: str, root: str) -> None:
    target = Target.of(url)
    assert (target.shown, target.root) == (shown, root)
    with pytest.raises(ValueError, match="begins with http"):
        Target.of("ftp://h/v1")
