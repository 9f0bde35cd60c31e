from __future__ import annotations

import pytest

from server.admission.classes import PriorityClass
from server.admission.tenants import ANONYMOUS, Caller, InvalidApiKey, Quota, Tenant, TenantDirectory, digest
from server.admission.tenants import open_directory as opened

KEY = "sk-0123456789abcdef"
ADA = Tenant("ada", key_quotas={"ci": Quota(requests_per_minute=1)})


def test_without_a_file_everyone_is_one_tenant() -> None:
    directory = opened()
    callers = [directory.find(key) for key in (None, "", "none", KEY)]
    assert {caller.tenant.name for caller in callers} == {ANONYMOUS}
    assert callers[0].tenant.quota.concurrent_requests, "there is some bound"
    assert callers[0].tenant.max_class is PriorityClass.INTERACTIVE


def test_a_key_finds_its_tenant() -> None:
    directory = TenantDirectory([ADA], {digest(KEY): Caller(ADA, "ci")}, None, any_key=False)
    caller = directory.find(KEY)
    assert (caller.tenant.name, caller.key_id) == ("ada", "ci")
    assert caller.key_quota == Quota(requests_per_minute=1)


@pytest.mark.parametrize(
    ("key", "says"), [(None, "didn't provide"), ("", "didn't provide"), ("sk-wrong-" + "x" * 20, "Incorrect")]
)
def test_anything_else_is_refused_without_being_repeated(key: str | None, says: str) -> None:
    directory = TenantDirectory([ADA], {digest(KEY): Caller(ADA, "ci")}, None, any_key=False)
    with pytest.raises(InvalidApiKey, match=says) as refused:
        directory.find(key)
    error = refused.value
    assert (error.status, error.type, error.code) == (401, "invalid_request_error", "invalid_api_key")
    assert error.headers["www-authenticate"] == "Bearer"
    assert not key or key not in error.message


def test_an_anonymous_section_lets_in_who_has_no_key_but_no_wrong_one() -> None:
    directory = TenantDirectory([ADA], {digest(KEY): Caller(ADA, "ci")}, Tenant(ANONYMOUS), any_key=False)
    assert directory.find(None).tenant.name == ANONYMOUS
    assert directory.find(KEY).tenant.name == "ada"
    with pytest.raises(InvalidApiKey):
        directory.find("mistyped")
    assert [tenant.name for tenant in directory.tenants] == ["ada", ANONYMOUS]


def test_keys_are_kept_as_digests_only() -> None:
    directory = TenantDirectory([ADA], {digest(KEY): Caller(ADA, "ci")}, None, any_key=False)
    assert KEY not in repr(vars(directory))
    assert directory.keys() == {"ada": frozenset({digest(KEY)})}
