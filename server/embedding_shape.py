"""Whether the weights are those of the config: by the embedding's shape, which nearly always betrays a wrong one."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAME = "embed_tokens.weight"


def wrong_embedding(folder: Path) -> Iterator[str]:
    """A line if the embedding's shape is not `[vocab_size, hidden_size]` of config.json; nothing where either is not
    told. The shards must be whole.
    """
    config = json.loads((folder / "config.json").read_bytes())
    text = config.get("text_config", config)
    wanted = [text.get("vocab_size"), text.get("hidden_size")]
    for shard in sorted(folder.glob("*.safetensors")):
        for name, tensor in _header(shard).items():
            # A quantised one may be packed.
            if name.endswith(_NAME) and tensor.get("dtype") in ("BF16", "F16", "F32"):
                if None not in wanted and tensor["shape"] != wanted:
                    yield (
                        f"{shard}: {name} has the shape {tensor['shape']}, but config.json's vocab_size and "
                        f"hidden_size are {wanted}: these are not the weights of this config"
                    )
                return


def _header(shard: Path) -> dict[str, Any]:
    with shard.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        found: dict[str, Any] = json.loads(file.read(length))
    return found
