"""What `rocm-smi --json` prints, read: the GPUs and the links between them."""

from __future__ import annotations

import json
import re
from typing import Any

from server.doctor.gpus import Gpu, GpuFacts
from server.doctor.nvidia_smi import NotReadable, first_line

_LINK = re.compile(r"link type between drm devices (\d+) and (\d+)", re.IGNORECASE)


def read_gpus(text: str) -> GpuFacts:
    """The GPUs of `rocm-smi --showproductname --showmeminfo vram --showdriverversion --json`. Raises NotReadable."""
    values = _parsed(text)
    gpus = tuple(
        _gpu(int(name[4:]), {key.lower(): value for key, value in card.items()})
        for name, card in sorted(values.items(), key=lambda item: (len(item[0]), item[0]))
        if re.fullmatch(r"card\d+", name) and isinstance(card, dict)
    )
    system = values.get("system")
    driver = str(system.get("Driver version", "")) if isinstance(system, dict) else ""
    return GpuFacts(vendor="amd", driver=driver, gpus=gpus, trouble="" if gpus else "the driver sees no GPU")


def read_links(text: str) -> dict[tuple[int, int], str]:
    """The links of `rocm-smi --showtopotype --json`: `XGMI` or `PCIE` by two GPU indices. Raises NotReadable."""
    system = _parsed(text).get("system")
    links: dict[tuple[int, int], str] = {}
    for key, value in (system if isinstance(system, dict) else {}).items():
        if pair := _LINK.search(key):
            one, other = sorted(map(int, pair.groups()))
            links[one, other] = str(value)
    return links


def _parsed(text: str) -> dict[str, Any]:
    # Warnings may stand before the object.
    begin = text.find("{")
    try:
        values = json.loads(text[begin:]) if begin >= 0 else None
    except json.JSONDecodeError:
        values = None
    if not isinstance(values, dict):
        raise NotReadable(first_line(text))
    return values


def _gpu(index: int, card: dict[str, Any]) -> Gpu:
    def size(key: str) -> int:
        text = str(card.get(key, ""))
        return int(text) if text.isdigit() else 0

    return Gpu(
        index=index,
        name=str(card.get("card series") or card.get("device name") or "unknown"),
        memory=size("vram total memory (b)"),
        memory_used=size("vram total used memory (b)"),
    )
