"""Small models in the forms that models come in: a folder, and a snapshot in the hub's cache."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

SMALL_FILES = {
    "config.json": b'{"architectures": ["Qwen3_5MoeForConditionalGeneration"]}',
    "tokenizer.json": b"{}",
}


def shard(*tensors: str, dtype: str = "BF16", size: int = 64) -> bytes:
    """A safetensors file that holds `tensors` of `size` bytes each."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for place, tensor in enumerate(tensors):
        header[tensor] = {
            "dtype": dtype,
            "shape": [size // 2],
            "data_offsets": [place * size, (place + 1) * size],
        }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size * len(tensors))


def files() -> dict[str, bytes]:
    """A model of three shards with two tensors each."""
    names = [f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)]
    index = {"metadata": {"total_size": 384}, "weight_map": {}}
    made = dict(SMALL_FILES)
    for number, name in enumerate(names):
        tensors = (f"layers.{number}.weight", f"layers.{number}.bias")
        made[name] = shard(*tensors, dtype="F8_E4M3" if number else "BF16")
        index["weight_map"].update(dict.fromkeys(tensors, name))
    made["model.safetensors.index.json"] = json.dumps(index).encode()
    return made


def a_folder(at: Path, content: dict[str, bytes] | None = None) -> Path:
    """A model's folder with real files."""
    at.mkdir(parents=True)
    for name, data in (files() if content is None else content).items():
        (at / name).write_bytes(data)
    return at


def blob_name(name: str, data: bytes) -> str:
    """As the hub names a blob: SHA-256 of what is in Git LFS, git's own id of what is not."""
    if name.endswith(".safetensors"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def a_snapshot(cache: Path, model: str = "Qwen/Tiny", commit: str = "c0ffee" + "0" * 34) -> Path:
    """A snapshot in the hub's cache, of links into its blobs."""
    repository = cache / f"models--{model.replace('/', '--')}"
    folder = repository / "snapshots" / commit
    for path in (repository / "blobs", repository / "refs", folder):
        path.mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for name, data in files().items():
        blob = repository / "blobs" / blob_name(name, data)
        blob.write_bytes(data)
        (folder / name).symlink_to(Path("../../blobs") / blob.name)
    return folder
