from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.doctor.checksums import SMALL, Digest, check_checksums
from server.doctor.findings import Finding, Level
from server.doctor.gathering import snapshot
from server.doctor.gathering.snapshot import cached_snapshot, hub_cache, read_digests, read_snapshot
from server.doctor.weights import check_weights, is_complete
from tests.unit.doctor.model_folders import a_folder, a_snapshot, files, shard

SECOND = "model-00002-of-00003.safetensors"
REFERENCE = Path(__file__).parents[3] / "server" / "reference" / "checkpoint"


def looked_at(folder: Path, *, can_download: bool = False) -> Finding:
    read = read_snapshot(folder)
    found = check_weights(read, "Qwen/Tiny", can_download=can_download)
    # Two ways to say the same: what is not well is not complete.
    assert is_complete(read) is (found.level is Level.OK or "not looked into" in found.what)
    return found


def test_a_whole_model_is_told_with_its_sizes_and_precisions(tmp_path: Path) -> None:
    found = looked_at(a_folder(tmp_path / "m"))
    assert found.level is Level.OK
    assert found.what == "3 shards complete, 990 B, 6 tensors (F8_E4M3 67%, BF16 33%)"


def test_the_reference_checkpoint_is_whole() -> None:
    assert looked_at(REFERENCE).level is Level.OK
    assert len(read_snapshot(REFERENCE).shards) == 1


def test_a_truncated_shard_is_found_by_its_header(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    whole = (folder / SECOND).read_bytes()
    (folder / SECOND).write_bytes(whole[:-1])
    found = looked_at(folder)
    assert found.level is Level.FAIL
    assert found.what == f"1 of 3 shards: {SECOND} is cut short: {len(whole) - 1:,} bytes of {len(whole):,}"


def test_a_missing_shard_is_found_by_the_index(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    (folder / SECOND).unlink()
    found = looked_at(folder)
    assert (found.level, found.what) == (Level.FAIL, f"1 of 3 shards: {SECOND} is missing")


def test_without_an_index_the_shards_names_say_how_many_there_are(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    (folder / "model.safetensors.index.json").unlink()
    assert looked_at(folder).level is Level.OK
    (folder / SECOND).unlink()
    assert looked_at(folder).what == f"1 of 3 shards: {SECOND} is missing"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (shard("layers.1.weight", "layers.1.bias") + b"more", "is too long"),
        (shard("layers.1.weight"), "lacks 1 tensor of the index"),
        (b"", "it is empty"),
        (b"\x10\0\0", "cut short before its header"),
        (struct.pack("<Q", 500) + b'{"a":', "cut short within its header"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        (struct.pack("<Q", 4) + b"oops", "its header is not JSON"),
        (struct.pack("<Q", 10) + b'{"a": [1]}', "not a safetensors header"),
    ],
)
def test_a_broken_shard_is_told(tmp_path: Path, content: bytes, words: str) -> None:
    folder = a_folder(tmp_path / "m")
    (folder / SECOND).write_bytes(content)
    found = looked_at(folder)
    assert found.level is Level.FAIL
    assert words in found.what


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config.json": None}, "has no config.json"),
        ({"tokenizer.json": None}, "has no tokenizer"),
        ({"config.json": b'{"architectures": ['}, "config.json: not readable"),
        ({"model.safetensors.index.json": b'{"weight'}, "model.safetensors.index.json: not readable"),
        ({"model.safetensors.index.json": b"{}"}, "not readable: KeyError"),
        ({name: None for name in files() if "safetensors" in name}, "has no weights"),
    ],
)
def test_what_else_a_folder_may_lack(tmp_path: Path, change: dict[str, bytes | None], words: str) -> None:
    content = {name: data for name, data in {**files(), **change}.items() if data is not None}
    found = looked_at(a_folder(tmp_path / "m", content))
    assert found.level is Level.FAIL
    assert words in found.what


def test_other_formats_are_not_looked_into(tmp_path: Path) -> None:
    content = {name: data for name, data in files().items() if "safetensors" not in name}
    found = looked_at(a_folder(tmp_path / "m", {**content, "pytorch_model.bin": b"x"}))
    assert (found.level, found.what) == (Level.WARN, "pytorch_model.bin: not safetensors, so not looked into")


def test_a_snapshot_whose_blob_is_still_being_fetched(tmp_path: Path) -> None:
    folder = a_snapshot(tmp_path)
    blob = (folder / SECOND).resolve()
    blob.rename(blob.with_name(blob.name + ".incomplete"))
    found = looked_at(folder)
    assert found.level is Level.FAIL
    assert found.what.endswith(f"{SECOND} is missing; 1 unfinished download in the cache")
    # Where the hub is reached the start fetches what is missing, but not what is there and cut short.
    assert looked_at(folder, can_download=True).level is Level.WARN
    blob.write_bytes(files()[SECOND][:-1])
    found = looked_at(folder, can_download=True)
    assert found.level is Level.FAIL
    assert found.todo.startswith("delete it, then `hf download Qwen/Tiny`")


def test_nothing_here(tmp_path: Path) -> None:
    assert check_weights(None, "Qwen/Tiny", can_download=True).level is Level.WARN
    assert check_weights(None, "Qwen/Tiny", can_download=False).level is Level.FAIL
    assert not is_complete(None)


def test_where_the_hubs_cache_is(tmp_path: Path) -> None:
    for environment, where in (
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, str(Path.home() / ".cache/huggingface/hub")),
    ):
        assert str(hub_cache(environment)) == where
    assert str(hub_cache({"HF_HOME": "/b"}, "/d")) == "/d"
    folder = a_snapshot(tmp_path)
    assert cached_snapshot(tmp_path, "Qwen/Tiny", None) == folder
    assert cached_snapshot(tmp_path, "Qwen/Tiny", folder.name) == folder
    assert cached_snapshot(tmp_path, "Qwen/Tiny", "v2") is None
    assert cached_snapshot(tmp_path, "Qwen/Other", None) is None


# Checksums


def hashed(folder: Path, *, everything: bool = True, of_hub: dict[str, str] | None = None) -> Finding:
    digests = read_digests(folder, everything=everything, of_hub=of_hub)
    found = check_checksums(digests, hashed_all=everything)
    assert found is not None
    return found


def test_a_snapshots_files_are_what_its_blobs_are_called(tmp_path: Path) -> None:
    folder = a_snapshot(tmp_path)
    found = hashed(folder)
    assert (found.level, found.what) == (Level.OK, "6 files as the hub cache says, all read")
    # One bit, in a large file and in a small one: SHA-256 and git's blob id.
    for name in (SECOND, "config.json"):
        data = bytearray((folder / name).read_bytes())
        data[-1] ^= 1
        (folder / name).write_bytes(data)
        found = hashed(folder)
        assert found.level is Level.FAIL
        assert f"{name} is not the file of the hub cache" in found.what
        data[-1] ^= 1
        (folder / name).write_bytes(data)
    assert hashed(folder).level is Level.OK


def test_a_folder_with_a_manifest(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    assert hashed(folder).level is Level.WARN
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in files().items()]
    (folder / "SHA256SUMS").write_text("\n".join(lines).replace(f"  {SECOND}", f" *./{SECOND}"))
    assert hashed(folder).what == "6 files as SHA256SUMS says, all read"
    (folder / SECOND).write_bytes(files()[SECOND][:-1] + b"x")
    found = hashed(folder)
    assert found.level is Level.FAIL
    assert found.what.startswith(f"{SECOND} is not the file of SHA256SUMS: ")


def test_a_folder_that_was_downloaded_into(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    notes = folder / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    (notes / f"{SECOND}.metadata").write_text(f"c0ffee\n{hashlib.sha256(files()[SECOND]).hexdigest()}\n1764000000.0\n")
    assert hashed(folder).what == "1 file as its download says; 5 files with nothing to compare with, all read"
    (folder / SECOND).write_bytes(b"other")
    assert hashed(folder).level is Level.FAIL


def test_the_hubs_own_listing_is_compared_with_where_nothing_else_says_it(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    assert hashed(folder, of_hub={SECOND: hashlib.sha256(files()[SECOND]).hexdigest()}).level is Level.OK
    found = hashed(folder, of_hub={SECOND: "0" * 64})
    assert f"{SECOND} is not the file of the hub" in found.what


def test_what_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = a_snapshot(tmp_path / "cache")
    blocks = snapshot._blocks

    def refused(path: Path) -> Iterator[bytes]:
        if path.name == SECOND:
            raise PermissionError(13, "Permission denied")
        return blocks(path)

    monkeypatch.setattr(snapshot, "_blocks", refused)
    found = hashed(folder)
    assert (found.level, found.what) == (Level.FAIL, f"{SECOND} cannot be read: Permission denied")
    monkeypatch.setattr(snapshot, "_header", lambda path: refused(folder / SECOND))
    assert looked_at(folder).what.endswith("model-00001-of-00003.safetensors: Permission denied (and 2 others)")
    monkeypatch.setattr(Path, "iterdir", lambda path: refused(folder / SECOND))
    assert looked_at(folder).what == f"{folder}: Permission denied"


def test_large_files_are_read_only_when_asked(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    with (folder / SECOND).open("r+b") as file:
        file.truncate(SMALL + 1)
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  {SECOND}\n")
    found = hashed(folder, everything=False)
    assert found.level is Level.OK
    assert found.what.startswith("none read yet of SHA256SUMS; 1 large file not read (16 MiB): --hash reads them")
    assert hashed(folder, everything=True).level is Level.FAIL


def test_small_files_are_always_read(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  config.json\n")
    assert hashed(folder, everything=False).level is Level.FAIL


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    folder, told = a_snapshot(tmp_path), []
    read_digests(folder, everything=True, progress=lambda done, total: told.append((done, total)))
    total = sum(map(len, files().values()))
    assert max(told) == (total, total)


def test_no_files_no_line() -> None:
    assert check_checksums([], hashed_all=True) is None
    several = [Digest(name, 1, "a" * 64, "b" * 64, "SHA256SUMS") for name in ("one", "two")]
    found = check_checksums(several, hashed_all=True)
    assert found is not None
    assert found.what.endswith("(and 1 other)")


def test_an_index_may_name_a_shard_that_holds_more(tmp_path: Path) -> None:
    """Some checkpoints keep tensors that their index leaves out, such as those of speculative decoding."""
    content = files()
    content[SECOND] = shard("layers.1.weight", "layers.1.bias", "mtp.weight")
    assert looked_at(a_folder(tmp_path / "m", content)).level is Level.OK
    index = json.loads(content["model.safetensors.index.json"])
    assert "mtp.weight" not in index["weight_map"]
