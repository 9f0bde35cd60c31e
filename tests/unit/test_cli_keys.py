"""`qwend keys`: what it prints, what it leaves in the file, and that the daemon's directory takes it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from server.admission.key_file import KeyFile, KeyFileError
from server.admission.tenant_file import TenantFile, TenantFileError, load
from server.admission.tenants import ExpiredApiKey, InvalidApiKey
from server.cli import app


def run(*arguments: str, exit_code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app, ["keys", *arguments])
    assert done.exit_code == exit_code, done.output
    return done.stdout.strip(), done.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def create(file: Path, *arguments: str) -> str:
    return run("create", "--file", str(file), "--tenant", "ada", *arguments)[0]


def test_a_key_is_shown_once_and_its_salted_hash_is_kept(file: Path) -> None:
    key = create(file, "--name", "ci")
    assert key.startswith("sk-qwend-")
    assert len(key) >= len("sk-qwend-") + 43, "256 random bits"
    written = file.read_text()
    assert key not in written
    (entry,) = yaml.safe_load(written)["keys"]
    kind, salt, digest = entry["key"].split(":")
    assert (kind, len(bytes.fromhex(salt)), len(bytes.fromhex(digest))) == ("blake2b", 16, 32)
    assert (entry["tenant"], entry["name"]) == ("ada", "ci")
    assert file.stat().st_mode & 0o777 == 0o600
    found = load(None, keys=file).find(key)
    assert (found.tenant.name, found.key_id) == ("ada", "ci")
    with pytest.raises(InvalidApiKey):
        load(None, keys=file).find(entry["key"])


def test_keys_of_a_file_share_its_salt_and_no_two_are_alike(file: Path) -> None:
    keys = [create(file) for _ in range(3)]
    assert len(set(keys)) == 3
    assert len({entry.key.split(":")[1] for entry in KeyFile(file).entries()}) == 1
    directory = load(None, keys=file)
    assert len({directory.find(key).key_id for key in keys}) == 3


def test_scopes_and_expiry_reach_the_directory(file: Path) -> None:
    key = create(file, "--model", "qwen*", "--model", "small", "--dialect", "chat", "--dialect", "tokenizer")
    scopes = load(None, keys=file).find(key).scopes
    assert (scopes.models, scopes.dialects, scopes.admin) == (("qwen*", "small"), {"chat", "tokenizer"}, False)
    assert [scopes.allows_model(name) for name in ("qwen3", "small", "large")] == [True, True, False]
    admin = create(file, "--admin", "--days", "1")
    found = load(None, keys=file).find(admin)
    assert (found.scopes.admin, found.scopes.dialects) == (True, frozenset())
    over = create(file, "--days", "0")
    with pytest.raises(ExpiredApiKey):
        load(None, keys=file).find(over)


def test_a_revoked_key_is_refused_and_the_others_stay(file: Path) -> None:
    gone, stays = create(file, "--name", "gone"), create(file, "--name", "stays")
    run("revoke", "--file", str(file), "--tenant", "ada", "gone")
    directory = load(None, keys=file)
    assert directory.find(stays).key_id == "stays"
    with pytest.raises(InvalidApiKey):
        directory.find(gone)
    _, told = run("revoke", "--file", str(file), "--tenant", "ada", "gone", exit_code=2)
    assert "no key named gone" in told


def test_the_list_shows_rights_and_no_secret(file: Path) -> None:
    key = create(file, "--name", "ci", "--dialect", "chat", "--days", "0")
    create(file, "--name", "ops", "--admin")
    lines = run("list", "--file", str(file))[0].splitlines()
    assert lines[0].startswith("ada/ci  expired 20")
    assert lines[0].endswith("dialects chat")
    assert lines[1] == "ada/ops  dialects none  admin"
    assert key not in "".join(lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--dialect", "smoke"), "keys[0].dialects[0]"),
        (("--name", "a b"), "keys[0].name"),
        (("--name", "taken"), "ada has a key named taken already"),
        (("--days", "1e300"), "36500"),
    ],
)
def test_a_mistake_is_told_and_changes_nothing(file: Path, arguments: tuple[str, str], says: str) -> None:
    create(file, "--name", "taken")
    before = file.read_bytes()
    _, told = run("create", "--file", str(file), "--tenant", "ada", *arguments, exit_code=2)
    assert says in told
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file], "nothing is left behind"


def test_a_broken_file_is_told(file: Path) -> None:
    file.write_text("keys: [{tenant: ada, key: sk-secret-0123456789abcdef, keey: 1}]")
    with pytest.raises(KeyFileError, match="did you mean `key`") as refused:
        KeyFile(file).entries()
    assert "sk-secret" not in str(refused.value)
    with pytest.raises(KeyFileError):
        KeyFile(file.parent / "none" / "keys.yaml").create("ada")


def test_keys_join_a_tenants_file(tmp_path: Path, file: Path) -> None:
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text("tenants: [{name: ada, weight: 2}, {name: bob, keys: [sk-bob-0123456789abcdef]}]")
    key = create(file)
    directory = load(tenants, keys=file)
    assert (directory.find(key).tenant.weight, len(directory.tenants)) == (2.0, 2)
    with pytest.raises(TenantFileError, match=r"tenants\[0\] \(ada\).keys: it has no key"):
        load(tenants)
    run("create", "--file", str(file), "--tenant", "eve")
    with pytest.raises(TenantFileError, match=r"keys\[1\]: no tenant is named eve"):
        load(tenants, keys=file)


def test_a_hash_may_come_from_the_environment_and_stand_in_a_tenants_file(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = create(file)
    (entry,) = KeyFile(file).entries()
    monkeypatch.setenv("ADA_KEY", entry.key)
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text("tenants: [{name: ada, keys: [{key: 'env:ADA_KEY', expires: 2999-01-01T00:00:00}]}]")
    assert load(tenants).find(key).tenant.name == "ada"


def test_the_same_key_twice_is_a_mistake(tmp_path: Path) -> None:
    key = "sk-0123456789abcdef"
    tenants = tmp_path / "tenants.yaml"
    unsalted = hashlib.sha256(key.encode()).hexdigest()
    tenants.write_text(f"tenants: [{{name: ada, keys: ['sha256:{unsalted}']}}, {{name: bob, keys: [{key}]}}]")
    with pytest.raises(TenantFileError, match="ada has the same key"):
        load(tenants)


def test_too_many_salts_are_refused(file: Path) -> None:
    keys = [{"tenant": "ada", "key": f"blake2b:{number:032x}:{number:08x}{0:056x}"} for number in range(1, 10)]
    file.write_text(yaml.safe_dump({"keys": keys}))
    with pytest.raises(TenantFileError, match="different salts"):
        load(None, keys=file)
    file.write_text(yaml.safe_dump({"keys": keys[:8]}))
    assert load(None, keys=file)


@pytest.mark.parametrize("bad", ["blake2b:00:11", "blake2b:" + "0" * 32 + ":" + "0" * 64, "blake2b:" + "x" * 97])
def test_a_broken_hash_is_told_and_not_repeated(file: Path, bad: str) -> None:
    file.write_text(yaml.safe_dump({"keys": [{"tenant": "ada", "key": bad}]}))
    with pytest.raises(TenantFileError, match="salt") as refused:
        load(None, keys=file)
    assert bad not in str(refused.value)


async def test_a_reload_takes_new_keys_and_scopes(file: Path) -> None:
    first = create(file, "--name", "first")
    running = TenantFile(None, keys=file)
    second = create(file, "--name", "second")
    with pytest.raises(InvalidApiKey):
        running.directory.find(second)
    assert (await running.reload()).changed == ("ada",)
    assert running.directory.find(second).key_id == "second"
    assert running.directory.find(first).key_id == "first"
    narrowed = file.read_text().replace("name: first", "name: first\n  dialects: []")  # noqa: ASYNC240
    file.write_text(narrowed)  # noqa: ASYNC240
    assert (await running.reload()).changed == ("ada",), "a change of scopes alone is one"
    assert running.directory.find(first).scopes.dialects == frozenset()
