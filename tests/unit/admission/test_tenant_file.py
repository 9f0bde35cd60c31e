from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from server.admission import tenant_file
from server.admission.classes import PriorityClass
from server.admission.tenant_file import Change, TenantFile, TenantFileError, load
from server.admission.tenants import InvalidApiKey


def digest(key: str) -> str:
    """What `printf %s KEY | sha256sum` gives."""
    return hashlib.sha256(key.encode()).hexdigest()


ROOT = Path(__file__).parents[3]
ADA, BOB = "sk-ada-0123456789abcdef", "sk-bob-0123456789abcdef"
ONE = f"tenants: [{{name: ada, keys: [{ADA}], quotas: {{requests_per_minute: 60}}}}]"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tenants.yaml"
    path.write_text(text)
    return path


def reloads(outcome: str) -> float:
    return REGISTRY.get_sample_value("qwend_tenants_reloads_total", {"outcome": outcome}) or 0.0


def test_the_example_loads() -> None:
    directory = load(ROOT / "config" / "tenants.example.yaml")
    search, jobs, anonymous = directory.tenants
    assert (search.name, search.weight, search.max_class) == ("search-team", 2.0, PriorityClass.INTERACTIVE)
    assert (search.ttft_seconds, search.total_seconds, search.thinking, search.effort) == (2.0, 120.0, True, "medium")
    assert search.quota.tokens_per_minute == 400_000
    assert search.key_quotas["ci"].concurrent_requests == 4
    assert (jobs.default_class, jobs.max_class) == (PriorityClass.BATCH, PriorityClass.BATCH)
    assert directory.find(None).tenant is anonymous


def test_keys_come_as_digests_from_the_environment_or_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAROL_KEY", "sk-carol-0123456789\n")
    path = write(
        tmp_path,
        f"""
tenants:
  - {{name: ada, keys: [sha256:{digest(ADA).upper()}]}}
  - {{name: bob, keys: [{{key: {BOB}, name: main}}]}}
  - {{name: carol, keys: [env:CAROL_KEY]}}
""",
    )
    directory = load(path)
    assert directory.find(ADA).tenant.name == "ada"
    assert directory.find(ADA).key_id == digest(ADA)[:8]
    assert directory.find(BOB).key_id == "main"
    assert directory.find("sk-carol-0123456789").tenant.name == "carol"
    with pytest.raises(InvalidApiKey):
        directory.find(digest(ADA))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tenants: [{name: a, keys: [K], quotas: {request_per_minute: 1}}]", "tenants[0] (a).quotas: unknown field "),
        ("tenants: [{name: a, keys: [K], quotas: {request_per_minute: 1}}]", "did you mean `requests_per_minute`?"),
        ("tenants: [{name: a, keys: [K], clas: batch}]", "did you mean `class`?"),
        ("tenats: []", "did you mean `tenants`?"),
        ("tenants: [{name: a, keys: [K]}, {name: a, keys: [L]}]", "tenants[1] (a): the name is taken"),
        ("tenants: [{name: a, keys: [K]}, {name: b, keys: [L, K]}]", "tenants[1] (b).keys[1]: a has the same key"),
        ("tenants: [{name: anonymous, keys: [K]}]", "the name is taken"),
        ("tenants: [{name: a, keys: []}]", "tenants[0] (a).keys"),
        ("tenants: [{name: a, keys: [K], weight: 0}]", "tenants[0] (a).weight: Input should be greater than 0"),
        ("tenants: [{name: a, keys: [K], class: urgent}]", "tenants[0] (a).class"),
        ("tenants: [{name: a, keys: [K], class: interactive, max_class: batch}]", "is above `max_class` batch"),
        ("tenants: [{name: a, keys: [K], quotas: {requests_per_minute: 0}}]", "tenants[0] (a).quotas.requests_per_min"),
        ("tenants: [{name: a, keys: [env:NO_SUCH_VARIABLE]}]", "`NO_SUCH_VARIABLE` is not set"),
        ("tenants: [{name: a, keys: [sha256:abc]}]", "must be followed by 64 hexadecimal digits"),
        ("tenants: [{name: a, keys: [short]}]", "at least 16 characters"),
        ("tenants: [{name: a, keys: [{key: K, name: x}, {key: L, name: x}]}]", "another key of that name"),
        ("tenants: [{name: a, keys: [K], weight: 1, weight: 2}]", "line 1, column 46 a field is given twice"),
        ("tenants: [{name: a, keys: [K], effort: heroic}]", "tenants[0] (a).effort: it must be one of none, high"),
        ("anonymous: {effort: heroic}", "anonymous.effort: it must be one of none, high"),
        ("", "nobody could ask anything"),
        ("- a list", "Input should be"),
        ("tenants: [{name: a, keys: [K", "line 1"),
    ],
)
def test_a_bad_file_is_told_with_its_place_and_without_its_keys(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text.replace("K", ADA).replace("L", BOB) if "env:" not in text else text)
    with pytest.raises(TenantFileError) as refused:
        load(path, ["none", "high"])
    told = str(refused.value)
    assert told.startswith(f"{path}:")
    if "column" not in says:
        assert says in told
    else:
        assert "a field is given twice" in told
    assert ADA not in told
    assert BOB not in told


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TenantFileError, match="No such file"):
        TenantFile(tmp_path / "none.yaml")


async def test_a_reload_says_what_changed_and_swaps_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, ONE)
    told: list[object] = []
    file = TenantFile(path, told.append)
    before = file.directory
    assert await file.reload() == Change()
    assert (file.directory, told) == (before, [])
    path.write_text(f"tenants: [{{name: bob, keys: [{BOB}]}}, {ONE.removeprefix('tenants: [').replace('60', '61')}")
    assert await file.reload() == Change(added=("bob",), changed=("ada",))
    assert file.directory.find(BOB).tenant.name == "bob"
    assert told == [file.directory]
    path.write_text(f"tenants: [{{name: bob, keys: [{ADA}]}}]")
    assert await file.reload() == Change(removed=("ada",), changed=("bob",))


async def test_a_bad_reload_keeps_the_old(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, ONE)
    file = TenantFile(path)
    before, failed = file.directory, reloads("failed")
    path.write_text("tenants: [{name: ada, kys: []}]")
    with pytest.raises(TenantFileError, match="did you mean `keys`"):
        await file.reload()
    assert file.directory is before
    assert reloads("failed") == failed + 1
    captured = capsys.readouterr()
    assert "did you mean `keys`" in captured.out + captured.err


async def until(condition: object) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_change_is_seen_by_itself_also_through_a_swapped_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes' way: the file is a link into `..data`, which is a link to a folder and is swapped."""
    monkeypatch.setattr(tenant_file, "_POLL_SECONDS", 0.02)
    for number, limit in ((1, 60), (2, 61)):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "tenants.yaml").write_text(ONE.replace("60", str(limit)))
        os.utime(tmp_path / f"v{number}" / "tenants.yaml", (1, 1))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "tenants.yaml").symlink_to("..data/tenants.yaml")
    file = TenantFile(tmp_path / "tenants.yaml")
    watching = asyncio.create_task(file.watch())
    try:
        await asyncio.sleep(0.1)
        assert file.directory.tenants[0].quota.requests_per_minute == 60
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        await until(lambda: file.directory.tenants[0].quota.requests_per_minute == 61)

        failed = reloads("failed")
        # Put there whole, since an empty file that is read in between would be told as well.
        (tmp_path / "v2" / "new").write_text("tenants: [")
        (tmp_path / "v2" / "new").rename(tmp_path / "v2" / "tenants.yaml")
        await until(lambda: reloads("failed") == failed + 1)
        await asyncio.sleep(0.1)
        assert reloads("failed") == failed + 1, "a bad file is told once"
        assert file.directory.tenants[0].quota.requests_per_minute == 61
        (tmp_path / "tenants.yaml").unlink()
        await until(lambda: reloads("failed") == failed + 2)
        (tmp_path / "tenants.yaml").write_text(ONE)
        await until(lambda: file.directory.tenants[0].quota.requests_per_minute == 60)
    finally:
        watching.cancel()
