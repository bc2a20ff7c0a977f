"""Loading out of a release: the very code, the pinned resources, and nothing else."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import Corrupt, NotFound, Sealed, UserError
from headrace.flows import fingerprint as fingerprints
from headrace.flows import sealed
from headrace.resources import build
from released import APP, TOML, write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path)


def test_the_same_fingerprint_as_the_working_copy_at_that_moment(project: Path) -> None:
    made = hr.release("app.py")
    before = hr.fingerprint(hr.load("app.py"))
    app = hr.load(f"finder@{made.id[:10]}")
    assert hr.fingerprint(app) == before
    assert (app.name, app.root) == ("finder", project)
    assert app.release is not None
    assert app.release.id == made.id
    assert hr.load(f"finder@{made.id}") is app, "loaded once per process"


def test_a_release_stays_what_it_was(project: Path) -> None:
    made = hr.release("app.py")
    (project / "helpers.py").write_text("raise SystemExit('the working copy')")
    (project / "app.py").write_text("raise SystemExit('the working copy')")
    hr.KnowledgeBase("kb", root=project).add(hr.Document("Quagga are gone.", id="q"))
    hr.KnowledgeBase("kb", root=project).delete("d0")
    app = hr.load(f"finder@{made.id}")
    assert app("water") == "WATER RUNS DOWNHILL."
    assert app("quagga") == "nothing"
    with pytest.raises(NotFound, match="no release 'finder@production'"):
        hr.load("finder@production")
    with pytest.raises(NotFound, match="no release 'finder@0000'|no release '0000'"):
        hr.load("finder@0000")


def test_traces_carry_the_release(project: Path) -> None:
    made = hr.release("app.py")
    run = hr.load(f"finder@{made.id}").run({"question": "fire"})
    assert run.trace is not None
    assert run.trace.subject["release"] == made.id
    assert run.trace.subject["fingerprint"] == made.manifest["fingerprint"]
    assert hr.load("app.py").run({"question": "fire"}).trace.subject["release"] is None  # type: ignore[union-attr]
    ledger = build.ledger(project)
    ledger.flush(5.0)
    assert (project / ".headrace" / "ledger.sqlite").is_file(), "the project's ledger, not the bundle's"
    assert not (build.bundles(project).path(made.id) / ".headrace" / "ledger.sqlite").exists()


def test_two_releases_and_the_working_copy_do_not_mix(project: Path) -> None:
    files = {
        "app.py": APP.replace(
            "from helpers import shouted",
            "import pack.words as words\nfrom helpers import shouted\nfrom dataclasses import dataclass",
        ).replace(
            "    return shouted(found[0].text)",
            "    import late\n    return late.tag() + words.tag + shouted(found[0].text)",
        ),
        "late.py": "from pack import words\nimport helpers\ndef tag():\n    return 'ONE '\n",
        "pack/__init__.py": "",
        "pack/words.py": "from . import more\ntag = more.tag\n",
        "pack/more.py": "import dataclasses as d\n@d.dataclass\nclass T:\n    t: str\ntag = T('one ').t\n",
    }
    write_project(project, files, documents=0)
    one = hr.release("app.py")
    assert sorted(one.manifest["code"]) == sorted([*files, "helpers.py"])
    for name, text in files.items():
        (project / name).write_text(text.replace("ONE", "TWO").replace("'one '", "'two '"))
    two = hr.release("app.py")
    first, second = hr.load(f"finder@{one.id}"), hr.load(f"finder@{two.id}")
    assert first("fire") == "ONE one FIRE BURNS UPWARD."
    assert second("fire") == "TWO two FIRE BURNS UPWARD."
    assert first("fire") == "ONE one FIRE BURNS UPWARD."
    assert not {"late", "pack", "helpers"} & {
        name for name, m in sys.modules.items() if "bundles" in str(getattr(m, "__file__", ""))
    }


def test_a_project_file_that_no_release_holds_cannot_be_imported(project: Path) -> None:
    (project / "app.py").write_text(
        APP.replace("    found =", "    __import__('hidden_' + 'helper')\n    found =")
    )
    (project / "hidden_helper.py").write_text("")
    made = hr.release("app.py")
    code = f"import headrace as hr; hr.load('finder@{made.id}')('fire')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=project, capture_output=True, text=True, check=False
    )
    assert "No module named 'hidden_helper'" in done.stderr
    (project / "headrace.toml").write_text(TOML + '[release]\ninclude = ["hidden_*.py"]\n')
    held = hr.release("app.py")
    done = subprocess.run(
        [sys.executable, "-P", "-c", code.replace(made.id, held.id)],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["app.py", "helpers.py", "manifest.json", "headrace.toml"])
def test_a_changed_byte_of_the_code_is_refused_by_name(project: Path, name: str) -> None:
    made = hr.release("app.py")
    path = build.bundles(project).path(made.id) / name
    data = path.read_bytes()
    path.unlink()  # the object that it was linked to stays sound
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Corrupt, match=name):
        hr.load(f"finder@{made.id}")
    path.unlink()
    with pytest.raises(Corrupt, match=f"{name}.*missing"):
        hr.load(f"finder@{made.id}")


def test_bytecode_beside_the_code_is_not_trusted(project: Path) -> None:
    made = hr.release("app.py")
    folder = build.bundles(project).path(made.id)
    source = folder / "helpers.py"
    evil = project / "evil.py"
    evil.write_text("def shouted(text):\n    return 'evil'\n")
    import importlib.util
    import marshal

    stat = source.stat()
    cached = Path(importlib.util.cache_from_source(str(source)))
    cached.parent.mkdir()
    head = importlib.util.MAGIC_NUMBER + (0).to_bytes(4, "little")
    head += int(stat.st_mtime).to_bytes(4, "little") + stat.st_size.to_bytes(4, "little")
    cached.write_bytes(head + marshal.dumps(compile(evil.read_text(), str(source), "exec")))
    assert hr.load(f"finder@{made.id}")("fire") == "FIRE BURNS UPWARD."


def test_another_environment_is_refused_with_the_differences(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = hr.release("app.py")
    real = fingerprints.distributions()
    changed = [
        "numpy-0.0.1" if name.startswith("numpy-") else name
        for name in real
        if not name.startswith("tantivy-")
    ] + ["surprise-1.0"]
    monkeypatch.setattr(sealed, "distributions", lambda: sorted(changed))
    monkeypatch.setattr(sealed.platform, "python_version", lambda: "3.99.0")
    with pytest.raises(Sealed) as caught:
        hr.load(f"finder@{made.id}")
    text = str(caught.value)
    assert "4 differences" in text
    assert "→ 3.99.0" in text
    assert "surprise absent → 1.0" in text
    assert "→ 0.0.1" in text
    assert "tantivy" in text
    (project / "headrace.toml").write_text(TOML + '[release]\nenvironment = "any"\n')
    assert hr.load(f"finder@{made.id}")("fire") == "FIRE BURNS UPWARD."


def test_a_handle_that_the_manifest_lacks_is_refused_by_name(project: Path) -> None:
    (project / "app.py").write_text(
        APP.replace("    found =", "    if question == 'more':\n        kb2().count()\n    found =")
        + "\n\ndef kb2() -> hr.KnowledgeBase:\n    return hr.KnowledgeBase('kb2')\n"
    )
    hr.KnowledgeBase("kb2", root=project).add(hr.Document("Second."))
    app = hr.load(f"finder@{hr.release('app.py').id}")
    assert app("fire") == "FIRE BURNS UPWARD."
    with pytest.raises(Sealed, match="does not hold the resource 'knowledge:kb2'"):
        app("more")


def test_a_released_knowledge_base_is_never_written_to(project: Path) -> None:
    (project / "app.py").write_text(
        APP.replace(
            "    found =",
            "    getattr(kb, question)(hr.Document('x') if question == 'add' else 'd0')\n    found =",
        )
    )
    made = hr.release("app.py")
    app = hr.load(f"finder@{made.id}")
    with pytest.raises(Sealed, match="never written"):
        app("add")
    with pytest.raises(hr.HeadraceError, match="opened for reading"):
        app("delete")
    build.bundles(project).verify(made.id)


MODEL = APP + "\nllm = hr.model('small')\n"
TABLE = '[models.small]\nprovider = "scripted"\nmodel = "echo"\n'


def test_a_model_that_is_gone_is_refused_when_the_release_is_loaded(project: Path) -> None:
    write_project(
        project,
        {
            "app.py": APP + "\nllm = hr.model('local:./tiny')\n",
            "tiny/config.json": "{}",
        },
        documents=0,
    )
    with pytest.raises(hr.HeadraceError):  # weights that cannot be loaded are not released at all
        hr.release("app.py")
    write_project(project, {"app.py": MODEL}, toml=TOML + TABLE, documents=0)
    made = hr.release("app.py")
    # as if that provider had been taken out of the environment since
    real = build.plugins.get

    def gone(group: str, name: str) -> object:
        if name == "scripted":
            raise NotFound("There is no provider 'scripted'.")
        return real(group, name)

    build.plugins.get = gone  # type: ignore[assignment]
    try:
        with pytest.raises(Sealed, match="gone: 'model:small'.*scripted"):
            hr.load(f"finder@{made.id}")
    finally:
        build.plugins.get = real
    assert hr.load(f"finder@{made.id}")("fire") == "FIRE BURNS UPWARD."


def test_an_environment_may_say_where_a_model_is_and_never_which(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = '[models.far]\nmodel = "m1"\nurl = "http://127.0.0.1:1/v1"\n'
    text = APP.replace("    found =", "    return type(llm.open()).__name__ + repr(llm.open())\n    found =")
    write_project(project, {"app.py": text + "llm = hr.model('far')\n"}, toml=TOML + far, documents=0)
    made = hr.release("app.py")
    (project / "headrace.toml").write_text(TOML + far.replace("127.0.0.1:1/", "localhost:2/"))
    app = hr.load(f"finder@{made.id}")
    assert "localhost:2" in app("x")
    auto = APP.replace("    found =", "    return str(llm.available)\n    found =")
    auto += "llm = hr.model('auto')\n"
    write_project(project, {"app.py": auto}, documents=0)
    quotes = hr.release("app.py")
    monkeypatch.setenv("HEADRACE_MODEL", "scripted:echo")
    quoting = hr.load(f"finder@{quotes.id}")
    assert hr.load("app.py")("x") == "True"
    assert quoting("x") == "False", "a release that quoted goes on quoting"
    named = hr.release("app.py")
    monkeypatch.setenv("HEADRACE_MODEL", "scripted:quote")
    with pytest.raises(Sealed, match="'model:auto' is not the one that was released"):
        hr.load(f"finder@{named.id}")
    monkeypatch.delenv("HEADRACE_MODEL")
    with pytest.raises(Sealed, match="gone: 'model:auto'"):
        hr.load(f"finder@{named.id}")


def test_a_knowledge_base_given_by_a_path_is_pinned_too(project: Path) -> None:
    hr.KnowledgeBase(project / "elsewhere").add(hr.Document("By a path.", id="p"))
    (project / "app.py").write_text(APP.replace('("kb")', '("./elsewhere")'))
    made = hr.release("app.py")
    hr.KnowledgeBase(project / "elsewhere").delete("p")
    assert hr.load(f"finder@{made.id}")("path") == "BY A PATH."
    (project / "elsewhere" / "kb.sqlite").unlink()
    assert hr.load(f"finder@{made.id}")("path") == "BY A PATH."


def test_a_release_pickles_as_its_id_and_takes_no_other_resources(project: Path) -> None:
    made = hr.release("app.py")
    app = hr.load(f"finder@{made.id}")
    assert pickle.loads(pickle.dumps(app)) is app
    with pytest.raises(Sealed, match="cannot be given other resources"):
        app.using({app.handles[0]: hr.KnowledgeBase("other")})


def test_an_error_in_the_code_says_what_to_do(project: Path) -> None:
    (project / "found_nowhere_else.py").write_text("")
    (project / "app.py").write_text("__import__('found_nowhere_else')\n" + APP)
    made = hr.release("app.py")
    sys.modules.pop("found_nowhere_else", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(project)]
    with pytest.raises(UserError, match="No module named 'found_nowhere_else'") as caught:
        hr.load(f"finder@{made.id}")
    assert "[release] include" in caught.value.hint


def test_what_looks_like_a_release_and_is_a_file(project: Path) -> None:
    (project / "me@home").mkdir()
    with pytest.raises(NotFound, match=r"me@home has no headrace.toml"):
        hr.load("me@home")
    with pytest.raises(NotFound, match="no release 'nobody@production'"):
        hr.load("nobody@production")


def test_what_a_handle_names_is_decided_by_the_bundle(project: Path) -> None:
    """A fresh process, started anywhere, finds the project by ``root``."""
    made = hr.release("app.py")
    code = (
        "import sys, json, headrace as hr\n"
        f"app = hr.load('finder@{made.id}', root={str(project)!r})\n"
        "print(json.dumps([app('fire'), hr.fingerprint(app).id]))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd="/", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == ["FIRE BURNS UPWARD.", made.manifest["fingerprint"]]


def test_weights_stay_where_the_project_has_them(project: Path) -> None:
    replies = project / "replies.json"
    replies.write_text('["written"]')
    text = APP.replace("    found =", "    return llm.complete(question).text\n    found =")
    (project / "app.py").write_text(text + "llm = hr.model('scripted:replies.json')\n")
    made = hr.release("app.py")
    assert "replies.json" not in made.manifest["files"]
    code = f"import headrace as hr; print(hr.load('finder@{made.id}')('x'))"
    run = [sys.executable, "-P", "-c", code]
    done = subprocess.run(run, cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "written"
    replies.write_text('["changed"]')
    done = subprocess.run(run, cwd=project, capture_output=True, text=True, check=False)
    assert "'model:scripted:replies.json' is not the one that was released" in done.stderr
    replies.unlink()
    done = subprocess.run(run, cwd=project, capture_output=True, text=True, check=False)
    assert "gone: 'model:scripted:replies.json'" in done.stderr
