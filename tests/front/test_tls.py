"""TLS with a certificate that is renewed while connections are open, and cross-origin requests."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from server.api.certificates import CertificateError, Certificates
from server.settings import Settings
from tests.daemon_process import DaemonProcess
from tests.front.certificate import write_certificate
from tests.front.raw_http import receive

PAGE = "https://chat.example.com"


class Secured:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        chain, key = write_certificate(folder, "first")
        self.daemon = DaemonProcess(
            environment={
                "QWEND_SERVER__TLS_CERTIFICATE": str(chain),
                "QWEND_SERVER__TLS_KEY": str(key),
                "QWEND_SERVER__CORS_ORIGINS": f'["{PAGE}"]',
            },
            module="tests.synthetic_cli",
            scheme="https",
        )

    def served(self) -> str:
        """The common name that a new connection is shown."""
        connection = self.connect()
        with connection:
            return subject(connection)

    def connect(self, **limits: ssl.TLSVersion) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        for name, value in limits.items():
            setattr(context, name, value)
        raw = socket.create_connection(("127.0.0.1", self.daemon.port), timeout=10)
        return context.wrap_socket(raw)

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not true():
            assert time.monotonic() < deadline, self.daemon.log[-2000:]
            time.sleep(0.1)


def subject(connection: ssl.SSLSocket) -> str:
    encoded = connection.getpeercert(binary_form=True)
    assert encoded
    return next(name for name in ("first", "second") if name.encode() in encoded)


def ask(connection: ssl.SSLSocket) -> int:
    return receive(connection, time.monotonic(), b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").status


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    running = Secured(tmp_path_factory.mktemp("tls"))
    try:
        running.daemon.wait_ready(60)
        yield running
    finally:
        running.daemon.stop()


def test_the_api_is_served_over_tls_and_over_nothing_else(secured: Secured) -> None:
    with httpx.Client(
        base_url=secured.daemon.url, verify=ssl.create_default_context(cafile=secured.folder / "chain.pem")
    ) as client:
        request = {"model": "qwen3.5-reference", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
        with client.stream("POST", "/v1/chat/completions", json={**request, "stream": True}) as answer:
            assert answer.status_code == 200
            assert "[DONE]" in answer.read().decode()
    with pytest.raises(httpx.TransportError):
        httpx.get(secured.daemon.url.replace("https", "http") + "/health")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(secured.daemon.url + "/health")


def test_old_versions_of_tls_are_refused(secured: Secured) -> None:
    # OpenSSL may not offer them either, which is a refusal too.
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secured.connect(maximum_version=ssl.TLSVersion.TLSv1_1)


def test_a_renewed_certificate_is_served_at_once_and_open_connections_go_on(secured: Secured) -> None:
    with secured.connect() as before:
        name = subject(before)
        assert ask(before) == 200
        write_certificate(secured.folder, "second")
        secured.until(lambda: secured.served() == "second")
        assert ask(before) == 200
        assert subject(before) == name
    # Nothing has changed since: SIGHUP reads them all the same.
    before_hangup = secured.daemon.log.count("certificate reloaded")
    os.kill(secured.daemon.process.pid, signal.SIGHUP)
    secured.until(lambda: secured.daemon.log.count("certificate reloaded") > before_hangup)
    assert secured.served() == "second"


def test_a_broken_renewal_changes_nothing_and_is_told(secured: Secured) -> None:
    name = secured.served()
    key = secured.folder / "key.pem"
    good = key.read_bytes()
    other = secured.folder / "other"
    other.mkdir()
    key.write_bytes(write_certificate(other, "first")[1].read_bytes())
    secured.until(lambda: "certificate not reloaded" in secured.daemon.log)
    assert secured.served() == name
    key.write_bytes(good)
    secured.until(lambda: secured.daemon.log.count("certificate reloaded") > secured.daemon.log.count("not reloaded"))
    assert secured.served() == name
    assert "PRIVATE KEY" not in secured.daemon.log


def test_a_configured_origin_may_call_and_no_other(secured: Secured) -> None:
    with httpx.Client(base_url=secured.daemon.url, verify=False) as client:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        allowed = client.options("/v1/chat/completions", headers={"origin": PAGE, **asked})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PAGE)
        assert "access-control-allow-credentials" not in allowed.headers
        assert client.get("/v1/models", headers={"origin": PAGE}).headers["access-control-allow-origin"] == PAGE
        for origin in ("https://evil.example", "null", f"{PAGE}.evil.example", "http://chat.example.com"):
            refused = client.options("/v1/chat/completions", headers={"origin": origin, **asked})
            assert refused.status_code == 400
            assert "access-control-allow-origin" not in refused.headers
            assert "access-control-allow-origin" not in client.get("/v1/models", headers={"origin": origin}).headers


@pytest.mark.parametrize("origins", [["chat.example.com"], ["https://x/"], ["https://*.example.com"], ["ftp://x"]])
def test_what_is_no_origin_is_refused(origins: list[str]) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        Settings.model_validate({"server": {"cors_origins": origins}})


def test_a_certificate_and_its_key_need_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="need each other"):
        Settings.model_validate({"server": {"tls_certificate": "x"}})
    chain, key = write_certificate(tmp_path, "first")
    assert Certificates(chain, key).context.minimum_version >= ssl.TLSVersion.TLSv1_2
    with pytest.raises(CertificateError, match="No such file"):
        Certificates(tmp_path / "none.pem", key)
    command = f"openssl ec -in {key} -aes256 -passout pass:secret -out {tmp_path}/locked.pem"
    assert os.system(command + " 2>/dev/null") == 0
    with pytest.raises(CertificateError):
        Certificates(chain, tmp_path / "locked.pem")
