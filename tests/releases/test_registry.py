"""The registry: versions, aliases, a log that cannot be changed, and promotions that meet."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.errors import Conflict, Corrupt, InputError, NewerVersion, NotFound
from headrace.releases.entries import split
from headrace.releases.registry import Registry
from headrace.releases.schema import REGISTRY
from headrace.types import Release, digest, to_json


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "releases")


def add(registry: Registry, number: int, name: str = "handbook") -> Release:
    manifest = {"name": name, "fingerprint": f"f{number}", "number": number}
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return registry.add(id=digest(manifest), name=name, manifest=manifest, text=text, who="anna")


def test_reading_creates_nothing(registry: Registry) -> None:
    assert registry.revision() == 0
    assert registry.live("handbook").production is None
    assert registry.releases() == []
    assert registry.log() == []
    assert registry.names() == []
    with pytest.raises(NotFound, match="Nothing was released"):
        registry.release("abcd")
    assert not registry.folder.exists()


def test_versions_count_per_name_and_the_same_release_is_one(registry: Registry) -> None:
    first, second, other = add(registry, 1), add(registry, 2), add(registry, 1, "other")
    assert (first.version, second.version, other.version) == (1, 2, 1)
    before = registry.revision()
    assert add(registry, 1).version == 1
    assert registry.revision() == before
    assert [r.id for r in registry.releases("handbook")] == [second.id, first.id]
    assert registry.names() == ["handbook", "other"]
    assert registry.release(first.id[:10]).id == first.id
    assert registry.release(first.id).manifest["number"] == 1
    assert registry.release("2", "handbook").id == registry.resolve("handbook@v2").id == second.id
    with pytest.raises(NotFound, match="no release '3' of 'handbook'"):
        registry.release("3", "handbook")


def test_ids_that_say_too_little_and_names_that_cannot_be(registry: Registry) -> None:
    found = [add(registry, n) for n in range(400)]
    heads = [r.id[:4] for r in found]
    twice = next((h for h in heads if heads.count(h) > 1), None)
    if twice is not None:
        with pytest.raises(InputError, match="Give more"):
            registry.release(twice)
    with pytest.raises(NotFound):
        registry.release("f")
    with pytest.raises(NotFound):
        registry.release(found[0].id, "other")
    with pytest.raises(InputError, match="cannot be the name"):
        add(registry, 1, "a name")


def test_aliases_previous_and_the_way_back(registry: Registry) -> None:
    one, two, three = (add(registry, n).id for n in (1, 2, 3))
    assert registry.promote("handbook", "staging", one, who="a").previous is None
    assert registry.promote("handbook", "production", one, who="a").previous is None
    assert registry.promote("handbook", "production", two, who="a").previous == one
    assert registry.promote("handbook", "production", two, who="a").previous == two  # again: nothing moves
    assert registry.promote("handbook", "production", three, who="a").previous == two
    live = registry.live("handbook")
    assert (live.production, live.previous, live.staging) == (three, two, one)
    back = registry.rollback("handbook", who="b", why="slow")
    assert (back.release, back.previous) == (two, three)
    assert registry.live("handbook").previous == one
    assert registry.rollback("handbook", who="b").release == one
    with pytest.raises(NotFound, match="no predecessor"):
        registry.rollback("handbook", who="b")
    with pytest.raises(NotFound, match="nothing to roll back"):
        registry.rollback("other", who="b")
    registry.promote("handbook", "production", three, who="a")
    assert registry.rollback("handbook", who="b").release == one
    assert registry.resolve("handbook@production").id == one
    assert registry.resolve(f"handbook@{two[:12]}").id == two
    with pytest.raises(NotFound, match="no release 'handbook@canary'"):
        registry.resolve("handbook@canary")
    with pytest.raises(InputError, match="NAME@ALIAS"):
        split("handbook")


def test_a_canary_is_begun_widened_ended_and_finished(registry: Registry) -> None:
    one, two = add(registry, 1).id, add(registry, 2).id
    with pytest.raises(InputError, match="nothing to put a canary beside"):
        registry.promote("handbook", "production", two, who="a", percent=5)
    registry.promote("handbook", "production", one, who="a")
    with pytest.raises(InputError, match="already"):
        registry.promote("handbook", "production", one, who="a", percent=5)
    for wrong in (0, 100, -1):
        with pytest.raises(InputError, match="makes no sense"):
            registry.promote("handbook", "production", two, who="a", percent=wrong)
    registry.promote("handbook", "production", two, who="a", percent=5)
    live = registry.promote("handbook", "production", two, who="a", percent=50)
    assert live.previous == one
    found = registry.live("handbook")
    assert (found.production, found.canary, found.percent) == (one, two, 50.0)
    gone = registry.rollback("handbook", who="b")
    assert (gone.release, gone.previous) == (one, two)
    assert registry.live("handbook").canary is None
    registry.promote("handbook", "production", two, who="a", percent=50)
    registry.promote("handbook", "production", two, who="a")
    found = registry.live("handbook")
    assert (found.production, found.previous, found.canary, found.percent) == (two, one, None, 0.0)


def test_every_write_changes_the_revision_for_every_reader(registry: Registry) -> None:
    other = Registry(registry.folder)
    seen = [other.revision()]
    one, two = add(registry, 1).id, add(registry, 2).id
    for step in (
        lambda: registry.promote("handbook", "production", one, who="a"),
        lambda: registry.promote("handbook", "production", two, who="a", percent=10),
        lambda: registry.rollback("handbook", who="a"),
        lambda: registry.note("handbook", "refuse", release=two, who="a", why="too slow"),
    ):
        step()
        assert other.revision() > seen[-1]
        assert other.live("handbook").revision == other.revision()
        seen.append(other.revision())


def test_the_log_says_who_when_what_why_and_cannot_be_changed(registry: Registry) -> None:
    one = add(registry, 1).id
    gates = [{"name": "answer_f1", "value": 0.7, "threshold": 0.6, "verdict": "pass"}]
    registry.promote("handbook", "production", one, who="anna@host", why="friday", gates=gates)
    lines = to_json(registry.log("handbook"))
    assert [line["what"] for line in lines] == ["release", "promote"]
    assert lines[1]["who"] == "anna@host"
    assert lines[1]["why"] == "friday"
    assert lines[1]["when"].endswith("+00:00")
    assert lines[1]["gates"] == gates
    assert registry.log("other") == []
    sql = sqlite3.connect(registry.path)
    for statement in ("UPDATE log SET who = 'nobody'", "DELETE FROM log"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            sql.execute(statement)
    with pytest.raises(sqlite3.IntegrityError, match="never changes"):
        sql.execute("UPDATE releases SET manifest = '{}'")
    sql.close()


def test_a_promotion_judged_against_what_has_moved_is_refused(registry: Registry) -> None:
    one, two, three = (add(registry, n).id for n in (1, 2, 3))
    registry.promote("handbook", "production", one, who="a")
    judged = registry.live("handbook")
    registry.promote("handbook", "production", two, who="b", expected=judged)
    with pytest.raises(Conflict, match="has moved"):
        registry.promote("handbook", "production", three, who="a", expected=judged)
    assert registry.live("handbook").production == two
    registry.promote("handbook", "staging", three, who="a", expected=judged)  # that alias did not move


RACE = """
import sys
from dataclasses import replace
from pathlib import Path
from headrace.errors import Conflict
from headrace.releases.registry import Registry

registry = Registry(Path(sys.argv[1]))
judged = registry.live("handbook")
print("ready", flush=True)
sys.stdin.readline()
try:
    print(registry.promote("handbook", "production", sys.argv[2], who="me", expected=judged).previous)
except Conflict as error:
    print("conflict:", error.message)
"""


def test_two_promotions_at_once_in_two_processes(registry: Registry) -> None:
    one, *others = (add(registry, n).id for n in range(1, 6))
    registry.promote("handbook", "production", one, who="a")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(registry.folder), other],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for other in others
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    said = [child.communicate()[0].strip() for child in children]
    won = [text for text in said if not text.startswith("conflict")]
    assert won == [one], said
    assert registry.live("handbook").production in others
    assert [e.what for e in registry.log()].count("promote") == 2


def test_foreign_and_newer_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    sql = sqlite3.connect(path)
    sql.execute("CREATE TABLE something (a)")
    sql.commit()
    with pytest.raises(Corrupt, match="not a registry"):
        Registry(tmp_path).revision()
    sql.execute("DROP TABLE something")
    sql.execute(f"PRAGMA application_id = {REGISTRY.application_id}")
    sql.execute("PRAGMA user_version = 99")
    sql.commit()
    sql.close()
    with pytest.raises(NewerVersion, match="format 99.*up to 1"):
        Registry(tmp_path).revision()
    path.write_bytes(b"not a database at all, but text" * 40)
    with pytest.raises(Corrupt, match="damaged"):
        Registry(tmp_path).revision()


def test_an_older_registry_is_brought_up(registry: Registry) -> None:
    one = add(registry, 1).id
    sql = sqlite3.connect(registry.path, isolation_level=None)
    steps = (*REGISTRY.steps, ("CREATE TABLE later (a)",))
    replace(REGISTRY, steps=steps).migrate(sql, registry.path)
    assert sql.execute("PRAGMA user_version").fetchone()[0] == len(steps)
    assert sql.execute("SELECT id FROM releases").fetchone()[0] == one
    sql.close()
