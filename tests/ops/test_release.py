"""Making releases: what is in one, that nothing is stored twice, and what cannot be released."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import Conflict, Corrupt, InputError, NotFound, Unavailable, UserError
from headrace.releases import manifest as manifests
from headrace.resources import build
from released import APP, TOML, write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path)


def used(folder: Path) -> int:
    """Bytes of the distinct files below a folder."""
    stats = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum({(s.st_dev, s.st_ino): s.st_size for s in stats}.values())


def test_what_is_in_a_release(project: Path) -> None:
    (project / "prompts").mkdir()
    (project / "prompts" / "answer.md").write_text("Answer briefly.")
    (project / "unused.py").write_text("raise SystemExit")
    made = hr.release("app.py", why="the first")
    manifest = made.manifest
    assert (made.name, made.version) == ("finder", 1)
    assert made.id == manifests.id_of(manifests.canonical(manifest))
    assert manifest["entry"] == "app.py:finder"
    assert sorted(manifest["code"]) == ["app.py", "helpers.py", "prompts/answer.md"]
    assert sorted(manifest["files"]) == ["app.py", "headrace.toml", "helpers.py", "prompts/answer.md"]
    assert manifest["fingerprint"] == hr.fingerprint(hr.load("app.py")).id
    assert any(name.startswith("numpy-") for name in manifest["distributions"])
    base = manifest["knowledge"]["knowledge:kb"]
    assert (base["version"], base["documents"], base["folder"]) == (1, 3, ".headrace/kb/kb")
    assert "kb.sqlite" in base["files"]
    assert manifest["reproducible"] is True
    folder = build.bundles(project).path(made.id)
    assert (folder / "app.py").read_text() == APP
    (line,) = build.registry(project).log("finder")
    assert (line.what, line.why) == ("release", "the first")
    assert "@" in line.who


def test_the_same_again_is_the_same_release_and_a_change_is_another(project: Path) -> None:
    first = hr.release("app.py")
    assert hr.release(project).id == first.id
    assert len(build.registry(project).releases()) == 1
    (project / "helpers.py").write_text("def shouted(text: str) -> str:\n    return text.title()\n")
    second = hr.release("app.py")
    assert (second.version, second.id != first.id) == (2, True)
    hr.KnowledgeBase("kb", root=project).add(hr.Document("A fourth.", id="d4"))
    assert hr.release("app.py").version == 3


def test_a_second_release_over_the_same_knowledge_base_stores_no_vector_twice(project: Path) -> None:
    first = hr.release("app.py")
    bundles = build.bundles(project)
    objects, before = set(bundles.objects.rglob("*")), used(project)
    (project / "helpers.py").write_text("def shouted(text: str) -> str:\n    return text + '!'\n")
    second = hr.release("app.py")
    fresh = [p for p in set(bundles.objects.rglob("*")) - objects if p.is_file()]
    assert [p.read_text() for p in fresh] == ["def shouted(text: str) -> str:\n    return text + '!'\n"]
    assert used(project) - before < 60_000, "the manifest, a page of the registry, and one file of code"
    for name, sha256, _ in manifests.files(second.manifest):
        inode = (bundles.path(second.id) / name).stat().st_ino
        assert inode == bundles.object(sha256).stat().st_ino
        if name != "helpers.py":
            assert inode == (bundles.path(first.id) / name).stat().st_ino


def test_sealed_vectors_are_shared_with_the_knowledge_base_itself(project: Path) -> None:
    build_segments = project / ".headrace" / "kb" / "kb" / "segments"
    made = hr.release("app.py")
    if not build_segments.is_dir():
        pytest.skip("no embedding weights here, so no vectors")
    names = [n for n in made.manifest["knowledge"]["knowledge:kb"]["files"] if n.endswith(".vec")]
    assert names
    folder = build.bundles(project).path(made.id) / ".headrace" / "kb" / "kb"
    for name in names:
        assert (folder / name).stat().st_ino == (build_segments.parent / name).stat().st_ino
    hr.KnowledgeBase("kb", root=project).add(hr.Document("One more.", id="d9"))
    again = hr.release("app.py").manifest["knowledge"]["knowledge:kb"]["files"]
    kept = made.manifest["knowledge"]["knowledge:kb"]["files"]
    assert all(again[name] == kept[name] for name in names)


def test_a_copy_where_the_file_system_has_no_links(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    made = hr.release("app.py")
    assert build.bundles(project).verify(made.id) > 0
    assert hr.load(f"finder@{made.id}")("water") == "WATER RUNS DOWNHILL."


def test_include_takes_files_along_and_never_state_or_keys(project: Path) -> None:
    (project / "data").mkdir()
    (project / "data" / "list.json").write_text("[1]")
    (project / ".env").write_text("KEY=1")
    toml = project / "headrace.toml"
    toml.write_text(TOML + '[release]\ninclude = ["data/*.json"]\n')
    made = hr.release("app.py")
    assert "data/list.json" in made.manifest["files"]
    assert hr.fingerprint(hr.load(f"finder@{made.id}")).id == made.manifest["fingerprint"]
    (project / "data" / "list.json").write_text("[2]")
    assert hr.fingerprint(hr.load("app.py")).id != made.manifest["fingerprint"], "a report is about it too"
    for wrong, why in (
        (".env", "must not travel"),
        (".headrace/kb/kb/kb.sqlite", "must not travel"),
        ("nothing/*.json", "matches no file"),
    ):
        toml.write_text(TOML + f'[release]\ninclude = ["{wrong}"]\n')
        with pytest.raises((UserError, NotFound), match=why):
            hr.release("app.py")


def test_files_that_cannot_travel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (project / "prompts").mkdir()
    odd = project / "prompts" / "what?.md"
    odd.write_text("x")
    with pytest.raises(UserError, match=r"'prompts/what\?.md' cannot be the name"):
        hr.release("app.py")
    odd.unlink()
    outside = tmp_path_factory.mktemp("outside") / "passwords.txt"
    outside.write_text("x")
    (project / "prompts" / "link.md").symlink_to(outside)
    with pytest.raises(UserError, match="leads out of the project"):
        hr.release("app.py")


def test_a_secret_in_a_file_is_refused_by_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PROVIDER_KEY", "sk-very-secret-value")
    (project / "headrace.toml").write_text(
        TOML + '[models.far]\nurl = "http://127.0.0.1:1/v1"\nkey = "MY_PROVIDER_KEY"\n'
    )
    made = hr.release("app.py")
    for name, _, _ in manifests.files(made.manifest):
        assert b"sk-very-secret" not in (build.bundles(project).path(made.id) / name).read_bytes()
    (project / "helpers.py").write_text('KEY = "sk-very-secret-value"\nshouted = str.upper\n')
    with pytest.raises(UserError, match=r"'helpers.py' holds the value of \$MY_PROVIDER_KEY"):
        hr.release("app.py")


def test_what_cannot_be_released_says_why(project: Path) -> None:
    app = hr.load("app.py")
    (kb,) = app.handles
    with pytest.raises(UserError, match="resources that were replaced"):
        hr.release(app.using({kb: hr.KnowledgeBase("other", root=project)}))
    namespace: dict[str, object] = {}
    exec("def cell(text: str) -> str:\n    return text\n", namespace)
    with pytest.raises(UserError, match="not defined in a file"):
        hr.release(hr.app(namespace["cell"]))  # type: ignore[arg-type]
    hr.promote("finder@staging", hr.release("app.py").id)
    with pytest.raises(UserError, match="is a release already"):
        hr.release(hr.load("finder@staging"))
    text = APP.replace("@hr.app\n", '@hr.app(name="a name")\n')
    (project / "named.py").write_text(text)
    with pytest.raises(InputError, match="cannot be the name"):
        hr.release("named.py")
    (project / "two.py").write_text(APP + 'other = hr.KnowledgeBase("kb", follow="latest")\n')
    with pytest.raises(UserError, match="Two different resources"):
        hr.release("two.py")


def test_a_missing_knowledge_base_and_a_model_that_cannot_be_opened(project: Path) -> None:
    (project / "missing.py").write_text(APP.replace('KnowledgeBase("kb")', 'KnowledgeBase("kbb")'))
    with pytest.raises(NotFound, match="no knowledge base 'kbb'"):
        hr.release("missing.py")
    (project / "model.py").write_text(APP + 'llm = hr.model("local:./not-there")\n')
    with pytest.raises(Unavailable, match="model:local:./not-there"):
        hr.release("model.py")


def test_an_interrupted_ingest_is_not_released(project: Path) -> None:
    engine = hr.KnowledgeBase("kb", root=project).engine()
    with engine.writer() as writer:
        writer.put([hr.Document("half of it", id="half")])
    with pytest.raises(UserError, match="no version holds"):
        hr.release("app.py")


def test_following_the_newest_version_is_marked(project: Path) -> None:
    (project / "app.py").write_text(APP.replace('("kb")', '("kb", follow="latest")'))
    made = hr.release("app.py")
    assert made.manifest["reproducible"] is False
    assert made.manifest["knowledge"] == {}
    assert made.manifest["notes"] == ["knowledge:kb follows its newest version: not reproducible"]
    app = hr.load(f"finder@{made.id[:12]}")
    hr.KnowledgeBase("kb", root=project).add(hr.Document("Quagga are gone.", id="q"))
    assert app("quagga") == "QUAGGA ARE GONE."


def test_how_far_a_model_is_known_is_written_down(project: Path) -> None:
    models = 'a = hr.model("auto")\nb = hr.model("openai:far")\nc = hr.model("scripted:echo")\n'
    (project / "app.py").write_text(APP + models)
    (project / "headrace.toml").write_text(TOML + '[models.openai]\nurl = "http://127.0.0.1:1/v1"\n')
    found = hr.release("app.py").manifest["models"]
    assert {key: about["assurance"] for key, about in found.items()} == {
        "model:auto": "none",
        "model:openai:far": "claimed",
        "model:scripted:echo": "hashed",
    }


def test_a_handle_that_is_made_while_running_is_recorded_in_this_process(project: Path) -> None:
    late = APP.replace('kb = hr.KnowledgeBase("kb")\n', "").replace(
        "    found =", '    kb = hr.KnowledgeBase("kb")\n    found ='
    )
    (project / "app.py").write_text(late)
    blind = hr.release("app.py")
    assert blind.manifest["resources"] == {}
    app = hr.load("app.py")
    assert app("fire") == "FIRE BURNS UPWARD."
    seen = hr.release(app)
    assert list(seen.manifest["resources"]) == ["knowledge:kb"]
    assert hr.load(f"finder@{seen.id}")("fire") == "FIRE BURNS UPWARD."
    with pytest.raises(hr.HeadraceError, match="does not hold the resource 'knowledge:kb'"):
        hr.load(f"finder@{blind.id}")("fire")


def test_a_handle_that_an_evaluation_opened_is_held_whoever_releases(project: Path) -> None:
    late = APP.replace('kb = hr.KnowledgeBase("kb")\n', "").replace(
        "    found =", '    kb = hr.KnowledgeBase("kb")\n    found ='
    )
    (project / "app.py").write_text(late)
    report = hr.evaluate("app.py", [{"id": "1", "inputs": {"question": "fire"}}], ["latency"])
    assert [four[:2] for four in report.settings["handles"]] == [["knowledge", "kb"]]
    code = "import headrace as hr; print(hr.release('app.py').id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    made = build.registry(project).release(done.stdout.strip())
    assert list(made.manifest["resources"]) == ["knowledge:kb"]
    assert hr.load(f"finder@{made.id}")("fire") == "FIRE BURNS UPWARD."


def test_a_file_that_changes_meanwhile_is_noticed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.ops import release as making

    real = making._files

    def slow(*given: object) -> object:
        stored = real(*given)  # type: ignore[arg-type]
        (project / "helpers.py").write_text("def shouted(text: str) -> str:\n    return 'another'\n")
        return stored

    monkeypatch.setattr(making, "_files", slow)
    with pytest.raises(Conflict, match="changed while it was released"):
        hr.release("app.py")
    assert build.registry(project).releases() == []


def test_a_lost_object_is_noticed_before_a_bundle_is_made(project: Path) -> None:
    first = hr.release("app.py")
    bundles = build.bundles(project)
    sha256 = first.manifest["files"]["helpers.py"]["sha256"]
    bundles.object(sha256).unlink()
    text = manifests.canonical({**first.manifest, "notes": ["x"]})
    with pytest.raises(Corrupt, match="helpers.py.*missing"):
        bundles.unfold(manifests.id_of(text), text)
    assert list((bundles.folder / "tmp").iterdir()) == []
    (project / "prompts").mkdir()
    (project / "prompts" / "p.md").write_text("x")
    assert bundles.verify(hr.release("app.py").id) > 0, "what is missing is stored anew"


def test_killed_at_any_moment_nothing_half_made_counts(project: Path) -> None:
    code = "import headrace as hr; print('go', flush=True); print(hr.release('app.py').id)"
    bundles, registry = build.bundles(project), build.registry(project)
    ended = 0
    for number, wait in enumerate((0.0, 0.02, 0.05, 0.1, 0.2, 0.4)):
        (project / "helpers.py").write_text(f"def shouted(text: str) -> str:\n    return '{number}' + text\n")
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        try:
            child.wait(wait)
            ended += 1
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()
        for known in registry.releases():
            assert bundles.verify(known.id) > 0
    assert ended < 6, "none was killed"
    made = hr.release("app.py")
    assert bundles.verify(made.id) > 0
    assert hr.load(f"finder@{made.id}")("fire") == "5Fire burns upward."
    assert hr.KnowledgeBase("kb", root=project).check() == []
    bundles.sweep(0.0)
    assert list((bundles.folder / "tmp").iterdir()) == []
