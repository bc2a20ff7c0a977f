"""A release shown to a real MLflow server, loaded from it, and served by it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import headrace as hr
from headrace.cli.main import run
from headrace.errors import InputError, NetworkRefused, SettingsError
from headrace.ops import mlflow as mirror
from headrace.resources import build
from headrace.settings import child_environment
from headrace.types import Report
from released import write_project

mlflow = pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # it would start workers that nothing here needs
}


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@contextmanager
def process(command: list[str], url: str, folder: Path, seconds: float, **more: str) -> Iterator[str]:
    """A server as a process group of its own, until it answers; ended afterwards with its children."""
    log = (folder / "server.log").open("wb")
    child = subprocess.Popen(
        command, cwd=folder, env=child_environment(**QUIET, **more), stdout=log, stderr=log,
        start_new_session=True,
    )  # fmt: skip
    try:
        ends = time.monotonic() + seconds
        while True:
            assert child.poll() is None, (folder / "server.log").read_text()[-3000:]
            assert time.monotonic() < ends, (folder / "server.log").read_text()[-3000:]
            try:
                if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
        log.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow server` on SQLite and a folder, on loopback."""
    folder = tmp_path_factory.mktemp("mlflow")
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///m.db",
        "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1",
    ]  # fmt: skip
    with process(command, url, folder, 240) as found:
        yield found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A project whose application has a name of its own, since the server is one for all tests."""
    monkeypatch.chdir(tmp_path)
    name = request.node.name.removeprefix("test_").split("[")[0]
    app = f'''"""One."""

import headrace as hr

kb = hr.KnowledgeBase("kb")


@hr.app(name="{name}")
def finder(question: str, loud: bool = False) -> hr.Answer:
    """Quotes the best passage."""
    found = kb.search(question, top_k=1, mode="lexical")
    text = found[0].text if found else "nothing"
    return hr.Answer(text=text.upper() if loud else text, abstained=not found)
'''
    return write_project(tmp_path, {"app.py": app})


def client(server: str) -> Any:
    return mlflow.MlflowClient(tracking_uri=server)


def test_pushed_release(project: Path, server: str) -> None:
    release = hr.release("app.py")
    name = release.name
    measured = {"name": "hit@1", "value": 0.8, "low": 0.6, "high": 0.9, "n": 20}
    build.reports(project).save(
        Report(
            id="a" * 32,
            kind="evaluation",
            subject=release.manifest["fingerprint"],
            settings={"metrics": ["hit@1"], "confidence": 0.95},
            measurements=(measured,),
            rows=({"id": "1", "output": "private"},),
        )
    )
    registry = build.registry(project)
    registry.promote(name, "staging", release.id, who="test")
    registry.promote(name, "production", release.id, who="test")
    done = mirror.push(project, f"{name}@production", server)
    assert (done.name, done.release, done.new) == (name, release.id, True)
    assert done.aliases == ("production", "staging")

    run_of = client(server).get_run(done.run)
    assert run_of.data.params["fingerprint"] == release.manifest["fingerprint"]
    assert run_of.data.params["kb.kb.documents"] == "3"
    assert run_of.data.params["evaluation.confidence"] == "0.95"
    assert {k: v for k, v in run_of.data.metrics.items() if k.startswith("hit")} == {
        "hit_at_1": 0.8,
        "hit_at_1.low": 0.6,
        "hit_at_1.high": 0.9,
    }
    stored = client(server).get_model_version_by_alias(name, "production")
    assert stored.tags[mirror.TAG] == release.id

    again = mirror.push(project, name, server)
    assert (again.version, again.run, again.new) == (done.version, done.run, False)

    mlflow.set_tracking_uri(server)
    try:
        held = mlflow.artifacts.list_artifacts(run_id=done.run)
        assert {item.path for item in held} >= {"manifest.json", "reports"}
        model = mlflow.pyfunc.load_model(f"models:/{name}@production")
        (answer,) = model.predict([{"question": "burns upward"}])
        assert (answer["text"], answer["abstained"]) == ("Fire burns upward.", False)
        loud, nothing = model.predict(
            [{"question": "downhill", "loud": True}, {"question": "zzz", "loud": False}]
        )
        assert loud["text"] == "WATER RUNS DOWNHILL."
        assert nothing["abstained"] is True
        with pytest.raises(mlflow.exceptions.MlflowException, match="question"):
            model.predict([{"query": "x"}])  # the application's parameters are the model's schema
    finally:
        mlflow.set_tracking_uri(None)


def test_aliases_in_step(project: Path, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    toml = (project / "headrace.toml").read_text()
    (project / "headrace.toml").write_text(f'{toml}[mlflow]\nuri = "{server}"\n')
    first = hr.release("app.py")  # logged at once
    name = first.name
    hr.promote(f"{name}@production")
    hr.KnowledgeBase("kb", root=project).add(hr.Document("Light is fast.", id="d9"))
    second = hr.release("app.py")
    hr.promote(f"{name}@production", second.id)

    def at(alias: str) -> str | None:
        found = client(server).get_registered_model(name).aliases.get(alias)
        if found is None:
            return None
        return str(client(server).get_model_version(name, found).tags[mirror.TAG])

    assert (at("production"), at("staging")) == (second.id, None)
    hr.rollback(name)
    assert at("production") == first.id
    assert run(["mlflow", "push", f"{name}@{second.id[:12]}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["new"] is False


def test_a_server_that_is_away_stops_no_promotion(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    toml = (project / "headrace.toml").read_text()
    (project / "headrace.toml").write_text(f'{toml}[mlflow]\nuri = "http://127.0.0.1:{free_port()}"\n')
    release = hr.release("app.py")
    assert hr.promote(f"{release.name}@production").verdict == "passed"
    assert build.registry(project).live(release.name).production == release.id
    assert "not brought in step" in caplog.text


def test_bad_addresses(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = hr.release("app.py")
    target = f"{release.name}@{release.id}"
    with pytest.raises(SettingsError, match="No MLflow server"):
        mirror.push(project, target)
    with pytest.raises(InputError, match="databricks"):
        mirror.push(project, target, "databricks://somewhere")
    monkeypatch.setenv("HEADRACE_NETWORK", "off")
    with pytest.raises(NetworkRefused, match="example"):
        mirror.push(project, target, "http://mlflow.example.org:5000")


def test_parameters_metrics_and_requirements_are_plain() -> None:
    assert mirror.requirements(["numpy-2.4.6", "torch-2.13.0+cpu", "odd"]) == [
        "numpy==2.4.6",
        "torch==2.13.0+cpu",
    ]
    reports = [
        Report(id=str(n), kind="evaluation", subject="s", measurements=(m,))
        for n, m in enumerate(
            [{"name": "hit@4", "value": 0.5, "low": None}, {"name": "hit@4", "value": 0.1, "high": 1}]
        )
    ]
    assert mirror.metrics(reports) == {"hit_at_4": 0.5, "hit_at_4.high": 1.0}


@pytest.mark.slow
def test_models_serve(project: Path, server: str, tmp_path: Path) -> None:
    release = hr.release("app.py")
    build.registry(project).promote(release.name, "production", release.id, who="test")
    mirror.push(project, release.name, server)
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{release.name}@production",
        "--env-manager", "local", "-p", str(port), "-h", "127.0.0.1",
    ]  # fmt: skip
    bin_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with process(command, url, tmp_path, 180, MLFLOW_TRACKING_URI=server, PATH=bin_first):
        given = {"inputs": [{"question": "burns upward"}]}
        answer = httpx.post(f"{url}/invocations", json=given, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["text"] == "Fire burns upward."
