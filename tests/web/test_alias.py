"""Serving by alias, whole: real releases, real worker processes, the real server, kill -9."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from headrace.ops.keys import keys_of
from headrace.ops.router import share
from headrace.releases.registry import Registry
from headrace.resources import build
from headrace.resources.handles import KnowledgeBase
from headrace.settings import child_environment
from headrace.types import Document

APP = '''\
import time
import headrace as hr
from headrace import request
from wording import VERSION

kb = hr.KnowledgeBase("kb")


@hr.app
def harbour(question: str, seconds: float = 0.0) -> hr.Answer:
    """Ask the harbour."""
    request.emit(hr.Event(kind="delta", text=VERSION + ": "))
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        request.checkpoint()
        time.sleep(0.01)
    found = kb.search(question, top_k=1)[0]
    place = hr.Citation(number=1, document=found.document, heading="", start=found.start, end=found.end,
                        text=found.text, score=found.score, relevance=found.relevance)
    return hr.Answer(text=f"{VERSION}: {found.text} [1]", citations=(place,))
'''
TEXTS = {"one": "The crane lifts forty tonnes.", "two": "The crane lifts twelve tonnes since the repair."}
QUESTION = {"question": "What does the crane lift?"}


class Harbour:
    """A project with two releases, each with its own code and its own knowledge base."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "headrace.toml").write_text('[app]\nentry = "app.py:harbour"\n[serve]\ndrain = 10.0\n')
        (root / "app.py").write_text(APP)
        self.ids: dict[str, str] = {}
        for version, text in TEXTS.items():
            (root / "wording.py").write_text(f'VERSION = "{version}"\n')
            KnowledgeBase("kb", root=root).add([Document(text, {}, "cranes.md")])
            self.ids[version] = self.freeze()
        (root / "wording.py").write_text('VERSION = "working copy"\n')

    def freeze(self) -> str:
        """A release in a process of its own: this one may have imported the files before."""
        code = "from headrace.ops.release import release\nprint(release('app.py:harbour').id)\n"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def registry(self) -> Registry:
        return build.registry(self.root)

    def promote(self, version: str, percent: float | None = None) -> None:
        self.registry.promote("harbour", "production", self.ids[version], who="test", percent=percent)

    def version(self, release: str) -> str:
        return next(version for version, id in self.ids.items() if id == release)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Harbour:
    return Harbour(tmp_path_factory.mktemp("harbour-by-alias"))


@pytest.fixture
def harbour(made: Harbour) -> Harbour:
    made.promote("one")
    return made


class Process:
    """``headrace serve harbour@production``."""

    def __init__(self, root: Path, *words: str, **environment: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "headrace", "serve", "harbour@production", "--json", *words],
            cwd=root,
            env=child_environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.child.stdout.readline()
        assert line, self.child.stderr.read()
        self.url = json.loads(line)["url"].rstrip("/")
        ends = time.monotonic() + 60
        while self.get("/readyz").status_code != 200:
            assert time.monotonic() < ends, "it is never ready"
            time.sleep(0.02)

    @property
    def workers(self) -> list[int]:
        tasks = Path(f"/proc/{self.child.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, trust_env=False, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=json, timeout=60, trust_env=False, **options)

    def ask(self, user: str = "", **fields: Any) -> httpx.Response:
        headers = {"x-headrace-user": user} if user else {}
        return self.post("/v1/apps/harbour/invoke", {**QUESTION, **fields}, headers=headers)

    def becomes(self, release: str, user: str = "") -> None:
        ends = time.monotonic() + 60
        while self.ask(user).json().get("release") != release:
            assert time.monotonic() < ends, "the switch never came"
            time.sleep(0.02)


@pytest.fixture
def serve(harbour: Harbour) -> Iterator[Callable[..., Process]]:
    running: list[Process] = []

    def start(*words: str, **environment: str) -> Process:
        running.append(Process(harbour.root, *(words or ("--port", "0")), **environment))
        return running[-1]

    yield start
    for process in running:
        if process.child.poll() is None:
            process.child.terminate()
        _, errors = process.child.communicate(timeout=30)
        assert "Traceback" not in errors, errors


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)


def test_the_contract_with_its_release_in_answer_header_trace_and_page(serve, harbour):
    server = serve()
    reply = server.ask(user="ana")
    body = reply.json()
    assert list(body) == ["output", "trace_id", "release"]
    assert {"text", "abstained", "citations"} <= set(body["output"])
    assert body["output"]["text"] == f"one: {TEXTS['one']} [1]"
    assert body["release"] == reply.headers["x-headrace-release"] == harbour.ids["one"]
    voted = server.post("/feedback", {"trace_id": body["trace_id"], "value": "down", "correction": "12"})
    assert voted.status_code == 201  # at once: quicker than the worker's trace
    run = server.get(f"/traces/{body['trace_id']}.json").json()
    assert run["trace"]["subject"]["release"] == body["release"]
    assert run["trace"]["context"]["user"] == "ana"
    assert run["feedback"][0]["correction"] == "12"
    assert harbour.ids["one"][:12] in server.get("/", headers={"accept": "text/html"}).text
    assert server.post("/feedback", {"trace_id": "0" * 32, "value": "up"}).status_code == 404
    assert server.ask(seconds="long").status_code == 422
    assert server.post("/v1/apps/other/invoke", QUESTION).status_code == 404
    api = server.get("/openapi.json").json()
    done = api["paths"]["/v1/apps/harbour/invoke"]["post"]["responses"]["200"]
    assert "X-Headrace-Release" in done["headers"]
    assert "403" in api["paths"]["/v1/apps/harbour/invoke"]["post"]["responses"]


def test_votes_quicker_than_their_traces(serve):
    server = serve()
    with ThreadPoolExecutor(8) as pool:

        def ask_and_vote(_: int) -> int:
            trace_id = server.ask().json()["trace_id"]
            return server.post("/feedback", {"trace_id": trace_id, "value": "up"}).status_code

        assert set(pool.map(ask_and_vote, range(40))) == {201}


def test_a_stream_and_the_openai_client(serve, harbour):
    server = serve()
    with httpx.stream(
        "POST", f"{server.url}/v1/apps/harbour/stream", json=QUESTION, trust_env=False
    ) as reply:
        assert reply.headers["x-headrace-release"] == harbour.ids["one"]
        text = "".join(reply.iter_text())
    assert text.index("event: delta") < text.index("event: answer")
    assert f'"release": "{harbour.ids["one"]}"' in text
    with httpx.Client(trust_env=False) as http:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, http_client=http)
        assert [model.id for model in client.models.list()] == ["harbour"]
        message = [{"role": "user", "content": QUESTION["question"]}]
        whole = client.chat.completions.create(model="harbour", messages=message)
        assert whole.choices[0].message.content == f"one: {TEXTS['one']} [1]"
        assert whole.model_extra["release"] == harbour.ids["one"]
        chunks = list(client.chat.completions.create(model="harbour", messages=message, stream=True))
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert said == f"one: {TEXTS['one']} [1]"
        with pytest.raises(openai.BadRequestError, match="takes no history"):
            client.chat.completions.create(model="harbour", messages=message[:1] * 3)


def test_a_source_opens_in_the_knowledge_base_of_the_release_that_cited_it(serve, harbour):
    server = serve()
    old = server.ask().json()
    harbour.promote("two")
    server.becomes(harbour.ids["two"])
    new = server.ask().json()
    for answer, version in ((old, "one"), (new, "two")):
        assert answer["output"]["text"] == f"{version}: {TEXTS[version]} [1]"
        query = {"trace": answer["trace_id"], "n": 1}
        page = server.get("/source.json", params=query).json()
        assert "".join(piece["text"] for piece in page["pieces"] if piece["mark"]) == TEXTS[version]
        assert not page["changed"]
    asked = server.post("/", data=QUESTION, headers={"accept": "text/html"})
    assert f"release={harbour.ids['two']}" in asked.text


def test_switch_and_rollback_under_load_lose_and_mix_nothing(serve, harbour):
    server = serve()
    stop, replies = threading.Event(), []

    def visit() -> None:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
            while not stop.is_set():
                replies.append(http.post("/v1/apps/harbour/invoke", json={**QUESTION, "seconds": 0.02}))

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    for _ in range(3):
        harbour.promote("two")
        server.becomes(harbour.ids["two"])
        harbour.registry.rollback("harbour", who="test")
        server.becomes(harbour.ids["one"])
    stop.set()
    for visitor in visitors:
        visitor.join(60)
    assert {reply.status_code for reply in replies} == {200}
    seen = set()
    for reply in replies:
        version = harbour.version(reply.json()["release"])
        assert reply.json()["output"]["text"] == f"{version}: {TEXTS[version]} [1]"
        assert reply.headers["x-headrace-release"] == harbour.ids[version]
        seen.add(version)
    assert seen == {"one", "two"}


def test_a_canary_keeps_each_user_with_one_release(serve, harbour):
    server = serve()
    harbour.promote("two", percent=50)
    users = [f"user {number}" for number in range(16)]
    expected = {user: "two" if share("harbour", user, harbour.ids["two"]) < 50 else "one" for user in users}
    assert set(expected.values()) == {"one", "two"}
    server.becomes(harbour.ids["two"], user=next(user for user in users if expected[user] == "two"))
    for _ in range(2):
        for user in users:
            assert harbour.version(server.ask(user).json()["release"]) == expected[user]
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as browser:  # by its cookie
        browser.get("/", headers={"accept": "text/html"})
        replies = [browser.post("/v1/apps/harbour/invoke", json=QUESTION).json() for _ in range(4)]
        assert len({reply["release"] for reply in replies}) == 1
    harbour.registry.rollback("harbour", who="test")


def test_a_killed_worker(serve):
    server = serve()
    kept = server.ask().json()["trace_id"]
    assert server.post("/feedback", {"trace_id": kept, "value": "up"}).status_code == 201
    first = server.workers  # production's and, warm, its predecessor's
    with ThreadPoolExecutor(2) as pool:
        inside = pool.submit(server.ask, seconds=30)
        until(lambda: "headrace_in_flight 1.0" in server.get("/metrics").text)
        for worker in first:
            os.kill(worker, signal.SIGKILL)
        reply = inside.result()
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "worker-lost"
    assert reply.headers["retry-after"] == "1"
    assert server.ask().status_code == 200  # it waits for the new one
    until(lambda: len(server.workers) == len(first))
    assert not set(server.workers) & set(first)
    assert server.get(f"/traces/{kept}.json").json()["feedback"][0]["value"] == "up"


def test_a_killed_server_takes_its_workers_along_and_loses_no_vote(serve):
    server = serve()
    kept = server.ask().json()["trace_id"]
    assert server.post("/feedback", {"trace_id": kept, "value": "up"}).status_code == 201
    workers = server.workers
    server.child.kill()
    server.child.wait()
    until(lambda: not any(alive(pid) for pid in workers))
    again = serve("--port", server.url.rpartition(":")[2])
    assert again.get(f"/traces/{kept}.json").json()["feedback"][0]["value"] == "up"
    assert again.ask().status_code == 200


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_sigterm_lets_what_runs_finish_and_keeps_its_trace(serve, harbour):
    server = serve()
    workers = server.workers
    with ThreadPoolExecutor(1) as pool:
        inside = pool.submit(server.ask, seconds=1.0)
        until(lambda: "headrace_in_flight 1.0" in server.get("/metrics").text)
        server.child.terminate()
        for worker in workers:
            os.kill(worker, signal.SIGTERM)  # as a service manager does to the whole group
        reply = inside.result()
    assert reply.status_code == 200
    assert server.child.wait(30) == 0
    assert build.ledger(harbour.root).trace(reply.json()["trace_id"]) is not None
    assert not any(alive(worker) for worker in workers)


def test_keys_with_scopes_and_a_body_of_100_mb(serve, harbour):
    keys = keys_of(harbour.root)
    token, _ = keys.create("asks", ["invoke"])
    votes, _ = keys.create("votes", ["feedback"])
    try:
        server = serve("--host", "0.0.0.0", "--port", "0")
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")

        def status(given: str, path: str = "/v1/apps/harbour/invoke", body: Any = QUESTION) -> int:
            headers = {"authorization": f"Bearer {given}"} if given else {}
            return server.post(path, body, headers=headers).status_code

        assert status("") == status("wrong") == status(token[:-1] + "_") == 401
        assert status(token) == 200
        assert status(votes) == 403
        answer = server.post(
            "/v1/apps/harbour/invoke", QUESTION, headers={"authorization": f"Bearer {token}"}
        )
        vote = {"trace_id": answer.json()["trace_id"], "value": "up"}
        assert status(token, "/feedback", vote) == 403
        assert status(votes, "/feedback", vote) == 201
        for path in ("/traces.json", "/metrics", "/source.json?document=cranes.md"):
            refused = server.get(path, headers={"authorization": f"Bearer {token}"})
            assert refused.status_code == 403, path
            assert "'read'" in refused.json()["error"]["message"]
        assert server.get("/openapi.json", headers={"authorization": f"Bearer {votes}"}).json()["security"]
        assert hundred_megabytes(server.url, token) == 413
        assert hundred_megabytes(server.url, "") in (401, 413)
        keys.revoke("asks")
        assert status(token) == 401  # from the next request on
        keys.create("all", ["admin"])
        assert status(token) == 401
    finally:
        (harbour.root / ".headrace" / "keys.sqlite").unlink()
        keys.close()


def hundred_megabytes(url: str, token: str) -> int:
    """The status for a body of 100 MB, read as soon as it comes: nobody need wait for the rest."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    head = (
        f"POST /v1/apps/harbour/invoke HTTP/1.1\r\nhost: {host}:{port}\r\n"
        f"authorization: Bearer {token}\r\ncontent-length: {100 * 2**20}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(head.encode())
        line.sendall(b'{"question": "')
        return int(line.recv(65536).split()[1])


def test_signing_in_with_a_key_until_it_is_revoked(serve, harbour):
    keys = keys_of(harbour.root)
    token, _ = keys.create("people")
    try:
        server = serve()
        with httpx.Client(base_url=server.url, trust_env=False, headers={"accept": "text/html"}) as browser:
            assert browser.get("/").headers["location"].startswith("/sign-in")
            assert browser.post("/sign-in", data={"key": "guess", "next": "/"}).status_code == 401
            assert browser.post("/sign-in", data={"key": token, "next": "/"}).status_code == 303
            assert token not in "".join(browser.cookies.values())
            assert browser.get("/").status_code == 200
            keys.revoke("people")
            assert browser.get("/").status_code == 303
    finally:
        (harbour.root / ".headrace" / "keys.sqlite").unlink()
        keys.close()


def headrace_serve(root: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "serve", *words],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_what_cannot_be_served(harbour):
    code, errors = headrace_serve(harbour.root, "nobody@production")
    assert code == 2
    assert "'nobody'" in errors
    assert "headrace promote nobody@production" in errors
    assert headrace_serve(harbour.root, "harbour@staging")[0] == 2
    code, errors = headrace_serve(harbour.root, "harbour@tomorrow")
    assert code == 2
    assert "production or staging" in errors
    code, errors = headrace_serve(harbour.root, "harbour@production", "--kb", "kb")
    assert code == 2
    code, errors = headrace_serve(harbour.root, "harbour@production", "--host", "0.0.0.0")
    assert code == 2
    assert "headrace keys create" in errors
