"""Lets PyPI's torchvision import beside a CPU build of torch.

PyPI's torchvision carries a CUDA library that does not load there, and importing the package then fails because two
operators are unknown. vLLM's Qwen3-VL module needs only transformers' image processor, which imports torchvision but
calls neither operator, so their schemas are all that is missing. A torchvision whose library loads is left alone.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

_SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def ensure() -> None:
    """Makes `import torchvision` work in this process.

    Must run before the first `import torchvision`, hence before vllm or transformers is imported.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    import torch

    library = Path(spec.origin).with_name("_C.so")
    if library.exists():
        try:
            torch.ops.load_library(str(library))
        except OSError:
            pass  # built for another torch: the case this module is for
        else:
            return
    for name, schema in _SCHEMAS.items():
        namespace, operator = name.split("::")
        if not hasattr(getattr(torch.ops, namespace), operator):
            torch.library.define(name, schema)
