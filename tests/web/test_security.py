"""Who may come in, from where, and with how much."""

from __future__ import annotations

import pytest

from headrace.errors import SettingsError
from headrace.settings import ServeSettings, Settings
from headrace.web.security import make_pass, pass_is_good
from headrace.web.server import key_for

KEY = "a-long-random-key-for-tests"


def test_every_response_carries_the_policy(serve):
    with serve("handbook").client() as http:
        for path in ("/", "/traces", "/livez", "/static/page.css", "/nothing", "/v1/models"):
            headers = http.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
        page = http.get("/").text
        assert "<style" not in page
        assert " style=" not in page
        assert " on" not in [word[:3] for word in page.split("<")]
        assert page.count("<script") == page.count('<script src="/static/')


def test_another_name_for_this_machine_is_refused(serve):
    """DNS rebinding: a stranger's page under a name that points at 127.0.0.1."""
    with serve("handbook").client() as http:
        for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
            reply = http.get("/livez", headers={"host": host})
            assert reply.status_code in (400, 403), host
        for host in ("localhost:1", "127.0.0.1", "[::1]:8000"):
            assert http.get("/livez", headers={"host": host}).status_code == 200, host


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_forged_posts_are_refused(serve, headers):
    with serve("chatty").client() as http:
        for path, data in (("/v1/apps/chatty/invoke", '{"question": "x"}'), ("/", "question=x")):
            reply = http.post(path, content=data, headers=headers)
            assert reply.status_code == 403
            assert reply.json()["error"]["code"] == "untrusted"


def test_our_own_page_may_post(serve):
    server = serve("chatty")
    with server.client() as http:
        reply = http.post("/v1/apps/chatty/invoke", json={"question": "x"}, headers={"origin": server.url})
        assert reply.status_code == 200


def test_a_body_that_is_too_large_is_413_with_and_without_a_length(serve):
    with serve("chatty", body_mb=0.01).client() as http:
        big = '{"question": "' + "x" * 20_000 + '"}'
        assert http.post("/v1/apps/chatty/invoke", content=big).status_code == 413

        def chunks():
            for _ in range(40):
                yield b"x" * 1000

        reply = http.post("/v1/apps/chatty/invoke", content=chunks())
        assert reply.status_code == 413
        assert reply.json()["error"]["code"] == "too-large"


def test_the_key(serve):
    server = serve("who", key=KEY)
    with server.client() as http:
        assert http.get("/livez").status_code == 200
        assert http.get("/readyz").status_code == 200
        for path in ("/metrics", "/v1/models", "/traces.json", "/openapi.json", "/source.json"):
            assert http.get(path).status_code == 401, path
        refused = http.post("/v1/apps/who/invoke", json={"question": "x"})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        for wrong in ("", "Bearer", "Bearer x", f"Basic {KEY}", f"Bearer {KEY}x"):
            assert http.get("/v1/models", headers={"authorization": wrong}).status_code == 401, wrong
        given = http.post(
            "/v1/apps/who/invoke",
            json={"question": "x"},
            headers={"authorization": f"Bearer {KEY}", "x-headrace-user": "ana"},
        )
        assert given.json()["output"]["user"] == "ana"


def test_signing_in_gives_a_pass_and_goes_only_home(serve):
    server = serve("who", key=KEY)
    with server.client(headers={"accept": "text/html"}) as http:
        asked = http.get("/traces?search=x")
        assert asked.status_code == 303
        assert asked.headers["location"] == "/sign-in?next=%2Ftraces%3Fsearch%3Dx"
        assert "password" in http.get(asked.headers["location"]).text
        wrong = http.post("/sign-in", data={"key": "guess", "next": "/"})
        assert wrong.status_code == 401
        assert "headrace_pass" not in http.cookies
        for target, expected in (
            ("/traces", "/traces"),
            ("https://evil.example/", "/"),
            ("//evil.example/", "/"),
            ("/\\evil.example", "/"),
        ):
            reply = http.post("/sign-in", data={"key": KEY, "next": target})
            assert (reply.status_code, reply.headers["location"]) == (303, expected)
        cookie = reply.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert KEY not in cookie
        assert http.get("/traces").status_code == 200


def test_passes_expire_and_belong_to_a_key():
    given = make_pass(KEY, now=1000.0)
    assert pass_is_good(KEY, given, now=1001.0)
    assert not pass_is_good(KEY, given, now=1000.0 + 40 * 86400)
    assert not pass_is_good(KEY + "x", given, now=1001.0)
    assert not pass_is_good(KEY, "9" + given, now=1001.0)
    assert not pass_is_good(KEY, "", now=1001.0)
    assert not pass_is_good(KEY, "é.x.y", now=1001.0)


def test_sessions_are_random_and_closed_to_scripts(serve):
    server = serve("who")
    with server.client() as one, server.client() as two:
        cookies = [http.get("/").headers["set-cookie"] for http in (one, two)]
        assert cookies[0] != cookies[1]
        assert all("HttpOnly" in cookie and "SameSite=Strict" in cookie for cookie in cookies)
        session = one.post("/v1/apps/who/invoke", json={"question": "x"}).json()["output"]["session"]
        assert session
        assert session in cookies[0]
        assert "set-cookie" not in one.get("/").headers


def test_other_addresses_need_a_long_key(tmp_path, monkeypatch):
    def settings(host: str) -> Settings:
        return Settings(root=tmp_path, serve=ServeSettings(host=host))

    for host in ("127.0.0.1", "localhost", "::1"):
        assert key_for(settings(host)) is None
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(SettingsError, match="needs a key"):
            key_for(settings(host))
    monkeypatch.setenv("HEADRACE_KEY", "short")
    with pytest.raises(SettingsError, match="5 characters"):
        key_for(settings("0.0.0.0"))
    monkeypatch.setenv("HEADRACE_KEY", KEY)
    assert key_for(settings("0.0.0.0")) == KEY


def test_only_documents_of_the_applications_knowledge_bases_open(serve, project):
    with serve("handbook").client() as http:
        assert http.get("/source.json", params={"document": "/etc/passwd"}).status_code == 404
        assert http.get("/source.json", params={"document": "../headrace.toml"}).status_code == 404
        assert http.get("/static/../templates/base.html").status_code == 404
        assert http.get("/static/%2e%2e/server.py").status_code == 404
