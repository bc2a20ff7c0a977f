"""API keys: what is stored, what is shown, and that a revoked one is refused at once."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest

from headrace.errors import InputError, NewerVersion, NotFound
from headrace.ops.keys import FILE, Keys, hash_of, pass_secret


def test_only_the_hash_is_stored_and_the_file_is_closed_to_others(tmp_path):
    keys = Keys(tmp_path)
    token, key = keys.create("intranet", ["invoke", "read"])
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in data
    assert token.rpartition("_")[2].encode() not in data
    assert hash_of(token).encode() in data
    assert key.scopes == ("invoke", "read")
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
        assert len(pass_secret(tmp_path)) == 64
        assert stat.S_IMODE((tmp_path / "pass.secret").stat().st_mode) == 0o600
    assert pass_secret(tmp_path) == pass_secret(tmp_path)


def test_what_opens_and_what_does_not(tmp_path):
    keys = Keys(tmp_path)
    assert keys.check("hr_000000000000_" + "x" * 43) is None
    assert not tmp_path.joinpath(FILE).exists()  # looking creates nothing
    token, key = keys.create("one")
    other, _ = keys.create("two", ["admin"])
    assert keys.check(token).name == "one"
    id, secret = token.split("_", 2)[1:]
    for wrong in ("", "x", token[:-1], token + "x", token.upper(), f"hr_{id}_{'A' * 43}", f" {token}", "é"):
        assert keys.check(wrong) is None, wrong
    assert keys.check(f"hr_{other.split('_')[1]}_{secret}") is None  # one key's id, another's secret
    assert key.allows("invoke")
    assert not key.allows("admin")
    assert keys.check(other).allows("feedback")


def test_revoking_reaches_another_process_at_its_next_look(tmp_path):
    mine, theirs = Keys(tmp_path), Keys(tmp_path)
    token, key = mine.create("intranet")
    assert theirs.check(token).name == "intranet"
    mine.revoke("intranet")
    assert theirs.check(token) is None
    assert theirs.get(key.id) is None
    assert theirs.any  # the last one revoked does not open the door
    assert not theirs.good
    again, _ = mine.create("intranet")
    assert theirs.check(again).name == "intranet"
    assert theirs.check(token) is None
    with pytest.raises(NotFound, match="intranet"):
        mine.revoke("nobody")
    assert mine.revoke(theirs.check(again).id).revoked is not None


def test_last_use_is_noted_at_most_once_a_minute(tmp_path):
    now = [1000.0]
    keys = Keys(tmp_path, clock=lambda: now[0])
    token, _ = keys.create("one")

    def use() -> float | None:
        assert keys.check(token)
        for thread in threading.enumerate():
            if thread.name == "headrace-keys":
                thread.join(10)
        return Keys(tmp_path).list()[0].used

    assert use() == 1000.0
    now[0] = 1030.0
    assert use() == 1000.0
    now[0] = 1070.0
    assert use() == 1070.0


def test_names_and_scopes_that_do_not_fit(tmp_path):
    keys = Keys(tmp_path)
    keys.create("one")
    for name, scopes, message in (
        ("", ["read"], "cannot be the name"),
        ("two", ["write"], "'write' is not a scope"),
        ("two", [], "without a scope"),
        ("one", ["read"], "already"),
    ):
        with pytest.raises(InputError, match=message):
            keys.create(name, scopes)


def test_a_file_of_a_newer_headrace_is_refused(tmp_path):
    Keys(tmp_path).create("one")
    with sqlite3.connect(tmp_path / FILE) as sql:
        sql.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerVersion, match="99"):
        Keys(tmp_path).list()


def headrace(folder, *words):
    command = [sys.executable, "-m", "headrace", "keys", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command(tmp_path):
    (tmp_path / "headrace.toml").write_text("")
    made = json.loads(headrace(tmp_path, "create", "ci", "--scope", "invoke", "--json").stdout)
    assert made["scopes"] == ["invoke"]
    keys = Keys(tmp_path / ".headrace")
    assert keys.check(made["key"]).name == "ci"
    shown = headrace(tmp_path, "create", "people")
    assert keys.check(shown.stdout.strip()).scopes == ("invoke", "feedback", "read")
    listed = json.loads(headrace(tmp_path, "list", "--json").stdout)["keys"]
    assert [key["name"] for key in listed] == ["ci", "people"]
    assert made["key"] not in headrace(tmp_path, "list").stdout
    assert headrace(tmp_path, "revoke", "ci").returncode == 0
    assert keys.check(made["key"]) is None
    missing = headrace(tmp_path, "revoke", "ci")
    assert missing.returncode == 2
    assert "people" in missing.stderr
    assert headrace(tmp_path, "create", "x", "--scope", "all").returncode == 2
