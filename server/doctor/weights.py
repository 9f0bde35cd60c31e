"""The weights: whether every shard that the index lists is there, whole, and holds the tensors that it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.doctor.findings import Check, Finding, counted, shown

WEIGHTS = Check(
    "weights",
    "Weights",
    "every file of the safetensors index: there, as long as its own header says, with the tensors that the index names",
    warns="weights in another format than safetensors, which are not looked into; files that the start would download",
    fails="a shard is missing, cut short, too long or unreadable; no config.json, tokenizer or weights",
)


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file. `size` is the file's, None where there is none; `expected` what its header says, in bytes.

    `tensors_missing` counts those that the index says are here and the header does not know.
    """

    name: str
    size: int | None
    expected: int | None = None
    trouble: str = ""
    tensors: int = 0
    tensors_missing: int = 0
    bytes_by_dtype: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model's folder. `other_weights` are weight files that are not safetensors; `partial` unfinished downloads.

    `bad_files` gives what is wrong by file name; an empty name is the folder itself.
    """

    folder: Path
    shards: tuple[Shard, ...] = ()
    missing_files: tuple[str, ...] = ()
    bad_files: Mapping[str, str] = field(default_factory=dict)
    other_weights: tuple[str, ...] = ()
    partial: int = 0

    @property
    def weight_bytes(self) -> int:
        """Size of all shards that are there."""
        return sum(shard.size or 0 for shard in self.shards)


def check_weights(snapshot: Snapshot | None, model: str, *, can_download: bool) -> Finding:
    """The line of the weights; `snapshot` is None where nothing of the model is on this machine.

    `can_download` says whether the hub was reached, and so vLLM could fetch what is missing.
    """
    get = f"`hf download {model}`" if can_download else "copy it here anew from where it is whole"
    if snapshot is None:
        if can_download:
            return WEIGHTS.warn(
                f"nothing of {model} is here yet", f"{get} now: the first start would download for long"
            )
        return WEIGHTS.fail(f"nothing of {model} is here", "copy it here, and give the folder as the model")
    if snapshot.bad_files:
        name, why = next(iter(snapshot.bad_files.items()))
        return WEIGHTS.fail(f"{snapshot.folder / name}: {why}", f"let this user read it, or {get}")
    if snapshot.missing_files:
        return WEIGHTS.fail(f"{snapshot.folder} has no {', no '.join(snapshot.missing_files)}", get)
    if not snapshot.shards:
        if snapshot.other_weights:
            return WEIGHTS.warn(
                f"{', '.join(snapshot.other_weights[:3])}: not safetensors, so not looked into",
                "safetensors load faster and cannot hold code",
            )
        return WEIGHTS.fail(f"{snapshot.folder} has no weights", get)
    troubles = [trouble for shard in snapshot.shards if (trouble := wrong_with(shard))]
    if troubles:
        told = f"{len(troubles)} of {counted(len(snapshot.shards), 'shard')}: {troubles[0]}"
        if len(troubles) > 1:
            told += f" (and {counted(len(troubles) - 1, 'other')})"
        if snapshot.partial:
            told += f"; {counted(snapshot.partial, 'unfinished download')} in the cache"
        if can_download and all(shard.size is None for shard in snapshot.shards if wrong_with(shard)):
            return WEIGHTS.warn(told, f"{get} now: the start would download the rest first")
        if can_download:
            # A file that is there under its final name is taken for whole.
            return WEIGHTS.fail(told, f"delete it, then {get}, which fetches only what is missing")
        return WEIGHTS.fail(told, get)
    dtypes: Counter[str] = Counter()
    for shard in snapshot.shards:
        dtypes.update(shard.bytes_by_dtype)
    total = sum(dtypes.values()) or 1
    kinds = ", ".join(
        f"{dtype} {share:.0%}" for dtype, size in dtypes.most_common(3) if (share := size / total) >= 0.005
    )
    tensors = sum(shard.tensors for shard in snapshot.shards)
    return WEIGHTS.ok(
        f"{counted(len(snapshot.shards), 'shard')} complete, {shown(snapshot.weight_bytes)}, "
        f"{counted(tensors, 'tensor')} ({kinds})"
    )


def wrong_with(shard: Shard) -> str:
    """What is wrong with a shard; empty where nothing is."""
    if shard.size is None:
        return f"{shard.name} is missing"
    if shard.trouble:
        return f"{shard.name}: {shard.trouble}"
    if shard.expected is not None and shard.size < shard.expected:
        return f"{shard.name} is cut short: {shard.size:,} bytes of {shard.expected:,}"
    if shard.expected is not None and shard.size > shard.expected:
        return f"{shard.name} is too long: {shard.size:,} bytes, {shard.expected:,} by its header"
    if shard.tensors_missing:
        return f"{shard.name} lacks {counted(shard.tensors_missing, 'tensor')} of the index"
    return ""


def is_complete(snapshot: Snapshot | None) -> bool:
    """Whether nothing is left to be downloaded."""
    if snapshot is None or snapshot.bad_files or snapshot.missing_files:
        return False
    if not snapshot.shards:
        return bool(snapshot.other_weights)
    return not any(wrong_with(shard) for shard in snapshot.shards)
