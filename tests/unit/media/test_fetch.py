"""Fetching, proven on loopback: 127.0.0.2 plays the public internet, 127.0.0.1 what must not be reached."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from server.media.fetch import ByteBudget, Fetcher, FetchFailed, FetchPolicy
from tests.ports import free_port
from tests.unit.media.loopback_server import LoopbackServer, loopback, ok, redirect

OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
MAX_BYTES = 100_000


class Names:
    """A name server whose answers are given, one after the other; the last is repeated."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): iter(each) for name, each in answers.items()}
        self._last: dict[str, list[str]] = {}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers: Iterator[list[str]] = self._answers.get(host, iter(()))
        self._last[host] = next(answers, self._last.get(host, []))
        if not self._last[host]:
            raise OSError("no such name")
        return self._last[host]


@pytest.fixture
async def outside() -> AsyncIterator[LoopbackServer]:
    async with loopback(OUTSIDE, free_port(OUTSIDE, INSIDE)) as server:
        server.answers["/cat.png"] = ok(b"meow")
        yield server


@pytest.fixture
async def inside(outside: LoopbackServer) -> AsyncIterator[LoopbackServer]:
    """Something private on the same port, so that only the address tells the two apart."""
    async with loopback(INSIDE, outside.port) as server:
        server.answers["/cat.png"] = ok(b"secret")
        yield server


def policy(server: LoopbackServer, **changes: Any) -> FetchPolicy:
    base = FetchPolicy(
        hosts=None,
        private_addresses=False,
        ports=[server.port],
        max_bytes=MAX_BYTES,
        seconds=5,
        redirects=3,
        at_once=4,
    )
    return replace(base, **changes)


def fetcher(server: LoopbackServer, names: Any = None, **changes: Any) -> Fetcher:
    return Fetcher(policy(server, **changes), resolve=names, extra_addresses=[OUTSIDE])


async def fetch(fetching: Fetcher, url: str, budget: int = 10 * MAX_BYTES) -> bytes:
    try:
        return await fetching.fetch(url, ByteBudget(budget))
    finally:
        await fetching.close()


async def test_a_name_is_fetched_by_its_address_and_asked_by_its_name(outside: LoopbackServer) -> None:
    names = Names(cats_example=[[OUTSIDE]])
    assert await fetch(fetcher(outside, names), f"http://cats.example:{outside.port}/cat.png#part") == b"meow"
    ((path, headers),) = outside.asked
    assert path == "/cat.png"
    assert headers["host"] == f"cats.example:{outside.port}"
    assert headers["accept-encoding"] == "identity"
    assert "cookie" not in headers
    assert "authorization" not in headers


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST.", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0.0.0.0", "0"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[fe80::1%25lo]"),
        *("10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"),
    ],
)
async def test_what_is_not_public_is_not_reached(outside: LoopbackServer, inside: LoopbackServer, host: str) -> None:
    """With the system's own look-up, which is what knows all the ways to write an address."""
    with pytest.raises(FetchFailed, match=r"does not fetch from|cannot be looked up|not at a valid address"):
        await fetch(fetcher(outside), f"http://{host}:{outside.port}/cat.png")
    assert inside.connections == outside.connections == 0


async def test_loopback_is_no_exception_unless_the_constructor_says_so(outside: LoopbackServer) -> None:
    with pytest.raises(FetchFailed, match="does not fetch from"):
        await fetch(Fetcher(policy(outside)), f"http://{OUTSIDE}:{outside.port}/cat.png")
    assert outside.connections == 0


async def test_a_name_that_changes_its_answer_reaches_what_was_checked(
    outside: LoopbackServer, inside: LoopbackServer
) -> None:
    """Connecting by name would look `localhost` up again and reach the inside."""
    names = Names(localhost=[[OUTSIDE], [INSIDE]])
    assert await fetch(fetcher(outside, names), f"http://localhost:{outside.port}/cat.png") == b"meow"
    assert names.asked == ["localhost"]
    assert inside.connections == 0


async def test_one_bad_address_among_good_ones_is_refused(outside: LoopbackServer, inside: LoopbackServer) -> None:
    names = Names(two_example=[[OUTSIDE, INSIDE]])
    with pytest.raises(FetchFailed, match="does not fetch from"):
        await fetch(fetcher(outside, names), f"http://two.example:{outside.port}/cat.png")
    assert outside.connections == inside.connections == 0


async def test_the_next_address_is_tried_when_one_takes_no_connection(outside: LoopbackServer) -> None:
    fetching = Fetcher(
        policy(outside), resolve=Names(two_example=[["127.0.0.3", OUTSIDE]]), extra_addresses=[OUTSIDE, "127.0.0.3"]
    )
    assert await fetch(fetching, f"http://two.example:{outside.port}/cat.png") == b"meow"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(outside: LoopbackServer, status: int) -> None:
    outside.answers["/old"] = redirect("cat.png", status)
    assert await fetch(fetcher(outside), f"http://{OUTSIDE}:{outside.port}/old") == b"meow"


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("http://127.0.0.1:{port}/cat.png", "does not fetch from"),
        ("//127.0.0.1:{port}/cat.png", "does not fetch from"),
        ("http://2130706433:{port}/cat.png", "does not fetch from"),
        ("http://[::ffff:127.0.0.1]:{port}/cat.png", "does not fetch from"),
        ("http://169.254.169.254:{port}/latest/meta-data", "does not fetch from"),
        ("http://127.0.0.2:22/", "port"),
        ("file:///etc/passwd", "not at an http"),
        ("gopher://127.0.0.2:{port}/", "not at an http"),
        ("data:image/png;base64,AAAA", "not at an http"),
        ("http://user:word@127.0.0.2:{port}/cat.png", "credentials"),
        ("http://cats.example:port/", "not valid"),
        ("/loop", "more than 3 times"),
    ],
)
async def test_each_redirect_is_checked_again(
    outside: LoopbackServer, inside: LoopbackServer, location: str, says: str
) -> None:
    outside.answers["/loop"] = redirect(location.format(port=outside.port))
    with pytest.raises(FetchFailed, match=says):
        await fetch(fetcher(outside), f"http://{OUTSIDE}:{outside.port}/loop")
    assert inside.connections == 0
    assert outside.connections == (4 if location == "/loop" else 1)


async def test_a_redirect_back_to_the_same_name_is_looked_up_and_checked_again(
    outside: LoopbackServer, inside: LoopbackServer
) -> None:
    names = Names(turn_example=[[OUTSIDE], [INSIDE]])
    outside.answers["/again"] = redirect("/cat.png")
    with pytest.raises(FetchFailed, match="does not fetch from"):
        await fetch(fetcher(outside, names), f"http://turn.example:{outside.port}/again")
    assert inside.connections == 0


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(100):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.1)


async def drip_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        writer.write(f"x-{number}: y\r\n".encode())
        await writer.drain()
        await asyncio.sleep(0.1)


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(10)


@pytest.mark.parametrize("slow", [drip, drip_headers, silence])
async def test_slow_answers_end_at_the_deadline(outside: LoopbackServer, slow: Callable[..., Any]) -> None:
    outside.answers["/slow"] = slow
    before = time.monotonic()
    with pytest.raises(FetchFailed, match=r"within 0\.5 seconds"):
        await fetch(fetcher(outside, seconds=0.5), f"http://{OUTSIDE}:{outside.port}/slow")
    assert time.monotonic() - before < 3


async def test_slow_redirects_share_one_deadline(outside: LoopbackServer) -> None:
    async def slow_redirect(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(redirect("/slow"))

    outside.answers["/slow"] = slow_redirect
    with pytest.raises(FetchFailed, match="seconds"):
        await fetch(fetcher(outside, seconds=1, redirects=9), f"http://{OUTSIDE}:{outside.port}/slow")
    assert 2 <= outside.connections <= 4


async def test_a_slow_look_up_ends_at_the_deadline(outside: LoopbackServer) -> None:
    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(10)
        return [OUTSIDE]

    with pytest.raises(FetchFailed, match="seconds"):
        await fetch(fetcher(outside, hang, seconds=0.2), f"http://a.example:{outside.port}/cat.png")


async def test_an_endless_body_ends_at_the_limit(outside: LoopbackServer) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n")
        while sent < 100 * MAX_BYTES:
            writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
            sent += 10_000
            await writer.drain()

    outside.answers["/endless"] = endless
    with pytest.raises(FetchFailed, match=f"larger than {MAX_BYTES} bytes"):
        await fetch(fetcher(outside), f"http://{OUTSIDE}:{outside.port}/endless", 10**9)
    assert sent < 100 * MAX_BYTES


async def test_a_body_that_says_it_is_too_long_is_not_read(outside: LoopbackServer) -> None:
    outside.answers["/long"] = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 100001\r\n\r\n"
    with pytest.raises(FetchFailed, match=f"larger than {MAX_BYTES} bytes"):
        await fetch(fetcher(outside), f"http://{OUTSIDE}:{outside.port}/long")


async def test_the_fetches_of_a_request_share_a_budget(outside: LoopbackServer) -> None:
    outside.answers["/big"] = ok(b"x" * 60_000)
    fetching, budget = fetcher(outside), ByteBudget(100_000)
    url = f"http://{OUTSIDE}:{outside.port}/big"
    assert len(await fetching.fetch(url, budget)) == 60_000
    with pytest.raises(FetchFailed, match="over 100000 bytes in total"):
        await fetching.fetch(url, budget)
    await fetching.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ok(b"<html>", "text/html"), "content type"),
        (ok(b"{}", "application/json; charset=utf-8"), "content type"),
        (ok(b"<svg>", "image/svg+xml"), "content type"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", "content type"),
        (ok(b"x", "image/png", "content-encoding: gzip"), "compressed"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 206 Partial\r\ncontent-type: image/png\r\ncontent-length: 1\r\n\r\nx", "status 206"),
        (b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", "status 302"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 9\r\n\r\nx", "broke off"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 300_000 + b"\r\n\r\n", "broke off"),
        (b"", "broke off"),
    ],
)
async def test_wrong_answers_are_told_plainly(outside: LoopbackServer, answer: bytes, says: str) -> None:
    outside.answers["/x"] = answer
    with pytest.raises(FetchFailed, match=says):
        await fetch(fetcher(outside), f"http://{OUTSIDE}:{outside.port}/x")


@pytest.mark.parametrize("kind", ["image/PNG", "image/jpeg; q=1", "binary/octet-stream", "image/tiff"])
async def test_the_content_types_of_images_are_taken(outside: LoopbackServer, kind: str) -> None:
    outside.answers["/x"] = ok(b"pixels", kind)
    assert await fetch(fetcher(outside), f"http://{OUTSIDE}:{outside.port}/x") == b"pixels"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://", "not at an http"),
        ("https:///cat.png", "not at an http"),
        ("ftp://cats.example/cat.png", "not at an http"),
        ("http://user:word@cats.example/cat.png", "credentials"),
        ("http://cats.example:22/cat.png", "port 22"),
        ("http://cats.example:0/cat.png", "port 0"),
        ("http://cats.example/cat.png", "port 80"),
        ("http://a\nb/", "not at a valid address"),
        ("http://" + "a" * 70_000, "not at a valid address"),
        ("http://nowhere.example:{port}/", "cannot be looked up"),
        ("http://" + "a" * 64 + ".example:{port}/", "cannot be looked up"),
    ],
)
async def test_addresses_that_make_no_sense_are_refused(outside: LoopbackServer, url: str, says: str) -> None:
    with pytest.raises(FetchFailed, match=says):
        await fetch(fetcher(outside, Names(cats_example=[[OUTSIDE]])), url.format(port=outside.port))
    assert outside.connections == 0


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("cats.example", True),
        ("CATS.example", True),
        ("a.dogs.example", True),
        ("b.a.dogs.example", True),
        ("dogs.example", False),
        ("evildogs.example", False),
        ("cats.example.evil", False),
        ("a.cats.example", False),
        ("127.0.0.2", False),
    ],
)
async def test_only_listed_hosts_are_fetched(outside: LoopbackServer, host: str, allowed: bool) -> None:
    async def anything(host: str, port: int) -> Sequence[str]:
        return [OUTSIDE]

    fetching = fetcher(outside, anything, hosts=["cats.example", "*.dogs.example"])
    url = f"http://{host}:{outside.port}/cat.png"
    if allowed:
        assert await fetch(fetching, url) == b"meow"
    else:
        with pytest.raises(FetchFailed, match="does not fetch from"):
            await fetch(fetching, url)
        assert outside.connections == 0


async def test_a_listed_host_redirects_to_listed_hosts_only(outside: LoopbackServer) -> None:
    outside.answers["/away"] = redirect(f"http://dogs.example:{outside.port}/cat.png")
    names = Names(cats_example=[[OUTSIDE]], dogs_example=[[OUTSIDE]])
    with pytest.raises(FetchFailed, match="does not fetch from"):
        await fetch(fetcher(outside, names, hosts=["cats.example"]), f"http://cats.example:{outside.port}/away")
    assert names.asked == ["cats.example"]


@pytest.mark.parametrize(
    ("address", "private", "reaches"),
    [
        ("10.1.2.3", False, False),
        ("10.1.2.3", True, True),
        ("127.0.0.1", True, False),
        ("169.254.169.254", True, False),
        ("fd00:ec2::254", True, False),
    ],
)
async def test_a_listed_host_may_be_private_but_never_this_machine(
    outside: LoopbackServer, address: str, private: bool, reaches: bool
) -> None:
    """`reaches` is read from the check alone: a real connection to a private address would leave this machine."""
    fetching = fetcher(outside, hosts=["store.example"], private_addresses=private)
    assert fetching._reachable(ip_address(address)) is reaches
    await fetching.close()
    open_to_all = fetcher(outside, hosts=None, private_addresses=private)
    assert not open_to_all._reachable(ip_address(address))
    await open_to_all.close()


async def test_cookies_are_never_kept(outside: LoopbackServer) -> None:
    outside.answers["/cat.png"] = ok(b"meow", "image/png", "set-cookie: id=1; path=/")
    fetching, url = fetcher(outside), f"http://{OUTSIDE}:{outside.port}/cat.png"
    for _ in range(2):
        await fetching.fetch(url, ByteBudget(1000))
    await fetching.close()
    assert all("cookie" not in headers for _, headers in outside.asked)


async def test_no_proxy_of_the_environment_is_used(
    outside: LoopbackServer, inside: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{INSIDE}:{inside.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert await fetch(fetcher(outside), f"http://{OUTSIDE}:{outside.port}/cat.png") == b"meow"
    assert inside.connections == 0


async def test_fetches_wait_for_a_place(outside: LoopbackServer) -> None:
    now = most = 0

    async def counting(writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.2)
        now -= 1
        writer.write(ok(b"meow"))

    outside.answers["/cat.png"] = counting
    fetching, url = fetcher(outside, at_once=2), f"http://{OUTSIDE}:{outside.port}/cat.png"
    got = await asyncio.gather(*(fetching.fetch(url, ByteBudget(1000)) for _ in range(6)))
    await fetching.close()
    assert got == [b"meow"] * 6
    assert most == 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for cats.example, good for a day."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    file = tmp_path_factory.mktemp("tls") / "cats.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "1", "-subj", "/CN=cats", "-addext", "subjectAltName=DNS:cats.example"),
            *("-keyout", file, "-out", f"{file}.crt"),
        ],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.mark.parametrize(
    ("host", "trusted"), [("cats.example", True), ("cats.example.", True), ("dogs.example", False)]
)
async def test_tls_verifies_the_name_although_the_address_is_pinned(
    certificate: Path, host: str, trusted: bool
) -> None:
    asked_names: list[str | None] = []
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    serving.sni_callback = lambda connection, name, context: asked_names.append(name)
    async with loopback(OUTSIDE, tls=serving) as server:
        server.answers["/cat.png"] = ok(b"meow")
        fetching = Fetcher(
            policy(server),
            resolve=Names(**{host: [[OUTSIDE]]}),
            tls=ssl.create_default_context(cafile=certificate),
            extra_addresses=[OUTSIDE],
        )
        if trusted:
            assert await fetch(fetching, f"https://{host}:{server.port}/cat.png") == b"meow"
        else:
            with pytest.raises(FetchFailed, match="no connection"):
                await fetch(fetching, f"https://{host}:{server.port}/cat.png")
            assert server.asked == []
    assert asked_names == [host.rstrip(".")]


async def test_an_unknown_authority_is_not_trusted(certificate: Path) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    async with loopback(OUTSIDE, tls=serving) as server:
        server.answers["/cat.png"] = ok(b"meow")
        with pytest.raises(FetchFailed, match="no connection"):
            await fetch(fetcher(server, Names(cats_example=[[OUTSIDE]])), f"https://cats.example:{server.port}/cat.png")
        assert server.asked == []
