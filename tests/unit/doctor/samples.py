"""What the vendors' tools print on machines that this project does not have, field by field as their drivers do."""

from __future__ import annotations

import json

from server.doctor.gpus import GpuFacts
from server.doctor.nvidia_smi import read_gpus
from server.doctor.start import Hardware, Start

H200_MIB, H100_MIB = 143771, 81559
GIB = 2**30

NO_DRIVER = """NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest \
NVIDIA driver is installed and running.

"""
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n"


def smi_xml(
    count: int = 8,
    name: str = "NVIDIA H200",
    mib: int = H200_MIB,
    driver: str = "580.95.05",
    cuda: str = "13.0",
    used_mib: dict[int, int] | None = None,
    dram_uncorrectable: dict[int, str] | None = None,
    remap_pending: tuple[int, ...] = (),
    remap_failed: tuple[int, ...] = (),
    fabric: str = "Completed",
    mig: str = "Disabled",
) -> str:
    """`nvidia-smi -q -x`."""
    gpus = "".join(
        _gpu(
            index,
            name=name,
            mib=mib,
            used=(used_mib or {}).get(index, 4),
            dram=(dram_uncorrectable or {}).get(index, "0"),
            pending="Yes" if index in remap_pending else "No",
            failed="Yes" if index in remap_failed else "No",
            fabric=fabric,
            mig=mig,
        )
        for index in range(count)
    )
    return f"""<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
	<timestamp>Wed Nov 25 12:00:00 2026</timestamp>
	<driver_version>{driver}</driver_version>
	<cuda_version>{cuda}</cuda_version>
	<attached_gpus>{count}</attached_gpus>
{gpus}</nvidia_smi_log>
"""


def _gpu(
    index: int, *, name: str, mib: int, used: int, dram: str, pending: str, failed: str, fabric: str, mig: str
) -> str:
    return f"""	<gpu id="00000000:{0x18 + index:02X}:00.0">
		<product_name>{name}</product_name>
		<product_brand>NVIDIA</product_brand>
		<product_architecture>Hopper</product_architecture>
		<persistence_mode>Enabled</persistence_mode>
		<mig_mode>
			<current_mig>{mig}</current_mig>
			<pending_mig>{mig}</pending_mig>
		</mig_mode>
		<mig_devices>
			None
		</mig_devices>
		<uuid>GPU-{index}f2d1c04-5a1b-8f6e-9d3c-2b7a6e5f4c{index:02d}</uuid>
		<minor_number>{index}</minor_number>
		<fabric>
			<state>{fabric}</state>
			<status>Success</status>
		</fabric>
		<fb_memory_usage>
			<total>{mib} MiB</total>
			<reserved>634 MiB</reserved>
			<used>{used} MiB</used>
			<free>{mib - 634 - used} MiB</free>
		</fb_memory_usage>
		<bar1_memory_usage>
			<total>262144 MiB</total>
			<used>1 MiB</used>
			<free>262143 MiB</free>
		</bar1_memory_usage>
		<ecc_mode>
			<current_ecc>Enabled</current_ecc>
			<pending_ecc>Enabled</pending_ecc>
		</ecc_mode>
		<ecc_errors>
			<volatile>
				<sram_correctable>0</sram_correctable>
				<sram_uncorrectable_parity>0</sram_uncorrectable_parity>
				<sram_uncorrectable_secded>0</sram_uncorrectable_secded>
				<dram_correctable>3</dram_correctable>
				<dram_uncorrectable>{dram}</dram_uncorrectable>
			</volatile>
			<aggregate>
				<sram_correctable>0</sram_correctable>
				<sram_uncorrectable_parity>0</sram_uncorrectable_parity>
				<sram_uncorrectable_secded>0</sram_uncorrectable_secded>
				<dram_correctable>9</dram_correctable>
				<dram_uncorrectable>7</dram_uncorrectable>
				<sram_threshold_exceeded>No</sram_threshold_exceeded>
			</aggregate>
		</ecc_errors>
		<remapped_rows>
			<remapped_row_corr>0</remapped_row_corr>
			<remapped_row_unc>0</remapped_row_unc>
			<remapped_row_pending>{pending}</remapped_row_pending>
			<remapped_row_failure>{failed}</remapped_row_failure>
		</remapped_rows>
		<processes>
		</processes>
	</gpu>
"""


def topology(count: int = 8, link: str = "NV18", links: dict[tuple[int, int], str] | None = None) -> str:
    """`nvidia-smi topo -m` of a machine with network cards, underlined heading and legend."""
    names = [f"GPU{index}" for index in range(count)]
    heading = "\t".join([*names, "NIC0", "NIC1", "CPU Affinity", "NUMA Affinity", "GPU NUMA ID"])
    lines = [f"\t\x1b[4m{heading}\x1b[0m"]
    for row in range(count):
        cells = [
            " X " if row == column else (links or {}).get((min(row, column), max(row, column)), link)
            for column in range(count)
        ]
        half = "0-55,112-167\t0\t\tN/A" if row < count / 2 else "56-111,168-223\t1\t\tN/A"
        lines.append("\t".join([f"GPU{row}", *cells, "PIX", "SYS", half]))
    lines.append("\t".join(["NIC0", *["PIX"] * count, " X ", "SYS", "", ""]))
    lines.append("\t".join(["NIC1", *["SYS"] * count, "SYS", " X ", "", ""]))
    return "\n".join(
        [
            *lines,
            "",
            "Legend:",
            "",
            "  X    = Self",
            "  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)",
            "  NV#  = Connection traversing a bonded set of # NVLinks",
            "",
            "NIC Legend:",
            "",
            "  NIC0: mlx5_0",
            "  NIC1: mlx5_1",
            "",
        ]
    )


def rocm_json(count: int = 8) -> str:
    """`rocm-smi --showproductname --showmeminfo vram --showdriverversion --json`."""
    cards = {
        f"card{index}": {
            "VRAM Total Memory (B)": "206141652992",
            "VRAM Total Used Memory (B)": "298647552",
            "Card Series": "AMD Instinct MI300X OAM",
            "Card Model": "0x74a1",
            "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]",
            "GFX Version": "gfx942",
        }
        for index in range(count)
    }
    return json.dumps({**cards, "system": {"Driver version": "6.10.5"}})


def rocm_links(count: int = 8, kind: str = "XGMI") -> str:
    """`rocm-smi --showtopotype --json`: one half of the matrix."""
    pairs = [(one, other) for one in range(count) for other in range(one + 1, count)]
    return json.dumps(
        {"system": {f"(Topology) Link type between DRM devices {one} and {other}": kind for one, other in pairs}}
    )


def h200(**changes: object) -> GpuFacts:
    """The facts of eight H200, or of what `changes` make of them."""
    return read_gpus(smi_xml(**changes))  # type: ignore[arg-type]


FP8_ON_8_H200 = Start(
    profile="qwen3.5-397b-8xh200-fp8",
    model="Qwen/Qwen3.5-397B-A17B-FP8",
    hardware=Hardware("H200", int(139.8 * GIB)),
    tensor_parallel=8,
)
CPU_START = Start(profile="reference-cpu", model="embedded", eager=True, kv_cache_bytes=GIB)
