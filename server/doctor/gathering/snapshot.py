"""A model's files on this machine: where they are, what their headers say, and their digests.

The layout of the hub's cache is huggingface_hub's: `models--ORG--NAME` with `refs/`, `snapshots/COMMIT/` of symbolic
links and `blobs/`, whose names are the SHA-256 of large files and git's blob id of small ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from server.doctor.checksums import SMALL, Digest
from server.doctor.weights import Shard, Snapshot

_INDEX = "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".gguf", ".ckpt")
_MANIFESTS = ("SHA256SUMS", "sha256sums.txt", "SHA256SUMS.txt")

# safetensors' own bound on a header (safetensors 0.4 and later refuse more).
_LONGEST_HEADER = 100_000_000
_BLOCK = 2**23
_READERS = 4


def hub_cache(environment: Mapping[str, str], download_folder: str | None = None) -> Path:
    """The hub's cache as huggingface_hub finds it, or `download_folder`, which vLLM's `download_dir` puts before it."""
    if download_folder:
        return Path(download_folder).expanduser()
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if environment.get(name):
            return Path(environment[name]).expanduser() / below
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface" / "hub"


def cached_snapshot(cache: Path, model: str, revision: str | None) -> Path | None:
    """The folder of a hub model's snapshot in the cache; None where there is none of that revision."""
    repository = cache / f"models--{model.replace('/', '--')}"
    revision = revision or "main"
    reference = repository / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    folder = repository / "snapshots" / commit
    return folder if folder.is_dir() else None


def read_snapshot(folder: Path) -> Snapshot:
    """What is in a model's folder, as far as names, sizes and the headers of the shards tell."""
    bad: dict[str, str] = {}
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        return Snapshot(folder, bad_files={"": error.strerror or str(error)})
    shards_of: dict[str, set[str]] = defaultdict(set)
    index = folder / _INDEX
    if index.exists():
        try:
            for tensor, file in json.loads(index.read_bytes())["weight_map"].items():
                shards_of[str(file)].add(tensor)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            bad[_INDEX] = f"not readable: {type(error).__name__}"
    else:
        shards_of.update({name: set() for path in folder.glob("*.safetensors") for name in _siblings(path.name)})
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        try:
            json.loads((folder / name).read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            bad[name] = f"not readable: {error}"
    missing = [] if (folder / "config.json").exists() else ["config.json"]
    if not any((folder / name).exists() for name in _TOKENIZERS):
        missing.append("tokenizer")
    if index.is_symlink() and not index.exists():
        missing.append(_INDEX)
    blobs = folder.parent.parent / "blobs"
    return Snapshot(
        folder=folder,
        shards=tuple(_shard(folder, name, shards_of[name]) for name in sorted(shards_of)),
        missing_files=tuple(missing),
        bad_files=bad,
        other_weights=tuple(sorted(path.name for path in folder.glob("*") if path.suffix in _OTHER_WEIGHTS)),
        partial=sum(1 for _ in blobs.glob("*.incomplete")) if folder.parent.name == "snapshots" else 0,
    )


def read_digests(
    folder: Path,
    *,
    everything: bool,
    of_hub: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Digest]:
    """The digests of a folder's files: of small ones, and of all with `everything`; `of_hub` are the hub's by name.

    `progress` is told the bytes read and to read, by one thread at a time.
    """
    if not os.access(folder, os.R_OK | os.X_OK):
        return []  # as `read_snapshot` tells
    expected = _expected(folder, of_hub or {})
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in _MANIFESTS)
    sizes = {path: path.stat().st_size for path in files}
    to_read = {path for path in files if path.name in expected and (everything or sizes[path] <= SMALL)}
    total, done = sum(sizes[path] for path in to_read), 0
    counting = Lock()

    def read(path: Path) -> Digest:
        nonlocal done
        digest, source = expected.get(path.name, (None, ""))
        if path not in to_read or digest is None:
            return Digest(path.name, sizes[path], digest, None, source)
        hasher = hashlib.sha256() if len(digest) == 64 else hashlib.sha1(b"blob %d\0" % sizes[path])
        try:
            for block in _blocks(path):
                hasher.update(block)
                with counting:
                    done += len(block)
                    progress(done, total)
        except OSError as error:
            return Digest(path.name, sizes[path], digest, None, source, error.strerror or str(error))
        return Digest(path.name, sizes[path], digest, hasher.hexdigest(), source)

    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(read, files))


def _siblings(name: str) -> list[str]:
    """All shards of a set that `name` is one of, by its `-00001-of-00094`; else the name alone."""
    match = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})(\..*)", name)
    if match is None:
        return [name]
    head, _, count, tail = match.groups()
    return [f"{head}-{number:05d}-of-{count}{tail}" for number in range(1, int(count) + 1)]


def _shard(folder: Path, name: str, tensors: set[str]) -> Shard:
    path = folder / name
    try:
        size = path.stat().st_size
    except OSError:
        return Shard(name, None)  # also where a link leads nowhere
    try:
        length, header = _header(path)
    except (OSError, ValueError) as error:
        return Shard(name, size, trouble=getattr(error, "strerror", None) or str(error))
    known = {key: value for key, value in header.items() if key != "__metadata__"}
    dtypes: Counter[str] = Counter()
    try:
        for value in known.values():
            begin, end = value["data_offsets"]
            dtypes[value["dtype"]] += end - begin
        last = max((value["data_offsets"][1] for value in known.values()), default=0)
    except (KeyError, TypeError, ValueError):
        return Shard(name, size, trouble="its header is not a safetensors header")
    return Shard(name, size, 8 + length + last, "", len(known), len(tensors - known.keys()), dict(dtypes))


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Length and content of a safetensors header: 8 bytes of length, little-endian, then JSON. Raises ValueError."""
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("it is empty" if not start else "it is cut short before its header")
        (length,) = struct.unpack("<Q", start)
        if length > _LONGEST_HEADER:
            raise ValueError("it does not begin like safetensors (a Git LFS pointer, or an error page?)")
        content = file.read(length)
    if len(content) < length:
        raise ValueError("it is cut short within its header")
    try:
        header = json.loads(content)
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise ValueError("its header is not JSON")
    return length, header


def _expected(folder: Path, of_hub: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Digest and source by file name. A manifest that somebody wrote wins over what a download left."""
    found: dict[str, tuple[str, str]] = {name: (digest, "the hub") for name, digest in of_hub.items()}
    for path in folder.iterdir():
        if path.is_symlink() and (target := path.resolve()).parent.name == "blobs" and _is_digest(target.name):
            found[path.name] = target.name, "the hub cache"
    # What `hf download --local-dir` leaves: commit, digest and time, each on a line.
    for note in (folder / ".cache" / "huggingface" / "download").glob("*.metadata"):
        lines = note.read_text(errors="replace").splitlines()
        if len(lines) > 1 and _is_digest(lines[1].strip()):
            found[note.name.removesuffix(".metadata")] = lines[1].strip(), "its download"
    for name in _MANIFESTS:
        if (folder / name).is_file():
            for line in (folder / name).read_text(errors="replace").splitlines():
                if match := re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)", line):
                    found[match[2]] = match[1].lower(), name
    return found


def _is_digest(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) is not None


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
