"""What profiles and settings ask of a machine."""

from __future__ import annotations

import pytest

from server.doctor.start import Hardware, Start, start_of
from server.profile_files import profiles
from server.settings import load


def start(profile: str, **flags: object) -> Start:
    return start_of(load(profile, flags))


def test_a_profile_with_gpus() -> None:
    found = start("qwen3.5-397b-8xh200-fp8")
    assert found.hardware == Hardware("H200", int(139.8 * 2**30))
    assert (found.gpus(cuda_build=False), found.engines, found.workers_of_an_engine) == (8, 8, 1)
    assert found.media_cache_in_shared_memory == 4 * 2**30
    assert found.fp8_kv
    assert found.model == "Qwen/Qwen3.5-397B-A17B-FP8"
    latency = start("qwen3.5-397b-8xh200-fp8-latency")
    assert (latency.engines, latency.workers_of_an_engine) == (1, 8)


def test_a_profile_of_two_nodes() -> None:
    first = start("qwen3.5-397b-2x8xh100-bf16")
    assert (first.nodes, first.workers, first.serves) == (2, 8, True)
    assert first.cluster_ports[0] == 29501
    second = start("qwen3.5-397b-2x8xh100-bf16", node={"rank": 1})
    assert (second.serves, second.cluster_ports) == (False, ())


def test_without_a_gpu_in_the_profile_the_installed_vllm_decides() -> None:
    found = start("generic", model={"path": "Qwen/Qwen3.5-0.8B"}, engine={"tensor_parallel_size": 2})
    assert found.hardware is None
    assert (found.gpus(cuda_build=False), found.gpus(cuda_build=True)) == (0, 2)


def test_the_kv_cache_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start("reference-cpu").kv_cache_bytes == 2**30
    assert start("generic").kv_cache_bytes is None
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "8")
    assert start("generic").kv_cache_bytes == 8 * 2**30
    assert start("reference-cpu").kv_cache_bytes == 2**30


def test_ports_and_addresses() -> None:
    found = start("reference-cpu", server={"host": "0.0.0.0", "port": 9000})
    assert (found.host, found.port, found.admin_host, found.admin_port) == ("0.0.0.0", 9000, "127.0.0.1", 9001)
    assert start("reference-cpu", server={"port": 0}).admin_port == 0
    assert start("reference-cpu", server={"admin_port": 7}).admin_port == 7
    assert start("reference-cpu", server={"admin": False}).admin_host is None


def test_secrets_are_not_in_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    found = start("reference-cpu", quotas={"storage_url": "redis://:hunter2@h/0"})
    assert found.redis == "redis://:hunter2@h/0"
    assert "hunter2" not in repr(found)
    assert "hf_secret" not in repr(found)


def test_the_operators_environment_wins_over_the_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start("reference-cpu").environment["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert start("reference-cpu").environment["HF_HUB_OFFLINE"] == "0"


@pytest.mark.parametrize("name", sorted(profiles()))
def test_every_profile_asks_for_the_gpus_that_it_is_made_for(name: str) -> None:
    settings = load(name)
    found = start_of(settings)
    assert found.gpus(cuda_build=False) == settings.hardware.gpus_per_node
    assert (found.hardware is None) is (settings.hardware.gpus_per_node == 0)
