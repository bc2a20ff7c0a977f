"""Prompts by name: in the trace of each run, in the fingerprint, in the release, and exchangeable."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InputError, NotFound
from headrace.flows.app import App
from headrace.models.scripted import ScriptedModel
from headrace.ops.why import explain
from headrace.resources import build
from headrace.resources.prompt import PromptHandle, known
from headrace.types import Example

APP = """
import headrace as hr

llm = hr.model("scripted:echo")
leave = hr.prompt("leave")


@hr.app
def handbook(question: str) -> str:
    return llm.complete(leave.render(question=question)).text
"""
PROMPT = "[system]\nAnswer briefly.\n[user]\n{question}\n"


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "headrace.toml").write_text("[ledger]\ncontent = false\n", encoding="utf-8")
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "leave.md").write_text(PROMPT, encoding="utf-8")
    return hr.load(f"{tmp_path}/app.py:handbook")


def test_a_run_keeps_the_version_that_it_used(app: App) -> None:
    version = hr.Template.parse(PROMPT).version
    run = app.run({"question": "How many days?"})
    assert "Answer briefly." in run.output
    assert run.trace is not None
    (kept,) = run.trace.record["templates"]
    assert (kept["name"], kept["version"]) == ("leave", version)
    ledger = build.ledger(app.root)
    ledger.flush(5.0)
    stored = ledger.trace(run.trace_id or "")
    assert stored is not None
    assert stored.record["templates"][0]["version"] == version  # also where no contents are kept


def test_why_names_the_version(app: App) -> None:
    run = app.run({"question": "How many days?"})
    assert run.trace is not None
    (step,) = [step for step in explain(run.trace).steps if step.name == "wording"]
    assert step.said == f"the prompt leave, version {hr.Template.parse(PROMPT).version}"


def test_a_changed_file_is_another_fingerprint_and_is_used_at_once(app: App) -> None:
    before = hr.fingerprint(app)
    assert before.resources["prompt:leave"]["hash"] == hr.Template.parse(PROMPT).hash
    (app.root / "prompts" / "leave.md").write_text(PROMPT.replace("briefly", "at length"), encoding="utf-8")
    assert hr.fingerprint(app).id != before.id
    assert "at length" in app("How many days?")


def test_another_wording_takes_its_place(app: App) -> None:
    handle = next(h for h in app.handles if isinstance(h, PromptHandle))
    other = app.using({handle: hr.Template.of("Say it in French: {question}", name="french")})
    assert "French" in other("How many days?")
    assert hr.fingerprint(other).id != hr.fingerprint(app).id
    with pytest.raises(InputError, match="is no prompt"):
        app.using({handle: "prompts/other.md"})("x")


def test_a_release_keeps_its_prompt(app: App) -> None:
    made = hr.release(app)
    assert made.manifest["resources"]["prompt:leave"]["hash"] == hr.Template.parse(PROMPT).hash
    (app.root / "prompts" / "leave.md").write_text("Something else: {question}", encoding="utf-8")
    from headrace.flows.sealed import load_release

    assert "Answer briefly." in load_release(made, app.root)("How many days?")


def test_names_are_checked(app: App, tmp_path: Path) -> None:
    for name in ("", "../secret", "/etc/passwd", "a b", ".hidden"):
        with pytest.raises(InputError):
            hr.prompt(name)
    with pytest.raises(NotFound) as caught:
        PromptHandle("leaf", root=app.root).open()
    assert "Did you mean 'leave'?" in caught.value.hint
    assert PromptHandle("leaf", root=app.root).identity == {"unavailable": True, "why": "not-found"}
    assert known(app.root / "prompts") == ["leave"]
    assert known(tmp_path / "none") == []


def test_it_renders_for_a_model(app: App) -> None:
    handle = PromptHandle("leave", root=app.root)
    assert handle.variables == ("question",)
    assert handle.rendered({"question": "x"}, model="openai:m").messages[0].content == "Answer briefly."
    (app.root / "prompts" / "four.md").write_text("[instruction]\nAnswer {question}\n", encoding="utf-8")
    assert PromptHandle("four", root=app.root).rendered({"question": "x"}, family="t5").text == "Answer x"


def test_an_evaluation_uses_it(app: App) -> None:
    report = hr.evaluate(
        app, [Example(inputs={"question": "mill"}, expectations={"answer": "mill"})], ["contains"]
    )
    assert report.measurements[0]["value"] == 1
    assert ["prompt", "leave", "leave", str(app.root)] in report.settings["handles"]


ANSWERS = """
+++
variables = ["passages", "question"]
delimiter = "random"
refusal = "Ask at the mill."
+++
[instruction]
Answer the question from the passages, like a miller.

[context]
{passages}

[question]
{question}

[format]
One sentence.
""".lstrip()


def test_answers_can_have_a_wording_of_their_own(app: App) -> None:
    passages = [hr.Passage(document="mill.md", text="The mill closed in 1932.", score=1.0, relevance=1.0)]
    model = ScriptedModel({"Who": "“Ask at the mill.”", "like a miller": "In 1932 [1]."})
    template = hr.Template.parse(ANSWERS, name="miller")
    given = hr.answer("When did the mill close?", passages, model, prompt=template)
    assert given.text == "In 1932 [1]."
    assert given.citations[0].text == "The mill closed in 1932."
    sent = model.calls[0].messages
    assert sent[0].content.startswith("Answer the question from the passages, like a miller.")
    assert "[1] mill.md\nThe mill closed in 1932." in sent[-1].content
    assert hr.answer("Who was the miller?", passages, model, prompt=template).abstained
    (app.root / "prompts" / "miller.md").write_text(ANSWERS, encoding="utf-8")
    handle = PromptHandle("miller", root=app.root)
    assert hr.answer("When did the mill close?", passages, model, prompt=handle).text == given.text
    with pytest.raises(InputError, match="prompts of its own"):
        hr.answer("When?", passages, model, prompt=template, strategy="refine")
    with pytest.raises(InputError, match="no variable 'passages'"):
        hr.answer("When?", passages, model, prompt=hr.Template.of("{question}"))
