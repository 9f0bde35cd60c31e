"""How hardware is written."""

from __future__ import annotations

import pytest

from server.planning.hardware import UnknownHardware, gpu, hardware


@pytest.mark.parametrize(
    ("text", "nodes", "per_node", "name"),
    [
        ("H200", 1, 1, "H200"),
        ("8xH200", 1, 8, "H200"),
        ("2x8xh100", 2, 8, "H100"),
        ("4xRTX-PRO-6000", 1, 4, "RTXPRO6000"),
        ("RTX PRO 6000", 1, 1, "RTXPRO6000"),
        ("8xMI300X", 1, 8, "MI300X"),
    ],
)
def test_hardware_is_read(text: str, nodes: int, per_node: int, name: str) -> None:
    found = hardware(text)
    assert (found.nodes, found.per_node, found.gpu.name) == (nodes, per_node, name)


@pytest.mark.parametrize("text", ["8x", "0xH200", "eight H200s", "2x2x2xH200", ""])
def test_what_is_not_hardware_is_refused(text: str) -> None:
    with pytest.raises(UnknownHardware):
        hardware(text)


def test_a_misspelt_gpu_gets_a_suggestion() -> None:
    with pytest.raises(UnknownHardware, match="did you mean H200"):
        gpu("H20O")


def test_more_than_eight_gpus_are_nodes() -> None:
    assert hardware("8xH100").sized(16).name == "2x8xH100"


def test_a_precision_that_a_gpu_lacks_is_computed_in_bf16() -> None:
    assert gpu("A100").rate("fp8") == gpu("A100").rate("bf16")
