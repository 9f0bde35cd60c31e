"""Finds a model's `config.json`: shipped with the daemon, in a folder, or on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from server.planning.deployment import Weights

_METHODS: dict[str, Weights] = {
    "fp8": "fp8",
    "modelopt": "nvfp4",
    "modelopt_fp4": "nvfp4",
    "gptq": "int4",
    "gptq_marlin": "int4",
    "awq": "int4",
    "awq_marlin": "int4",
}
"""Precision by `quantization_config.quant_method`."""


class ModelNotFound(ValueError):
    """No configuration of this name, folder or hub id."""


def shipped_models() -> dict[str, Path]:
    """Configurations that ship with the daemon, by the model's name in small letters."""
    package = Path(__file__).parents[1]
    for folder in (package / "_config" / "models", package.parent / "config" / "models"):
        if folder.is_dir():
            return {path.parent.name.lower(): path for path in sorted(folder.glob("*/config.json"))}
    return {}


def model_config(name: str) -> tuple[str, dict[str, Any]]:
    """The model's short name and its configuration.

    `name` is a shipped model's (any hub id that ends in it too), a folder or a file, or else a hub id, which is asked
    for over the network. Raises ModelNotFound.
    """
    path = Path(name)
    if path.is_dir():
        path = path / "config.json"
    if path.is_file():
        return path.parent.name, _read(path)
    shipped = shipped_models()
    short = name.rstrip("/").rsplit("/", 1)[-1].lower()
    for known in sorted(shipped, key=len, reverse=True):
        if short == known or short.startswith(known + "-"):
            return known, _read(shipped[known])
    if "/" not in name:
        raise ModelNotFound(
            f"there is no model {name!r}: neither a folder, nor one of {', '.join(sorted(shipped))}, nor a hub id"
        )
    return short, _read(_from_hub(name))


def stored_weights(config: dict[str, Any], name: str = "") -> Weights:
    """The precision that a configuration, or else the model's name, says its checkpoint is stored in."""
    quantisation = config.get("quantization_config") or config.get("text_config", {}).get("quantization_config") or {}
    if method := _METHODS.get(str(quantisation.get("quant_method", "")).lower()):
        return "fp8" if method == "nvfp4" and "FP8" in str(quantisation.get("quant_algo", "")) else method
    upper = name.upper()
    if upper.endswith("FP8"):
        return "fp8"
    if "NVFP4" in upper:
        return "nvfp4"
    if "INT4" in upper or "AWQ" in upper:
        return "int4"
    return "bf16"


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict):
        raise ModelNotFound(f"{path} is not a model's configuration")
    return config


def _from_hub(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, "config.json"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelNotFound(f"cannot get the configuration of {name} from the hub: {reason}") from error
