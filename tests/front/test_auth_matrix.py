"""Every route, and every kind of key that must not open it; and every way to write a path, without a key."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from server.api.admin import Controls, build_admin_app
from server.api.auth import policies
from server.api.routes import flat_routes
from server.app import build_app, build_service
from server.engine.startup_phases import StartupPhases
from server.settings import Settings
from tests.front.conftest import MODEL, Front

# What each policy says of each kind of key: 200 is "not refused for its key". A policy that is not here fails the test.
OPEN = {"none": 200, "wrong": 200, "expired": 200, "no dialect": 200, "chat only": 200, "admin": 200, "whole": 200}
KEYED = {"none": 401, "wrong": 401, "expired": 401, "no dialect": 200, "chat only": 200, "admin": 200, "whole": 200}
DIALECT = {**KEYED, "no dialect": 403, "chat only": 403, "admin": 403}
EXPECTED: dict[str, dict[str, int]] = {
    "public": OPEN,
    "any_key": KEYED,
    "metrics_reader": KEYED,
    "document_reader": KEYED,
    "with_key": DIALECT,
    "chat_key": {**DIALECT, "chat only": 200},
    **{f"{name}_key": DIALECT for name in ("completions", "messages", "responses", "tokenizer", "batches")},
    "admin": {**KEYED, "no dialect": 403, "chat only": 403, "whole": 403},
}
KINDS = tuple(OPEN)

# Of routes with a parameter in their path, what it names and whose that is. Who adds one says it here; for what belongs
# to a tenant, another tenant's key must be answered as if the thing were not there.
STORED = "/v1/responses/{response_id}"
OWNERS = {
    "/v1/models/{name:path}": "nobody's",
    **{f"{STORED}{what}": "the key's" for what in ("", "/cancel", "/input_items")},
}


def apps() -> tuple[FastAPI, FastAPI]:
    settings = Settings.model_validate({"server": {"documents": "key"}})  # as the daemon of these tests has it
    at = build_service(settings, StartupPhases(lambda phase, seconds: None))
    controls = Controls(at.tenants, at.quotas, at.desk, lambda: None, lambda: at.gate.state, lambda: 0)
    return build_app(at), build_admin_app(controls)


def routes() -> list[tuple[str, str, str, bool]]:
    """Method, path, policy and port (whether it is the admin's) of every route."""
    found = []
    for number, app in enumerate(apps()):
        who = policies(app)
        for route in flat_routes(app.routes):
            assert isinstance(route, APIRoute), f"{route} is no route with a policy"
            path = route.path
            found += [(method, path, who[path], bool(number)) for method in sorted(route.methods or ())]
    return found


ROUTES = routes()


def key_of(front: Front, kind: str) -> str | None:
    keys = front.keys
    return {
        "none": None,
        "wrong": keys.wrong,
        "expired": keys.expired,
        "no dialect": keys.no_dialect,
        "chat only": keys.chat_only,
        "admin": keys.admin,
        "whole": keys.whole,
    }[kind]


def test_every_route_has_a_policy_that_is_known_here() -> None:
    assert len(ROUTES) >= 20
    unknown = {policy for _, _, policy, _ in ROUTES} - EXPECTED.keys()
    assert not unknown, f"say in EXPECTED what {unknown} allow"
    assert {path for _, path, policy, _ in ROUTES if policy == "public"} == {
        *("/health", "/health/ready", "/health/live", "/version")
    }
    assert {path for _, path, _, admin in ROUTES if not admin and path.startswith("/admin")} == set()
    undeclared = {path for _, path, _, _ in ROUTES if "{" in path} - OWNERS.keys()
    assert not undeclared, f"say in OWNERS whose {undeclared} name, and test another tenant's key"


# Draining with a key that may would end the daemon; tests/front/test_admin_key.py does it.
MATRIX = [(*route, kind) for route in ROUTES for kind in KINDS if (route[1], kind) != ("/admin/drain", "admin")]


@pytest.mark.parametrize(
    ("method", "path", "policy", "admin", "kind"), MATRIX, ids=[f"{each[0]} {each[1]} {each[4]}" for each in MATRIX]
)
def test_who_may_not_is_refused(front: Front, method: str, path: str, policy: str, admin: bool, kind: str) -> None:
    target = re.sub(r"{[^}]*}", stored(front) if OWNERS.get(path) == "the key's" else MODEL, path)
    with front.client(key_of(front, kind), admin=admin) as client:
        # A body that is refused for what it is, by whoever has got past the policy.
        answer = client.request(method, target, content=b"{" if method == "POST" else None)
    expected = EXPECTED[policy][kind]
    if expected == 200:
        assert answer.status_code not in (401, 403), answer.text
        assert answer.status_code != 404
        return
    assert answer.status_code == expected, answer.text
    if method == "HEAD":
        return
    error = answer.json()["error"]
    told = error.get("details", {}).get("error_code") or error["code"]
    wanted = {"expired": "expired_api_key"}.get(kind, "invalid_api_key") if expected == 401 else "missing_scope"
    assert told == wanted
    if expected == 403:
        assert "`admin`" in error["message"] or "`dialects." in error["message"], "it names what is missing"
        assert error["type"] in ("invalid_request_error", "permission_error")
    key = key_of(front, kind)
    assert not key or key not in answer.text


def stored(front: Front) -> str:
    """The id of a response that the whole key has made."""
    with front.client(front.keys.whole) as client:
        answer = client.post("/v1/responses", json={"model": MODEL, "input": "hello", "max_output_tokens": 2})
        assert answer.status_code == 200, answer.text
        id: str = answer.json()["id"]
        return id


@pytest.mark.parametrize(("method", "path"), [route[:2] for route in ROUTES if OWNERS.get(route[1]) == "the key's"])
def test_what_belongs_to_a_key_is_not_there_for_another(front: Front, method: str, path: str) -> None:
    target = path.replace("{response_id}", stored(front))
    with front.client(front.keys.other_tenant) as other, front.client(front.keys.whole) as whole:
        for client, expected in ((other, 404), (whole, 400 if "cancel" in path else 200)):
            answer = client.request(method, target)
            assert answer.status_code == expected, answer.text


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, **fields}


BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": chat(),
    "/v1/completions": {"model": MODEL, "prompt": "hello", "max_tokens": 2},
    "/v1/messages": chat(),
    "/v1/messages/count_tokens": {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]},
    "/v1/responses": {"model": MODEL, "input": "hello", "max_output_tokens": 2},
    "/v1/responses/input_tokens": {"model": MODEL, "input": "hello"},
    "/tokenize": {"prompt": "hello"},
    "/detokenize": {"tokens": [1]},
}


def test_every_route_that_takes_a_body_is_tried_with_a_model_of_another_key() -> None:
    assert {path for method, path, _, admin in ROUTES if method == "POST" and not admin} - OWNERS.keys() == set(BODIES)


@pytest.mark.parametrize("path", BODIES)
def test_a_key_for_another_model_is_refused_and_told(front: Front, path: str) -> None:
    with front.client(front.keys.other_model) as client:
        answer = client.post(path, json=BODIES[path])
        assert answer.status_code == 403, answer.text
        assert f"`models.{MODEL}`" in answer.json()["error"]["message"]
        assert client.get("/v1/models").json()["data"] == []
        assert client.get(f"/v1/models/{MODEL}").status_code == 403


def test_the_whole_key_is_served_and_so_is_one_for_chats(front: Front) -> None:
    """Else everything above could be refused for another reason."""
    for key in (front.keys.whole, front.keys.chat_only, front.keys.other_tenant):
        with front.client(key) as client:
            answer = client.post("/v1/chat/completions", json=chat())
            assert answer.status_code == 200, answer.text
            assert client.get("/v1/models").json()["data"][0]["id"] == MODEL
    with front.client(front.keys.admin, admin=True) as client:
        listed = client.get("/admin/tenants")
        assert listed.status_code == 200
        assert not any(key in listed.text for key in vars(front.keys).values())


def test_no_key_is_in_the_log(front: Front) -> None:
    with front.client(front.keys.whole) as client:
        client.post("/v1/chat/completions", json=chat())
    assert not any(key in front.daemon.log for key in vars(front.keys).values())
