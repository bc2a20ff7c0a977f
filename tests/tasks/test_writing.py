"""Generate, translate, chat: what the model is asked, and what is refused before it is."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace as hr
from headrace import Message
from headrace.errors import InputError, ModelError, Unavailable
from headrace.models.scripted import ScriptedModel
from headrace.tasks.catalogue import TASKS


def test_generate() -> None:
    model = ScriptedModel({"Once": "and so on", r"\ba\b": "too", r"\bb\b": "again"})
    (found,) = hr.tasks.generate("Once upon a time", model=model, decoding=hr.Decoding(max_new_tokens=2))
    assert found["generated_text"] == "and so"
    assert found["finish"] == "length"
    assert [item[0]["generated_text"] for item in hr.tasks.generate(["a", "b"], model=model)] == [
        "too",
        "again",
    ]


def test_chat_has_a_history() -> None:
    model = ScriptedModel({"red.*what colour": "Red.", "": "Noted."})
    first = hr.tasks.chat("My bicycle is red.", model=model)[0]["generated_text"]
    assert first == "Noted."
    history = [Message("user", "My bicycle is red."), {"role": "assistant", "content": first}]
    hr.tasks.chat("And what colour is it?", history=history, system="Be brief.", model=model)
    roles = [message.role for message in model.calls[-1].messages]
    assert roles == ["system", "user", "assistant", "user"]
    with pytest.raises(InputError, match="history"):
        hr.tasks.chat("And?", history=["My bicycle is red."], model=model)  # type: ignore[list-item]


@pytest.mark.parametrize("to", ["fr", "French", "fra_Latn", " FR "])
def test_translate_asks_in_words(to: str) -> None:
    model = ScriptedModel(" Bonjour. ")
    (found,) = hr.tasks.translate("Good morning.", to, model=model)
    assert found["translation_text"] == "Bonjour."
    assert model.calls[0].messages[0].content == "translate English to French: Good morning."


def test_unsupported_pairs_are_refused_with_the_list() -> None:
    small = ScriptedModel("x", name="local:models/t5-small")
    assert hr.tasks.translate("Hello.", "de", model=small)
    for to, source in (("es", "en"), ("en", "fr")):
        with pytest.raises(InputError, match="does not translate") as caught:
            hr.tasks.translate("Hello.", to, source=source, model=small)
        assert "en-de, en-fr, en-ro" in caught.value.hint
    marian = ScriptedModel("Hola.", name="local:opus-mt-en-es")
    hr.tasks.translate("Hello.", "es", model=marian)
    assert marian.calls[0].messages[0].content == "Hello."  # one pair: no prefix
    with pytest.raises(InputError, match="does not translate"):
        hr.tasks.translate("Hello.", "fr", model=marian)
    with pytest.raises(InputError, match="does not translate"):
        hr.tasks.translate("Hello.", "fr", pairs=["en-it"], model=ScriptedModel("x"))
    with pytest.raises(InputError, match="token of its own"):
        hr.tasks.translate("Hello.", "fr", model=ScriptedModel("x", name="local:nllb-200-distilled-600M"))
    with pytest.raises(InputError, match="Klingon") as caught:
        hr.tasks.translate("Hello.", "Klingon", model=ScriptedModel("x"))
    assert "fr" in caught.value.hint
    with pytest.raises(InputError, match="same language"):
        hr.tasks.translate("Hello.", "en", model=ScriptedModel("x"))
    with pytest.raises(ModelError, match="no translation"):
        hr.tasks.translate("Hello.", "fr", model=ScriptedModel(" "))


def test_nothing_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for run in (
        lambda: hr.tasks.generate("a"),
        lambda: hr.tasks.chat("a"),
        lambda: hr.tasks.translate("a", "fr"),
    ):
        with pytest.raises(Unavailable, match="needs a language model") as caught:
            run()
        assert "Pull a model" in caught.value.hint
    with pytest.raises(Unavailable, match="token-classification") as caught:
        hr.tasks.tag("Ada lives in Turin.")
    assert "Pull one" in caught.value.hint


def test_through_real_weights(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from models.tiny_models import save_t5

    folder = tmp_path / "tiny"
    folder.mkdir()
    save_t5(folder)
    few = hr.Decoding(max_new_tokens=4, min_new_tokens=2)
    model = f"local:{folder}"
    found = hr.tasks.translate(["the cat", "the dog"], "de", model=model, decoding=few)
    assert len(found) == 2
    assert all(item[0]["translation_text"] for item in found)
    assert hr.tasks.summarize("the cat sat", model=model, decoding=few)[0]["mode"] == "abstractive"
    best = hr.tasks.classify("the cat", ["cat", "dog"], model=model)
    assert sum(item["score"] for item in best) == pytest.approx(1)


@pytest.mark.parametrize("bad", ["", " ", 3, None])
def test_what_is_no_text(bad: object) -> None:
    model = ScriptedModel("x")
    for run in (hr.tasks.generate, hr.tasks.chat):
        with pytest.raises(InputError):
            run(bad, model=model)
    with pytest.raises(InputError):
        hr.tasks.translate(bad, "fr", model=model)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not a model"):
        hr.tasks.generate("a", model=object())  # type: ignore[arg-type]


def test_the_catalogue_is_what_there_is() -> None:
    assert set(TASKS) == set(hr.tasks.__all__)
    assert all(callable(getattr(hr.tasks, name)) for name in TASKS)
    assert {task.kind for task in TASKS.values()} >= {"sequence to label", "sequence to sequence"}
