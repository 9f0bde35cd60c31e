from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.doctor.access import RedisFacts, check_redis, check_tenants
from server.doctor.findings import Level
from server.doctor.gathering.access import gather_redis, gather_tenants
from tests.redis_server import RedisServer
from tests.unit.doctor.samples import CPU_START

EXAMPLE = Path(__file__).parents[3] / "config" / "tenants.example.yaml"


def test_a_tenants_file_is_read_as_the_daemon_does(tmp_path: Path) -> None:
    start = replace(CPU_START, tenants=str(EXAMPLE))
    found = check_tenants(gather_tenants(start.tenants), start)
    assert found.level is Level.OK
    assert found.what.endswith(": 3 tenants")
    bad = tmp_path / "tenants.yaml"
    bad.write_text("tenants: [{name: ada, keys: [sk-very-secret-0123456789], wieght: 2}]")
    found = check_tenants(gather_tenants(str(bad)), start)
    assert found.level is Level.FAIL
    assert "wieght" in found.what
    assert "sk-very-secret" not in found.what
    assert check_tenants(gather_tenants(str(tmp_path / "none")), start).level is Level.FAIL


def test_no_tenants_file_warns_where_others_can_reach_the_port() -> None:
    for host, level in (("127.0.0.1", Level.OK), ("::1", Level.OK), ("0.0.0.0", Level.WARN), ("10.0.0.5", Level.WARN)):
        assert check_tenants(None, replace(CPU_START, host=host)).level is level, host


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


def test_a_redis_that_answers_and_one_that_died(redis: RedisServer) -> None:
    facts = gather_redis(redis.url)
    found = check_redis(facts)
    assert found is not None
    assert found.level is Level.OK
    assert found.what.startswith(f"redis://127.0.0.1:{redis.port} answers in ")
    redis.kill()
    found = check_redis(gather_redis(redis.url))
    assert found is not None
    assert found.level is Level.FAIL


def test_a_redis_that_says_nothing_costs_no_more_than_its_time_and_its_password_is_not_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        facts = gather_redis(f"redis://user:hunter2@127.0.0.1:{silent.getsockname()[1]}/0", seconds=0.3)
        assert time.monotonic() - began < 2
    assert facts is not None
    assert facts.seconds is None
    assert "hunter2" not in f"{facts}"
    unusable = gather_redis("redis+sentinel://:hunter2@nowhere")
    assert unusable is not None
    assert "hunter2" not in f"{unusable}"


def test_a_slow_redis_warns_and_none_has_no_line() -> None:
    slow = check_redis(RedisFacts("redis://far", 0.12))
    assert slow is not None
    assert (slow.level, slow.what) == (Level.WARN, "redis://far answers in 120.0 ms")
    assert check_redis(gather_redis(None)) is None
