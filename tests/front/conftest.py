"""Daemons over a synthetic engine, whose front end is the real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from server.admission.key_file import KeyFile
from tests.daemon_process import DaemonProcess
from tests.front.raw_http import Answer, exchange

TENANTS = """
tenants:
  - name: ada
  - name: eve
"""
MODEL = "qwen3.5-reference"


@dataclass(frozen=True)
class Keys:
    """What each of them may do is its name."""

    whole: str
    expired: str
    chat_only: str
    no_dialect: str
    other_model: str
    other_tenant: str
    admin: str
    wrong: str = "sk-qwend-wrong-0123456789abcdef0123456789abcdef"


def make_keys(path: Path) -> Keys:
    file = KeyFile(path)

    def key(tenant: str = "ada", **scopes: object) -> str:
        return file.create(tenant, **scopes)[0]

    return Keys(
        whole=key(),
        expired=key(expires="2020-01-01T00:00:00Z"),
        chat_only=key(dialects=["chat"]),
        no_dialect=key(dialects=[]),
        other_model=key(models=["another-*"]),
        other_tenant=key("eve"),
        admin=key(dialects=[], admin=True),
    )


class Front:
    """A daemon whose public port and whose admin port ask for keys."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        tenants = folder / "tenants.yaml"
        tenants.write_text(TENANTS)
        self.keys_file = folder / "keys.yaml"
        self.keys = make_keys(self.keys_file)
        self.daemon = DaemonProcess(
            *("--tenants", str(tenants), "--keys", str(self.keys_file)),
            environment={
                "QWEND_SERVER__METRICS_NEED_KEY": "true",
                "QWEND_SERVER__DOCUMENTS": "key",
                "QWEND_SERVER__ADMIN_NEEDS_KEY": "true",
                **environment,
            },
            module="tests.synthetic_cli",
        )

    def raw(self, request: bytes, *, admin: bool = False) -> Answer:
        return exchange(self.daemon.admin_port if admin else self.daemon.port, request)

    def client(self, key: str | None = None, *, admin: bool = False) -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.daemon.admin_url if admin else self.daemon.url, headers=headers, timeout=30)


@pytest.fixture(scope="session")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    running = Front(tmp_path_factory.mktemp("front"), {})
    try:
        running.daemon.wait_ready(60)
        yield running
    finally:
        running.daemon.stop()
