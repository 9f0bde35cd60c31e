from __future__ import annotations

from pathlib import Path

import pytest

from server.admission.cache_isolation import cache_salt
from server.admission.tenant_file import load
from server.admission.tenants import Tenant

SHARED, GINA, HANK = Tenant("shared"), Tenant("gina", private_cache=True), Tenant("hank", private_cache=True)


def test_who_shares_gets_what_it_asked_for() -> None:
    assert [cache_salt(SHARED, asked) for asked in (None, "", "pepper")] == [None, "", "pepper"]


def test_who_is_kept_apart_gets_a_salt_that_nobody_can_send() -> None:
    salts = {cache_salt(tenant, asked) for tenant in (GINA, HANK) for asked in (None, "", "pepper")}
    assert len(salts) == 6
    for salt in salts:
        assert salt is not None
        assert (len(salt), "gina" in salt, "pepper" in salt) == (32, False, False)
    assert cache_salt(GINA, None) == cache_salt(Tenant("gina", private_cache=True), None)
    assert cache_salt(Tenant("gina\n=pepper", private_cache=True), None) != cache_salt(GINA, "pepper")


@pytest.mark.parametrize("private", [False, True])
def test_a_tenant_that_does_not_say_follows_the_setting(tmp_path: Path, private: bool) -> None:
    path = tmp_path / "tenants.yaml"
    keys = [f"sk-{number}-0123456789abcdef" for number in range(3)]
    path.write_text(
        f"tenants: [{{name: a, keys: [{keys[0]}]}}, {{name: b, keys: [{keys[1]}], private_cache: true}}, "
        f"{{name: c, keys: [{keys[2]}], private_cache: false}}]\nanonymous: {{}}"
    )
    directory = load(path, private=private)
    assert [directory.find(key).tenant.private_cache for key in keys] == [private, True, False]
    assert directory.find(None).tenant.private_cache is private
