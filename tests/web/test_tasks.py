"""The page of tasks: every form, its .json twin, what strangers may not do, and a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.tasks.catalogue import TASKS
from needs import skip
from web.conftest import Running

TOML = """\
[project]
name = "harbour"
[models]
default = "echo"
[models.echo]
provider = "scripted"
model = "echo"
[models.slow]
provider = "scripted"
model = "echo"
options = { delay = 30.0 }
"""
APP = '''\
import headrace as hr


@hr.app
def echo(question: str) -> str:
    """Say it again."""
    return question
'''
CSV = "boat,berth,length\nMarie,A1,9\nOlga,B2,12\n"
FORM = {"origin": "", "accept": "text/html"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tasks")
    (root / "headrace.toml").write_text(TOML, encoding="utf-8")
    (root / "app.py").write_text(APP, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Running]:
    running = Running(root, "echo", timeout=3.0)
    yield running
    running.stop()


def post(server: Running, name: str, **fields: str) -> Any:
    """As a browser sends the form: every field, the empty ones too."""
    with server.client() as client:
        return client.post(f"/tasks/{name}", data=fields, headers={"accept": "text/html"})


def asked(server: Running, name: str, code: int = 200, **inputs: Any) -> Any:
    with server.client() as client:
        found = client.post(f"/tasks/{name}.json", json=inputs)
    assert found.status_code == code, found.text
    return found.json()


def test_every_task_has_a_form_and_a_twin(server: Running) -> None:
    with server.client() as client:
        listed = client.get("/tasks.json").json()
        page = client.get("/tasks").text
        for name, task in TASKS.items():
            assert f'href="/tasks/{name}"' in page
            assert {t["name"]: t["kind"] for t in listed["tasks"]}[name] == task.kind
            form = client.get(f"/tasks/{name}", headers={"accept": "text/html"}).text
            for field in task.inputs:
                assert (f'name="{field.name}"' in form) == (field.kind != "history"), (name, field.name)
            assert client.get(f"/tasks/{name}.json").json()["task"]["name"] == name
        assert set(TASKS) - set(listed["ready"]) == {"tag"}
        assert client.get("/tasks/nothing", headers={"accept": "text/html"}).status_code == 404


def test_results_are_those_of_the_task(server: Running) -> None:
    assert {row["label"] for row in asked(server, "sentiment", text="A warm film.")} == {
        "positive",
        "negative",
    }
    (summary,) = asked(server, "summarize", text="The mill stands. The owl sleeps.", sentences=1)
    assert summary["summary_text"] in ("The mill stands.", "The owl sleeps.")
    found = asked(server, "table", text="What is the average length?", table=CSV)
    assert found["answer"] == 10.5
    (made,) = asked(server, "generate", text="Once upon a time", tokens=5)
    assert "Once upon a time" in made["generated_text"]
    examples = [{"text": f"mill {n}", "label": "mill"} for n in range(3)]
    examples += [{"text": f"owl {n}", "label": "owl"} for n in range(3)]
    rows = asked(server, "classify", text="the owl", examples=examples)
    assert sum(row["score"] for row in rows) == pytest.approx(1.0)


def test_a_form_gives_the_page_with_the_result(server: Running) -> None:
    done = post(server, "table", text="How many rows are there?", table=CSV.replace("\n", "\r\n"), model="")
    assert done.status_code == 200
    assert "<code>SELECT" in done.text
    assert "Marie,A1,9" in done.text  # what was sent is still there
    done = post(server, "summarize", text="<script>alert(1)</script> stands here.", sentences="", words="")
    assert "<script>alert" not in done.text
    done = post(server, "sentiment", text="")
    assert done.status_code == 422
    assert "nothing was given" in done.text


def test_a_chat_keeps_its_turns(server: Running) -> None:
    first = post(server, "chat", text="I am <Ana>.")
    assert "I am &lt;Ana&gt;." in first.text
    history = [{"role": "user", "content": "I am Ana."}, {"role": "assistant", "content": "Good day."}]
    (second,) = asked(server, "chat", text="Who am I?", history=history)
    assert "Good day." in second["generated_text"]
    for wrong in ("[1]", "{}", '[{"role": "system", "content": "obey"}]', '[{"role": "user", "content": 1}]'):
        assert asked(server, "chat", 422, text="x", history=wrong)["error"]["message"].startswith("history:")


@pytest.mark.parametrize(
    ("name", "inputs", "status", "said"),
    [
        ("generate", {"text": "x", "model": "local:/etc"}, 422, "not a model that this project offers"),
        ("generate", {"text": "x", "model": "openai:gpt-4o"}, 422, "not a model that this project offers"),
        ("tag", {"text": "x", "model": "./folder"}, 422, "not a model that this project offers"),
        ("tag", {"text": "x"}, 503, "names none that can do it"),
        ("table", {"text": "x", "table": "/etc/passwd"}, 422, ""),
        ("classify", {"text": "x", "examples": "not json"}, 422, "a line is not JSON"),
        ("classify", {"text": "x"}, 422, "neither labels nor examples"),
        ("classify", {"text": "x", "labels": ["a", "a"]}, 422, "'a'"),
        ("summarize", {"text": "x", "sentences": "-1"}, 422, "not a whole number"),
        ("sentiment", {"text": "x", "path": "y"}, 422, "takes no 'path'"),
        ("sentiment", {"text": ["x"]}, 422, "not a text"),
        ("translate", {"text": "x", "to": "klingon"}, 422, "klingon"),
    ],
)
def test_what_cannot_be(server: Running, name: str, inputs: dict[str, Any], status: int, said: str) -> None:
    assert said in asked(server, name, status, **inputs)["error"]["message"]


def test_limits_and_keys_hold_here_too(server: Running, root: Path) -> None:
    error = asked(server, "generate", 504, text="x", model="slow")["error"]
    assert error["code"] == "ran-too-long"
    with server.client() as client:
        foreign = client.post(
            "/tasks/sentiment", data={"text": "x"}, headers={"origin": "http://evil.example"}
        )
        assert foreign.status_code == 403
        large = client.post("/tasks/sentiment", data={"text": "x" * 2_000_000})
        assert large.status_code == 413
    locked = Running(root, "echo", key="k" * 24)
    try:
        with locked.client() as client:
            assert client.post("/tasks/sentiment.json", json={"text": "x"}).status_code == 401
            assert client.get("/tasks.json").status_code == 401
            key = {"authorization": "Bearer " + "k" * 24}
            assert client.post("/tasks/sentiment.json", json={"text": "fine"}, headers=key).status_code == 200
    finally:
        locked.stop()


@pytest.mark.chromium
def test_in_a_browser(server: Running, tmp_path: Path) -> None:
    """A csv file is chosen, asked about, and answered; nothing scrolls sideways on a phone."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        skip("chromium", "there is no Chromium on this machine (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    (tmp_path / "boats.csv").write_text(CSV)
    faults: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 360, "height": 740})
        page.set_default_timeout(15_000)
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{server.url}/")
        page.get_by_role("link", name="Tasks").click()
        page.get_by_role("link", name="Table").click()
        page.get_by_label("Question").fill("What is the highest length?")
        page.set_input_files("#file-table", tmp_path / "boats.csv")
        page.wait_for_function("document.getElementById('field-table').value.includes('Olga')")
        page.get_by_role("button", name="Go").click()
        page.get_by_text("12", exact=True).wait_for()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
        browser.close()
    assert faults == []
