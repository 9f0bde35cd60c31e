"""The admin port where more than this machine may reach it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from server.admission.key_file import KeyFile
from server.front_settings import ServerSettings, admin_needs_key
from tests.daemon_process import DaemonProcess


@pytest.mark.parametrize(
    ("host", "wished", "asks"),
    [
        ("127.0.0.1", False, False),
        ("127.1.2.3", False, False),
        ("::1", False, False),
        ("localhost", False, False),
        ("127.0.0.1", True, True),
        ("localhost", True, True),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("10.0.0.1", False, True),
        ("admin.internal", False, True),
        ("localhost.evil.example", False, True),
        ("", False, True),
    ],
)
def test_any_but_a_loopback_address_asks_for_a_key(host: str, wished: bool, asks: bool) -> None:
    assert admin_needs_key(ServerSettings(admin_host=host, admin_needs_key=wished)) is asks


def test_without_an_admin_key_such_a_daemon_does_not_start(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    KeyFile(keys).create("ada")
    environment = {"QWEND_SERVER__ADMIN_NEEDS_KEY": "true"}
    for given in ([], ["--keys", str(keys)]):
        daemon = DaemonProcess(*given, environment=environment, module="tests.synthetic_cli")
        try:
            assert daemon.wait(60) == 2
            assert "no key has the scope `admin`" in daemon.log
            assert "qwend keys create --admin" in daemon.log
        finally:
            daemon.stop()


def test_with_one_it_starts_and_takes_that_key_alone(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    admin, _ = KeyFile(keys).create("ops", admin=True, name="root")
    user, _ = KeyFile(keys).create("ada")
    daemon = DaemonProcess(
        "--keys", str(keys), environment={"QWEND_SERVER__ADMIN_NEEDS_KEY": "true"}, module="tests.synthetic_cli"
    )
    try:
        daemon.wait_ready(60)
        with httpx.Client(base_url=daemon.admin_url) as client:

            def drain(key: str | None, **headers: str) -> int:
                given = {"authorization": f"Bearer {key}"} if key else {}
                return client.post("/admin/drain", headers={**given, **headers}).status_code

            assert [drain(None), drain(user), drain(admin, origin="http://evil.example")] == [401, 403, 403]
            # Its last admin key is revoked: the port shuts, and does not open to everybody.
            KeyFile(keys).revoke("ops", "root")
            with httpx.Client(base_url=daemon.admin_url, headers={"x-api-key": admin}) as with_key:
                assert with_key.post("/admin/reload").status_code == 200
                assert with_key.get("/admin/tenants").status_code == 401
            assert drain(None) == 401
            other, _ = KeyFile(keys).create("ops", admin=True)
            _until(lambda: drain(other) == 202)
        assert daemon.wait(30) == 0
    finally:
        daemon.stop()


def _until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
