"""release, promote, rollback, releases as others script them: keys, exit codes, streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from released import HELPERS, TOML, write_project

GATE = TOML + '[[release.gates]]\nmetric = "exact_match"\nmin = 0.8\n'
PASSED, REFUSED, BAD_USE = 0, 3, 2


def headrace(*words: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "80"},
        check=False,
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def value(*words: str, cwd: Path, code: int = 0) -> Any:
    return json.loads(headrace(*words, "--json", cwd=cwd, code=code).stdout)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


def test_the_whole_way_in_json(project: Path, tmp_path: Path) -> None:
    made = value("release", "app.py:finder", cwd=project)
    assert {"release_id", "name", "version", "gates"} <= set(made)
    assert (made["name"], made["version"], made["gates"]) == ("finder", 1, [])
    assert len(made["release_id"]) == 64
    staged = value("promote", "finder@staging", cwd=project)
    assert {"release_id", "alias", "previous", "verdict", "gates"} <= set(staged)
    assert (staged["alias"], staged["previous"], staged["verdict"]) == ("staging", None, "passed")
    live = value("promote", "finder@production", cwd=project)
    assert live["release_id"] == made["release_id"]
    (project / "helpers.py").write_text(HELPERS + "\n# another\n")
    second = value("release", cwd=project)
    canary = value(
        "promote",
        "finder@production",
        "--release",
        second["release_id"][:10],
        "--canary",
        "5%",
        cwd=project,
    )
    assert (canary["release_id"], canary["previous"]) == (second["release_id"], made["release_id"])
    assert canary["canary"] == 5
    assert canary["alias"] == "production"
    whole = value("promote", "finder@production", cwd=project)
    assert (whole["release_id"], whole["previous"]) == (second["release_id"], made["release_id"])
    back = value("rollback", "finder", cwd=project)
    assert {"release_id", "alias", "previous", "verdict", "gates"} <= set(back)
    assert (back["release_id"], back["previous"]) == (made["release_id"], second["release_id"])
    assert back["alias"] == "production"
    shelf = value("releases", "finder", cwd=project)
    assert [r["release_id"] for r in shelf["releases"]] == [second["release_id"], made["release_id"]]
    assert all({"who", "when", "what", "why"} <= set(line) for line in shelf["log"])
    assert [line["what"] for line in shelf["log"]] == [
        "release",
        "test",
        "promote",
        "promote",
        "release",
        "test",
        "canary",
        "promote",
        "rollback",
    ]
    assert value("releases", cwd=project)["log"] == shelf["log"]
    assert value("releases", "--json", "finder", cwd=project)["log"] == shelf["log"]
    verified = value("releases", "verify", cwd=project)
    assert [v["release_id"] for v in verified["verified"]] == [r["release_id"] for r in shelf["releases"]]
    file = tmp_path / "finder.hrelease"
    sent = value("releases", "export", "finder@production", str(file), cwd=project)
    assert sent["bytes"] == file.stat().st_size
    other = tmp_path / "other"
    other.mkdir()
    (other / "headrace.toml").write_text("")
    got = value("releases", "import", str(file), cwd=other)
    assert got["release_id"] == made["release_id"]
    assert value("promote", "finder@production", cwd=other)["release_id"] == made["release_id"]


def test_a_gate_refuses_with_exit_code_3_and_one_json_value(project: Path) -> None:
    (project / "headrace.toml").write_text(GATE)
    made = value("release", cwd=project)
    (gate,) = made["gates"]
    assert {"name", "value", "threshold", "verdict"} <= set(gate)
    assert (gate["name"], gate["value"], gate["threshold"]) == ("exact_match", None, 0.8)
    assert gate["verdict"] == "missing"
    refused = value("promote", "finder@production", cwd=project, code=REFUSED)
    assert (refused["verdict"], refused["release_id"]) == ("refused", made["release_id"])
    assert refused["gates"] == [gate]
    text = headrace("promote", "finder@production", cwd=project, code=REFUSED).stdout
    assert "Refused" in text
    assert "no report is about this fingerprint" in text
    done = value("promote", "finder@production", "--override", "demo at noon", cwd=project)
    assert done["verdict"] == "overridden"
    log = value("releases", "finder", cwd=project)["log"]
    assert (log[-1]["what"], log[-1]["why"]) == ("promote", "demo at noon")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("promote", "finder"), "does not name a release"),
        (("promote", "finder@nowhere"), "no alias"),
        (("promote", "finder@production", "--canary", "0%"), "not between"),
        (("promote", "finder@production", "--canary", "many"), "no percentage"),
        (("promote", "finder@production", "--canary", "5%"), "nothing to put a canary beside"),
        (("promote", "finder@staging", "--canary", "5%"), "makes no sense"),
        (("promote", "finder@production", "--release", "zz"), "no release 'zz'"),
        (("promote", "nobody@production"), "Nothing was released under the name 'nobody'"),
        (("rollback", "finder"), "nothing to roll back"),
        (("releases", "nobody"), "Nothing was released under the name 'nobody'"),
        (("releases", "export", "finder@production", "x"), "no release 'finder@production'"),
        (("releases", "import", "nowhere.hrelease"), "no file"),
        (("release", "nowhere.py"), "no application file"),
    ],
)
def test_bad_use_is_exit_code_2_and_says_why(project: Path, words: tuple[str, ...], why: str) -> None:
    if "nobody" not in words[1] and words[0] != "release":
        value("release", cwd=project)
    done = headrace(*words, cwd=project, code=BAD_USE)
    assert why in done.stderr
    assert done.stdout == ""


def test_what_people_read_fits_80_columns_and_says_what_is_next(project: Path) -> None:
    (project / "headrace.toml").write_text(GATE)
    said = headrace("release", cwd=project).stdout
    assert "headrace promote finder@staging" in said
    assert "missing         exact_match min 0.8" in said
    said += headrace("promote", "finder@production", cwd=project, code=REFUSED).stdout
    said += headrace("promote", "finder@production", "--override", "why not", cwd=project).stdout
    (project / "helpers.py").write_text(HELPERS + "\n# another\n")
    said += headrace("release", cwd=project).stdout
    said += headrace(
        "promote", "finder@production", "--canary", "20", "--override", "why not", cwd=project
    ).stdout
    said += headrace("rollback", "finder", cwd=project).stdout
    said += headrace("releases", cwd=project).stdout
    said += headrace("releases", "verify", cwd=project).stdout
    for verb in ("release", "promote", "rollback", "releases"):
        helped = headrace(verb, "--help", cwd=project).stdout
        assert "Examples:" in helped
        said += helped
    assert max(len(line) for line in said.splitlines()) <= 80, [
        line for line in said.splitlines() if len(line) > 80
    ]


def test_a_damaged_release_is_the_machine_s_fault(project: Path) -> None:
    made = value("release", cwd=project)
    path = project / ".headrace" / "releases" / "bundles" / made["release_id"] / "app.py"
    text = path.read_text()
    path.unlink()
    path.write_text(text + "# one line more\n")
    for words in (("promote", "finder@staging"), ("releases", "verify"), ("releases", "--verify")):
        done = headrace(*words, cwd=project, code=1)
        assert "app.py" in done.stderr
        assert "is not what was released" in done.stderr
