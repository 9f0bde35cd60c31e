"""Fetching what a request names by an http(s) address, so that it reaches nothing that it should not reach.

A name is looked up once for each hop, every address of the answer is checked, and the connection goes to an address
that was checked, never to the name: an answer that changes between two look-ups changes nothing. TLS still verifies the
name. Redirects are followed by hand, each as a new hop. Proxies and credentials of the environment are not used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, Protocol

import httpx

from server.media.addresses import Address, is_own_network, is_public

Kind = Literal["image", "video"]

# How object stores serve what was uploaded without a type.
_UNTYPED = ("application/octet-stream", "binary/octet-stream")

CONTENT_TYPES: Mapping[Kind, frozenset[str]] = {
    "image": frozenset(
        {
            "image/png",
            "image/apng",
            "image/jpeg",
            "image/jpg",
            "image/webp",
            "image/gif",
            "image/bmp",
            "image/x-ms-bmp",
            "image/tiff",
            *_UNTYPED,
        }
    ),
    "video": frozenset(
        {
            "video/mp4",
            "video/x-m4v",
            "video/quicktime",
            "video/webm",
            "video/x-matroska",
            "video/matroska",
            "video/avi",
            "video/x-msvideo",
            "video/3gpp",
            "image/gif",
            *_UNTYPED,
        }
    ),
}

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HEADERS = {"user-agent": "qwend", "accept": "image/*, video/*", "accept-encoding": "identity", "connection": "close"}
_REDIRECTS = (301, 302, 303, 307, 308)
_A: Mapping[Kind, str] = {"image": "an image", "video": "a video"}
# Of a name's addresses, how many are tried when connecting fails.
_ADDRESSES_TRIED = 3


class FetchFailed(Exception):
    """Why nothing was fetched, as the end of a sentence that begins with the thing's name."""


class Resolver(Protocol):
    """Looks names up."""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Addresses of `host` in the order to try them. Raises OSError."""


class SystemResolver:
    """The system's look-up, in threads of its own: one that hangs must not hold up what else runs in threads."""

    def __init__(self, threads: int = 8) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """See `Resolver`."""
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


class ByteBudget:
    """Bytes that all fetches of one request may still bring."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    def take(self, count: int) -> None:
        """Counts bytes that arrived. Raises FetchFailed once they are too many."""
        self._taken += count
        if self._taken > self._limit:
            raise FetchFailed(f"brings what this request fetches over {self._limit} bytes in total")


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """What may be fetched.

    `hosts` None means any host on a public address. Otherwise only these hosts, where `*.example.com` stands for every
    name below example.com; with `private_addresses` they may be on a private network too, but never on this machine.
    `max_bytes` bounds an image and `max_video_bytes` a video. `seconds` bounds a fetch as a whole, with its redirects
    and its wait for one of the `at_once` places.
    """

    hosts: Collection[str] | None
    private_addresses: bool
    ports: Collection[int]
    max_bytes: int
    seconds: float
    redirects: int
    at_once: int
    max_video_bytes: int = 0


class Fetcher:
    """Fetches under a policy.

    Without `tls` the certificates of the system and of certifi are trusted. `extra_addresses` are let through although
    they are not public. It exists for tests, which reach only loopback.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        resolve: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        extra_addresses: Collection[str] = (),
    ) -> None:
        self._policy = policy
        self._resolve = resolve or SystemResolver()
        self._extra = frozenset(map(ip_address, extra_addresses))
        self._allowed = _host_check(policy.hosts)
        self._places = asyncio.Semaphore(policy.at_once)
        # The transport alone: a client would follow, remember cookies, log addresses and use the environment's proxy.
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls or _trusted(),
            trust_env=False,
            # Kept connections are known by address alone; the next request to it may be meant for another name.
            limits=httpx.Limits(max_connections=policy.at_once, max_keepalive_connections=0),
        )

    async def fetch(self, url: str, budget: ByteBudget, kind: Kind = "image") -> bytes:
        """The body behind `url`, which must be of that kind by its type. Raises FetchFailed."""
        try:
            async with asyncio.timeout(self._policy.seconds), self._places:
                return await self._follow(url, budget, kind)
        except TimeoutError:
            raise FetchFailed(f"could not be fetched within {self._policy.seconds:g} seconds") from None
        except httpx.TimeoutException:
            raise FetchFailed(f"could not be fetched within {self._policy.seconds:g} seconds") from None
        except httpx.HTTPError as error:
            raise FetchFailed(f"could not be fetched: {_plainly(error)}") from error

    async def close(self) -> None:
        """Ends what is still open."""
        await self._transport.aclose()

    async def _follow(self, address: str, budget: ByteBudget, kind: Kind) -> bytes:
        url = _parse(address)
        for _ in range(self._policy.redirects + 1):
            body, location = await self._hop(url, budget, kind)
            if location is None:
                return body
            try:
                url = _parse(url.join(location))
            except httpx.InvalidURL:
                raise FetchFailed("redirects to an address that is not valid") from None
        raise FetchFailed(f"redirects more than {self._policy.redirects} times")

    async def _hop(self, url: httpx.URL, budget: ByteBudget, kind: Kind) -> tuple[bytes, str | None]:
        """The body, or where the answer points to."""
        pinned = await self._checked_addresses(url)
        for number, address in enumerate(pinned, 1):
            try:
                return await self._get(url, address, budget, kind)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if number == len(pinned):
                    raise
        raise AssertionError("there is always an address")

    async def _checked_addresses(self, url: httpx.URL) -> list[Address]:
        host = url.raw_host.decode("ascii")
        port = _DEFAULT_PORTS[url.scheme] if url.port is None else url.port
        if port not in self._policy.ports:
            raise FetchFailed(f"is on port {port}; this server fetches from port {_listed(self._policy.ports)} only")
        if not self._allowed(host):
            raise FetchFailed("is on a host that this server does not fetch from")
        try:
            addresses = [ip_address(each) for each in await self._resolve(host, port)]
        except (OSError, ValueError):
            addresses = []
        if not addresses:
            raise FetchFailed("is on a host whose name cannot be looked up")
        # One bad address spoils the answer: a name that points both inside and outside is after the inside.
        if not all(map(self._reachable, addresses)):
            raise FetchFailed("is at an address that this server does not fetch from")
        return addresses[:_ADDRESSES_TRIED]

    def _reachable(self, address: Address) -> bool:
        own = self._policy.hosts is not None and self._policy.private_addresses and is_own_network(address)
        return is_public(address) or own or address in self._extra

    async def _get(self, url: httpx.URL, address: Address, budget: ByteBudget, kind: Kind) -> tuple[bytes, str | None]:
        max_bytes = self._max_bytes(kind)
        request = httpx.Request(
            "GET",
            url.copy_with(host=str(address), fragment=None),
            headers={**_HEADERS, "host": url.netloc.decode("ascii")},
            extensions={
                # TLS asks for this name and verifies the certificate against it.
                "sni_hostname": url.raw_host.decode("ascii").rstrip("."),
                "timeout": httpx.Timeout(self._policy.seconds).as_dict(),
            },
        )
        response = await self._transport.handle_async_request(request)
        try:
            location = response.headers.get("location")
            if response.status_code in _REDIRECTS and location is not None:
                return b"", location
            self._check(response.status_code, response.headers, kind)
            body = bytearray()
            async for chunk in response.aiter_raw():
                budget.take(len(chunk))
                body += chunk
                if len(body) > max_bytes:
                    raise FetchFailed(f"is larger than {max_bytes} bytes")
            return bytes(body), None
        finally:
            await response.aclose()

    def _max_bytes(self, kind: Kind) -> int:
        return self._policy.max_video_bytes if kind == "video" else self._policy.max_bytes

    def _check(self, status: int, headers: Mapping[str, str], kind: Kind) -> None:
        if status != 200:
            raise FetchFailed(f"could not be fetched: its server answered with status {status}")
        if headers.get("content-type", "").partition(";")[0].strip().lower() not in CONTENT_TYPES[kind]:
            raise FetchFailed(f"is not {_A[kind]}: its server sent another content type")
        # A compressed body could grow without bound when it is opened; nobody needs one around images or video.
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise FetchFailed("was sent compressed although that was not asked for")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes(kind):
            raise FetchFailed(f"is larger than {self._max_bytes(kind)} bytes")


def _trusted() -> ssl.SSLContext:
    """The public authorities, and the operator's own where the system knows them."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def _parse(address: str | httpx.URL) -> httpx.URL:
    """The address, by the one parser that is used for checking and for connecting alike."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        raise FetchFailed("is not at a valid address") from None
    if url.scheme not in _DEFAULT_PORTS or not url.host:
        raise FetchFailed("is not at an http(s) address")
    if url.userinfo:
        raise FetchFailed("is at an address with credentials in it, which are not sent")
    return url


def _host_check(hosts: Collection[str] | None) -> Callable[[str], bool]:
    if hosts is None:
        return lambda host: True
    names = {host.lower().rstrip(".") for host in hosts}
    exact = {name for name in names if not name.startswith("*.")}
    below = tuple(name[1:] for name in names - exact)

    def allowed(host: str) -> bool:
        host = host.lower().rstrip(".")
        return host in exact or host.endswith(below)

    return allowed


def _plainly(error: httpx.HTTPError) -> str:
    """What went wrong in words that tell no address."""
    if isinstance(error, httpx.ConnectError):
        return "no connection to its server"
    return "its server broke off the answer" if isinstance(error, httpx.TransportError) else "HTTP error"


def _listed(ports: Collection[int]) -> str:
    return " or ".join(map(str, sorted(ports)))
