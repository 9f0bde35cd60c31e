"""What `nvidia-smi` prints, read: `nvidia-smi -q -x` for the GPUs and `nvidia-smi topo -m` for their links.

The XML form is the one that NVIDIA gives to programs; a field that a driver does not know is absent or `N/A`.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from server.doctor.gpus import Gpu, GpuFacts

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_UNCORRECTED = ("sram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded", "dram_uncorrectable")


class NotReadable(ValueError):
    """The output is not what this tool prints; the message is its first line, which says what is wrong."""


def read_gpus(xml: str) -> GpuFacts:
    """The GPUs of `nvidia-smi -q -x`. Raises NotReadable when it is an error message instead."""
    try:
        # From a program on this machine, not from a stranger.
        root = ElementTree.fromstring(xml.strip())
    except ElementTree.ParseError:
        raise NotReadable(first_line(xml)) from None
    if root.tag != "nvidia_smi_log":
        raise NotReadable(first_line(xml))
    gpus = tuple(_gpu(index, element) for index, element in enumerate(root.findall("gpu")))
    return GpuFacts(
        vendor="nvidia",
        driver=root.findtext("driver_version", ""),
        cuda=root.findtext("cuda_version", ""),
        gpus=gpus,
        trouble="" if gpus else "the driver sees no GPU",
    )


def read_links(matrix: str) -> dict[tuple[int, int], str]:
    """The links of `nvidia-smi topo -m`: by two GPU indices, the lesser first, such as `NV18`, `PIX` or `SYS`.

    Raises NotReadable.
    """
    lines = [_ANSI.sub("", line) for line in matrix.splitlines()]
    header = next((line.split() for line in lines if "GPU0" in line.split() and not line.startswith("GPU0")), None)
    if header is None:
        raise NotReadable(first_line(matrix))
    # The matrix's columns come first; the affinities behind them have words of several parts.
    columns = [int(word[3:]) for word in header if re.fullmatch(r"GPU\d+", word)]
    links: dict[tuple[int, int], str] = {}
    for line in lines:
        row, *cells = line.split() or [""]
        if re.fullmatch(r"GPU\d+", row):
            here = int(row[3:])
            for there, cell in zip(columns, cells, strict=False):
                if here < there:
                    links[here, there] = cell
    return links


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no output")


def _gpu(index: int, element: ElementTree.Element) -> Gpu:
    volatile = element.find("ecc_errors/volatile")
    if volatile is not None and volatile.find("double_bit/total") is not None:
        counts = [volatile.findtext("double_bit/total", "")]  # drivers before 450
    else:
        counts = [] if volatile is None else [volatile.findtext(name, "") for name in _UNCORRECTED]
    errors = [int(text) for text in counts if text.strip().isdigit()]
    return Gpu(
        index=index,
        name=element.findtext("product_name", "unknown"),
        memory=_mib(element.findtext("fb_memory_usage/total", "")),
        memory_used=_mib(element.findtext("fb_memory_usage/used", "")),
        uuid=element.findtext("uuid", ""),
        uncorrected_ecc=sum(errors) if errors else None,
        remap_pending=element.findtext("remapped_rows/remapped_row_pending") == "Yes",
        remap_failed=element.findtext("remapped_rows/remapped_row_failure") == "Yes",
        mig=element.findtext("mig_mode/current_mig") == "Enabled",
        fabric=element.findtext("fabric/state", ""),
    )


def _mib(text: str) -> int:
    number, _, unit = text.strip().partition(" ")
    return int(number) * 2**20 if number.isdigit() and unit == "MiB" else 0
