"""Ways to write a request so that a look at its path, its Host or its headers would take it for another one.

None brings a key where a key belongs, so that none may be answered by a handler behind one.
"""

from __future__ import annotations

import pytest

from tests.front.conftest import Front

HOST = b"host: 127.0.0.1\r\n"


def get(target: bytes, headers: bytes = HOST, version: bytes = b"HTTP/1.1", method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" " + version + b"\r\n" + headers + b"connection: close\r\n\r\n"


# KEY stands for a good key, in a place where keys do not belong.
TRICKS: dict[str, bytes] = {
    "plain": get(b"/v1/models"),
    "upper case": get(b"/V1/MODELS"),
    "double slash": get(b"//v1/models"),
    "double slash inside": get(b"/v1//models"),
    "trailing slash": get(b"/v1/models/"),
    "encoded slash": get(b"/v1%2fmodels"),
    "encoded letter": get(b"/v1/%6dodels"),
    "encoded twice": get(b"/v1/%256dodels"),
    "dot": get(b"/./v1/./models"),
    "dots out of a public route": get(b"/health/../v1/models"),
    "encoded dots": get(b"/health/%2e%2e/v1/models"),
    "encoded dots and slash": get(b"/health%2f..%2fv1/models"),
    "dots up from nowhere": get(b"/../../v1/models"),
    "backslashes": get(b"\\v1\\models"),
    "encoded backslash": get(b"/health%5c..%5cv1%5cmodels"),
    "parameter after a semicolon": get(b"/v1/models;a=b"),
    "public route with a semicolon": get(b"/health;/v1/models"),
    "public route as a query": get(b"/v1/models?/health"),
    "public route in a fragment": get(b"/v1/models#/health"),
    "protected route in a fragment": get(b"/health#/../v1/models"),
    "encoded null": get(b"/v1/models%00"),
    "encoded null and a public ending": get(b"/v1/models%00/health"),
    "bare null": get(b"/v1/models\x00"),
    "encoded space": get(b"/v1/models%20"),
    "encoded line end": get(b"/v1/models%0d%0aHost:%20x"),
    "tab": get(b"/v1/models\t"),
    "overlong slash": get(b"/v1%c0%afmodels"),
    "full-width letters": get("/v1/ｍodels".encode()),
    "absolute form": get(b"http://127.0.0.1/v1/models"),
    "absolute form of a public host": get(b"http://health/v1/models"),
    "absolute form with a user": get(b"http://a:b@127.0.0.1/v1/models"),
    "authority of a path": get(b"//health/v1/models"),
    "host with a path": get(b"/v1/models", b"host: 127.0.0.1/health?\r\n"),
    "host with a fragment": get(b"/v1/models", b"host: 127.0.0.1/health#\r\n"),
    "empty host": get(b"/v1/models", b"host:\r\n"),
    "no host": get(b"/v1/models", b""),
    "two hosts": get(b"/v1/models", HOST + b"host: x/health?\r\n"),
    "forwarded prefix": get(b"/v1/models", HOST + b"x-forwarded-prefix: /v1/models\r\n"),
    "script name": get(b"/v1/models", HOST + b"x-script-name: /v1\r\nscript_name: /v1\r\n"),
    "original url": get(b"/v1/models", HOST + b"x-original-url: /health\r\nx-rewrite-url: /health\r\n"),
    "original url of a public route": get(b"/nothing", HOST + b"x-original-url: /v1/models\r\n"),
    "forwarded for this machine": get(
        b"/v1/models", HOST + b"x-forwarded-for: 127.0.0.1\r\nx-real-ip: 127.0.0.1\r\nforwarded: for=127.0.0.1\r\n"
    ),
    "forwarded by an authenticating proxy": get(
        b"/v1/models", HOST + b"x-forwarded-user: ada\r\nx-auth-request-user: ada\r\nremote-user: ada\r\n"
    ),
    "method override": get(b"/v1/models", HOST + b"x-http-method-override: OPTIONS\r\n"),
    "HEAD": get(b"/v1/models", method=b"HEAD"),
    "OPTIONS": get(b"/v1/models", method=b"OPTIONS"),
    "OPTIONS of everything": get(b"*", method=b"OPTIONS"),
    "PUT": get(b"/v1/models", method=b"PUT"),
    "TRACE": get(b"/v1/models", method=b"TRACE"),
    "CONNECT": get(b"127.0.0.1:80", method=b"CONNECT"),
    "lower-case method": get(b"/v1/models", method=b"get"),
    "an unknown method": get(b"/v1/models", method=b"JEFF"),
    "HTTP/1.0": get(b"/v1/models", version=b"HTTP/1.0"),
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "websocket": get(
        b"/v1/models",
        HOST + b"upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    ),
    "upgrade to HTTP/2": get(b"/v1/models", HOST + b"upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"),
    "preflight of a web page": get(
        b"/v1/models", HOST + b"origin: http://x\r\naccess-control-request-method: GET\r\n", method=b"OPTIONS"
    ),
    "empty bearer": get(b"/v1/models", HOST + b"authorization: Bearer \r\n"),
    "bearer of nothing": get(b"/v1/models", HOST + b"authorization: Bearer null\r\n"),
    "empty key": get(b"/v1/models", HOST + b"x-api-key:\r\n"),
    "key in the query": get(b"/v1/models?api_key=KEY&key=KEY&access_token=KEY"),
    "key in a cookie": get(b"/v1/models", HOST + b"cookie: authorization=Bearer KEY; api_key=KEY\r\n"),
    "key as a password": get(b"/v1/models", HOST + b"authorization: Basic KEY\r\n"),
    "key with a letter more": get(b"/v1/models", HOST + b"authorization: Bearer KEYx\r\n"),
    "key with a letter less": get(b"/v1/models", HOST + b"authorization: Bearer KE\r\n"),
    "key beside another": get(b"/v1/models", HOST + b"authorization: Bearer KEY\r\nx-api-key: other\r\n"),
    "key twice, differing": get(b"/v1/models", HOST + b"authorization: Bearer KEY\r\nauthorization: Bearer x\r\n"),
    "key twice in one header, differing": get(b"/v1/models", HOST + b"x-api-key: KEY\r\nx-api-key: x\r\n"),
    "key in a proxy's header": get(b"/v1/models", HOST + b"proxy-authorization: Bearer KEY\r\n"),
    "key in a folded header": get(b"/v1/models", HOST + b"x-a: b\r\n authorization: Bearer KEY\r\n"),
    "header with a space before its colon": get(b"/v1/models", HOST + b"authorization : Bearer KEY\r\n"),
    "key under another name": get(b"/v1/models", HOST + b"x_api_key: KEY\r\nApi_Key: KEY\r\n"),
    "smuggled behind two lengths": (
        b"POST /health HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: 44\r\n\r\n"
        b"GET /v1/models HTTP/1.1\r\n\r\n"
    ),
    "smuggled behind length and chunks": (
        b"POST /health HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG"
    ),
    "key in a trailer": (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntrailer: authorization\r\n"
        b"connection: close\r\n\r\n0\r\nauthorization: Bearer KEY\r\n\r\n"
    ),
}
PUBLIC = {"protected route in a fragment"}


def test_there_are_thirty_and_more() -> None:
    assert len(TRICKS) >= 30


@pytest.mark.parametrize("name", TRICKS)
def test_nobody_gets_past(front: Front, name: str) -> None:
    key = front.keys.whole.encode()
    request = (
        TRICKS[name]
        .replace(b"KEYx", key + b"x")
        .replace(b"KEY", key)
        .replace(b"Bearer KE\r", b"Bearer " + key[:-1] + b"\r")
    )
    answer = front.raw(request)
    assert b"qwen3.5" not in answer.body, "the handler was reached"
    if name in PUBLIC:
        return
    assert answer.status in (400, 401, 403, 404, 405), answer.head
    assert "\r\nlocation:" not in answer.head.lower(), "no redirect, which the Host header would lead elsewhere"
    assert key not in answer.body
    # And the daemon takes the next one.
    with front.client(front.keys.whole) as client:
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("name", TRICKS)
def test_nor_into_the_admin_port(front: Front, name: str) -> None:
    request = TRICKS[name].replace(b"/v1/models", b"/admin/tenants").replace(b"KEY", front.keys.whole.encode())
    answer = front.raw(request, admin=True)
    assert answer.status in (400, 401, 403, 404, 405), answer.head
    assert b"max_class" not in answer.body


def test_what_is_asked_after_is_what_is_answered(front: Front) -> None:
    """The same words with a key are served, so that the refusals are for the want of one."""
    key = front.keys.whole.encode()
    for target in (b"/v1/models", b"/v1/%6dodels"):
        answer = front.raw(get(target, HOST + b"authorization: Bearer " + key + b"\r\n"))
        assert (answer.status, b"qwen3.5" in answer.body) == (200, True)
