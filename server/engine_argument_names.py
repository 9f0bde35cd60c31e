"""The names of vLLM's engine arguments, read from its source: importing vllm takes ten seconds and more."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path

_CLASSES = {"EngineArgs", "AsyncEngineArgs"}


@cache
def engine_argument_names() -> frozenset[str]:
    """Every field of the installed vLLM's AsyncEngineArgs; nothing where vLLM is not installed."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        return frozenset()
    source = Path(spec.origin).with_name("engine") / "arg_utils.py"
    return frozenset(
        field.target.id
        for item in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(item, ast.ClassDef) and item.name in _CLASSES
        for field in item.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if not field.target.id.startswith("_")
    )
