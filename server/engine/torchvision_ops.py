"""Lets PyPI's torchvision import beside a CPU build of torch.

PyPI's torchvision carries a CUDA library that does not load there, and importing the package then fails because two
operators are unknown. vLLM's Qwen3-VL module needs only transformers' image processor, which imports torchvision but
calls neither operator, so their schemas are all that is missing. A torchvision whose library loads is left alone.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

_SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def ensure() -> None:
    """Makes `import torchvision` work in this process and in the processes that it starts from now on.

    Must run before the first `import torchvision`, hence before vllm or transformers is imported. Children are reached
    through PYTHONPATH: vLLM's import torchvision before they load plugins, so an entry point would come too late.
    """
    if not define_schemas():
        return
    site = str(Path(__file__).with_name("child_site"))
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if site not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([site, *paths])


def define_schemas() -> bool:
    """Defines in this process the operator schemas that torchvision's library would have; False if it needs no help."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    import torch

    library = Path(spec.origin).with_name("_C.so")
    if library.exists():
        try:
            torch.ops.load_library(str(library))
        except OSError:
            pass  # built for another torch: the case this module is for
        else:
            return False
    for name, schema in _SCHEMAS.items():
        namespace, operator = name.split("::")
        if not hasattr(getattr(torch.ops, namespace), operator):
            torch.library.define(name, schema)
    return True
