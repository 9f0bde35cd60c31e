from __future__ import annotations

from dataclasses import replace

import pytest

from server.doctor import rocm_smi
from server.doctor.findings import Level
from server.doctor.gpus import Gpu, GpuFacts
from server.doctor.nvidia_smi import NotReadable, read_links
from server.doctor.topology import LinkFacts, check_links, check_nccl
from tests.unit.doctor.samples import FP8_ON_8_H200, h200, rocm_links, topology

NVIDIA_SMI_OF_TWO_CARDS = """\
\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID
GPU0\t X \tPHB\t0-63\t0\t\tN/A
GPU1\tPHB\t X \t0-63\t0\t\tN/A

Legend:

  X    = Self
"""


def test_the_matrix_is_read_with_network_cards_and_underlining() -> None:
    links = read_links(topology(links={(2, 5): "SYS"}))
    assert len(links) == 28
    assert (links[0, 1], links[2, 5], links[6, 7]) == ("NV18", "SYS", "NV18")
    assert read_links(NVIDIA_SMI_OF_TWO_CARDS) == {(0, 1): "PHB"}
    with pytest.raises(NotReadable, match="Failed to initialize NVML"):
        read_links("Failed to initialize NVML: Unknown Error\n")
    assert read_links(topology(count=1)) == {}
    assert rocm_smi.read_links(rocm_links(3)) == {(0, 1): "XGMI", (0, 2): "XGMI", (1, 2): "XGMI"}


@pytest.mark.parametrize(
    ("name", "links", "level", "words"),
    [
        ("NVIDIA H200", {}, Level.OK, "NV18 between 28 pairs"),
        ("NVIDIA H200", {(0, 3): "SYS"}, Level.WARN, "GPU 0 and GPU 3 of a board with direct links do not use them"),
        ("NVIDIA H200", {(0, 3): "NV16"}, Level.WARN, "not all the same"),
        ("NVIDIA H200 NVL", {(0, 3): "NODE"}, Level.OK, "have no direct links"),
        ("NVIDIA H200 NVL", {(0, 3): "SYS"}, Level.WARN, "another CPU socket"),
    ],
)
def test_links(name: str, links: dict[tuple[int, int], str], level: Level, words: str) -> None:
    found = check_links(LinkFacts(read_links(topology(links=links))), h200(name=name), 8)
    assert found is not None
    assert found.level is level
    assert words in found.what


def test_only_the_gpus_of_the_start_are_looked_at() -> None:
    facts = LinkFacts(read_links(topology(links={(0, 2): "SYS"})))
    found = check_links(facts, replace(h200(), visible="1,2,3,4"), 4)
    assert found is not None
    assert found.what == "NV18 between 6 pairs"
    assert check_links(facts, h200(), 1) is None
    assert check_links(facts, h200(), 0) is None


def test_a_matrix_that_nobody_tells_warns() -> None:
    found = check_links(LinkFacts(trouble="nvidia-smi did not answer in 15 s"), h200(), 8)
    assert found is not None
    assert (found.level, found.what) == (Level.WARN, "not known: nvidia-smi did not answer in 15 s")


def test_amd_boards_want_xgmi() -> None:
    gpus = GpuFacts("amd", gpus=tuple(Gpu(index, "AMD Instinct MI300X OAM", 1) for index in range(2)))
    for kind, level in (("XGMI", Level.OK), ("PCIE", Level.WARN)):
        found = check_links(LinkFacts(rocm_smi.read_links(rocm_links(2, kind))), gpus, 2)
        assert found is not None
        assert found.level is level


def test_nccl() -> None:
    def level(facts: LinkFacts, nodes: int = 1, **environment: str) -> Level:
        found = check_nccl(facts, replace(FP8_ON_8_H200, nodes=nodes, environment=environment), 8)
        assert found is not None
        return found.level

    cards = ("mlx5_0", "mlx5_1")
    assert level(LinkFacts()) is Level.OK
    assert level(LinkFacts(), NCCL_P2P_DISABLE="1") is Level.WARN
    assert level(LinkFacts(), NCCL_P2P_DISABLE="0") is Level.OK
    assert level(LinkFacts(), nodes=2) is Level.WARN
    assert level(LinkFacts(infiniband=cards), nodes=2) is Level.OK
    assert level(LinkFacts(infiniband=cards, locked_memory=8 * 2**20), nodes=2) is Level.FAIL
    assert check_nccl(LinkFacts(), FP8_ON_8_H200, 1) is None
