from __future__ import annotations

import pytest

from server.admission.classes import PriorityClass
from server.admission.key_hashes import UNSALTED, KeyHash, new_scheme
from server.admission.scopes import Scopes
from server.admission.tenants import (
    ANONYMOUS,
    Caller,
    ExpiredApiKey,
    InvalidApiKey,
    IssuedKey,
    Quota,
    Tenant,
    TenantDirectory,
)
from server.admission.tenants import open_directory as opened

KEY = "sk-0123456789abcdef"
SALTED = new_scheme()
ADA = Tenant("ada", key_quotas={"ci": Quota(requests_per_minute=1)})


def test_without_a_file_everyone_is_one_tenant() -> None:
    directory = opened()
    callers = [directory.find(key) for key in (None, "", "none", KEY)]
    assert {caller.tenant.name for caller in callers} == {ANONYMOUS}
    assert callers[0].tenant.quota.concurrent_requests, "there is some bound"
    assert callers[0].tenant.max_class is PriorityClass.INTERACTIVE


def test_a_key_finds_its_tenant() -> None:
    directory = TenantDirectory([ADA], [IssuedKey(SALTED.hash(KEY), Caller(ADA, "ci"))], None, any_key=False)
    caller = directory.find(KEY)
    assert (caller.tenant.name, caller.key_id) == ("ada", "ci")
    assert caller.key_quota == Quota(requests_per_minute=1)


@pytest.mark.parametrize(
    ("key", "says"), [(None, "didn't provide"), ("", "didn't provide"), ("sk-wrong-" + "x" * 20, "Incorrect")]
)
def test_anything_else_is_refused_without_being_repeated(key: str | None, says: str) -> None:
    directory = TenantDirectory([ADA], [IssuedKey(SALTED.hash(KEY), Caller(ADA, "ci"))], None, any_key=False)
    with pytest.raises(InvalidApiKey, match=says) as refused:
        directory.find(key)
    error = refused.value
    assert (error.status, error.type, error.code) == (401, "invalid_request_error", "invalid_api_key")
    assert error.headers["www-authenticate"] == "Bearer"
    assert not key or key not in error.message


def test_an_anonymous_section_lets_in_who_has_no_key_but_no_wrong_one() -> None:
    directory = TenantDirectory(
        [ADA], [IssuedKey(SALTED.hash(KEY), Caller(ADA, "ci"))], Tenant(ANONYMOUS), any_key=False
    )
    assert directory.find(None).tenant.name == ANONYMOUS
    assert directory.find(KEY).tenant.name == "ada"
    with pytest.raises(InvalidApiKey):
        directory.find("mistyped")
    assert [tenant.name for tenant in directory.tenants] == ["ada", ANONYMOUS]


def test_keys_are_kept_as_digests_only() -> None:
    directory = TenantDirectory([ADA], [IssuedKey(SALTED.hash(KEY), Caller(ADA, "ci"))], None, any_key=False)
    assert KEY not in repr(vars(directory))
    ((known, *_),) = directory.keys()["ada"]
    assert (known, known.scheme) == (SALTED.hash(KEY), SALTED)
    assert KEY not in str(known)


def test_a_key_ends_by_the_clock_without_a_reload() -> None:
    now = [100.0]
    issued = IssuedKey(SALTED.hash(KEY), Caller(ADA, "ci", Scopes(admin=True)), expires=200.0)
    directory = TenantDirectory([ADA], [issued], None, any_key=False, clock=lambda: now[0])
    assert directory.find(KEY).tenant is ADA
    assert directory.has_admin_key
    now[0] = 200.0
    with pytest.raises(ExpiredApiKey) as refused:
        directory.find(KEY)
    assert (refused.value.status, refused.value.code) == (401, "expired_api_key")
    assert not directory.has_admin_key
    with pytest.raises(InvalidApiKey) as unknown:
        directory.find(KEY + "x")
    assert unknown.value.code == "invalid_api_key", "who does not have the key is not told that there was one"


def test_a_key_that_is_found_is_compared_whole() -> None:
    """By a part of its hash alone a key would be found that is another one."""
    whole = SALTED.hash(KEY)
    like_it = KeyHash(SALTED, whole.digest[:8] + bytes(24))
    directory = TenantDirectory([ADA], [IssuedKey(like_it, Caller(ADA))], None, any_key=False)
    with pytest.raises(InvalidApiKey):
        directory.find(KEY)


def test_every_scheme_is_tried_and_salts_make_hashes_differ() -> None:
    other = new_scheme()
    assert len({str(scheme.hash(KEY)) for scheme in (SALTED, other, UNSALTED)}) == 3
    for scheme in (SALTED, other, UNSALTED):
        keys = [IssuedKey(scheme.hash(KEY), Caller(ADA)), IssuedKey(new_scheme().hash("other" * 5), Caller(ADA, "x"))]
        assert TenantDirectory([ADA], keys, None, any_key=False).find(KEY).key_id == ""


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(known: bytes, given: bytes) -> bool:
        compared.append((known, given))
        return known == given

    monkeypatch.setattr("server.admission.key_hashes.hmac.compare_digest", compare)
    directory = TenantDirectory([ADA], [IssuedKey(SALTED.hash(KEY), Caller(ADA))], None, any_key=False)
    directory.find(KEY)
    assert compared == [(SALTED.hash(KEY).digest, SALTED.hash(KEY).digest)]
    # Of no key is more known than its hash, which nobody can choose without the salt.
    assert len(SALTED.hash(KEY).digest) == 32
