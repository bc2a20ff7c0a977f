"""Handles, bindings and the pool."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InputError, NotFound, Sealed, Unavailable
from headrace.resources import bindings, build, pool


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.toml").write_text("")


def test_a_handle_is_four_strings_and_opens_nothing(tmp_path: Path) -> None:
    kb = hr.KnowledgeBase("kb")
    assert (kb.kind, kb.name, kb.root) == ("knowledge", "kb", str(tmp_path))
    assert kb.folder == tmp_path / ".headrace" / "kb" / "kb"
    assert not kb.folder.exists()
    assert pickle.loads(pickle.dumps(kb)) == kb
    assert hash(kb) == hash(hr.KnowledgeBase("kb"))


def test_names_and_paths(tmp_path: Path) -> None:
    assert hr.KnowledgeBase("./kb").folder == tmp_path / "kb"
    assert hr.KnowledgeBase(tmp_path / "elsewhere").folder == tmp_path / "elsewhere"
    for wrong in ("", "a b", ".hidden", "ü!"):
        with pytest.raises(InputError, match="cannot be the name of a knowledge base"):
            hr.KnowledgeBase(wrong)
    with pytest.raises(InputError, match="follow"):
        hr.KnowledgeBase("kb", follow="newest")  # type: ignore[arg-type]


def test_headrace_s_own_files_say_nothing_about_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line may run from the environment of another project."""
    from headrace.resources import handles

    other = tmp_path / "other"
    (other / ".venv" / "headrace").mkdir(parents=True)
    (other / "headrace.toml").write_text("")
    code = compile("made = KnowledgeBase('kb')", str(other / ".venv" / "headrace" / "cli.py"), "exec")
    theirs: dict[str, object] = {"KnowledgeBase": hr.KnowledgeBase}
    exec(code, theirs)
    assert theirs["made"].root == str(other)  # type: ignore[attr-defined]
    monkeypatch.setattr(handles, "_PACKAGE", str(other / ".venv" / "headrace"))
    ours: dict[str, object] = {"KnowledgeBase": hr.KnowledgeBase}
    exec(code, ours)
    assert ours["made"].root == str(tmp_path)  # type: ignore[attr-defined]


def test_searching_never_creates_and_a_mistyped_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no knowledge base 'handbok'"):
        hr.KnowledgeBase("handbok").search("x")
    assert not (tmp_path / ".headrace").exists()
    hr.KnowledgeBase("handbook").add(hr.Document("Some text."))
    with pytest.raises(NotFound, match=r"Did you mean 'handbook'\?"):
        hr.KnowledgeBase("handbok").search("x")


def test_a_knowledge_base_that_another_process_replaced_or_wrote_is_seen() -> None:
    kb = hr.KnowledgeBase("./kb")
    kb.add(hr.Document("The tide turns every six hours.", id="old"))
    assert [p.document for p in kb.search("tide")] == ["old"]
    other = (
        "import headrace as hr, shutil, sys\n"
        "if sys.argv[1] == 'replace': shutil.rmtree('kb')\n"
        "hr.KnowledgeBase('./kb').add(hr.Document(sys.argv[2], id=sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", other, "replace", "Whales sing in the deep."], check=True)
    assert [p.document for p in kb.search("whales")] == ["replace"]
    assert kb.count() == 1
    subprocess.run([sys.executable, "-c", other, "write", "Dolphins sleep with one eye open."], check=True)
    for mode in ("hybrid", "dense", "lexical"):
        assert kb.search("dolphins sleep", top_k=1, mode=mode)[0].document == "write"  # type: ignore[arg-type]


def test_a_knowledge_base_that_was_removed_is_not_searched_from_memory(tmp_path: Path) -> None:
    import shutil

    kb = hr.KnowledgeBase("kb")
    kb.add(hr.Document("Some text."))
    assert kb.count() == 1
    shutil.rmtree(kb.folder)
    with pytest.raises(NotFound):
        kb.search("text")


def test_what_is_not_a_document_is_refused() -> None:
    with pytest.raises(InputError, match="takes Document objects, not str"):
        hr.KnowledgeBase("kb").add(["text"])  # type: ignore[list-item]


def test_model_auto_is_what_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = hr.model("auto")
    assert not llm.available
    with pytest.raises(Unavailable, match="No language model stands behind"):
        llm.complete("hi")
    monkeypatch.setenv("HEADRACE_MODEL", "scripted:echo")
    assert llm.available
    assert "hi" in llm.complete("hi").text
    monkeypatch.delenv("HEADRACE_MODEL")
    (tmp_path / "headrace.toml").write_text(
        '[models]\ndefault = "play"\n[models.play]\nprovider = "scripted"\nmodel = "echo"\n'
    )
    assert llm.available
    assert hr.model("play").complete("hi").model.startswith("scripted")


def test_unknown_models_list_the_known() -> None:
    with pytest.raises(NotFound, match=r"'gpt' does not name a model(.|\n)*openai"):
        hr.model("gpt").open()
    with pytest.raises(NotFound, match="Did you mean 'openai'"):
        hr.model("opena:gpt").open()
    with pytest.raises(InputError, match="does not name a model"):
        hr.model(" ")


def test_sealed_bindings_refuse_by_name_what_is_not_in_the_manifest() -> None:
    kb = hr.KnowledgeBase("kb")
    kb.add(hr.Document("Some text."))
    held = build.identity(kb)
    sealed = bindings.SealedBindings(manifest={"knowledge:kb": held}, identify=build.identify)
    with bindings.use(sealed):
        assert kb.search("text", mode="lexical").items
        with pytest.raises(Sealed, match="does not hold the resource 'model:openai:x'"):
            hr.model("openai:x").open()
    kb.add(hr.Document("Another text."))
    with bindings.use(sealed), pytest.raises(Sealed, match="is not the one that was released"):
        kb.search("text")
    with pytest.raises(Sealed, match="cannot be given other resources"):
        sealed.over({})


def test_bindings_record_what_was_used() -> None:
    kb = hr.KnowledgeBase("kb")
    kb.add(hr.Document("Some text."))
    with bindings.use(bindings.Bindings()) as used:
        kb.search("text", mode="lexical")
        kb.search("text", mode="lexical")
    assert used.recorded == (kb,)


def test_the_pool_builds_once_however_many_ask() -> None:
    built = []

    def slowly() -> object:
        time.sleep(0.02)
        built.append(1)
        return object()

    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(pool.get(("test", "once"), slowly))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len({id(x) for x in found}) == 1
    pool.drop(("test", "once"))
