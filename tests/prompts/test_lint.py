"""The linter: each remark has a code, a line and a way to switch it off; drafts pass it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import InputError, NotFound
from headrace.prompts.context import ANSWER
from headrace.prompts.draft import draft
from headrace.prompts.fourpart import FourPart
from headrace.prompts.lint import CODES, Remark, lint, lint_text, task_verbs
from headrace.prompts.template import Template

GOOD = """\
+++
variables = ["passages", "question"]
+++
[instruction]
Answer the question from the passages.

[context]
{passages}

[question]
{question}

[format]
One sentence.

[example]
question: When?
passages: In 1932.
→ In 1932.

[example]
question: Where?
passages: At the river.
→ At the river.
"""


def codes(text: str) -> list[str]:
    return [remark.code for remark in lint_text(text)]


def one(text: str, code: str) -> Remark:
    found = [remark for remark in lint_text(text) if remark.code == code]
    assert len(found) == 1, codes(text)
    assert found[0].hint
    assert found[0].message
    return found[0]


def test_a_whole_prompt_has_no_remark() -> None:
    assert lint_text(GOOD) == []


@pytest.mark.parametrize(
    ("was", "now", "code", "line"),
    [
        ("[instruction]\nAnswer the question from the passages.\n", "", "no-instruction", 5),
        ("Answer the question from the passages.", "The answer to the question.", "no-task-verb", 4),
        ("[format]\nOne sentence.\n", "", "no-format", 4),
        ("[context]\n{passages}\n\n[question]\n{question}\n", "", "broken", None),
        ('variables = ["passages", "question"]', "", "undeclared-variables", 1),
        ('"question"]\n', '"question"]\nrefusal = false\n', "no-refusal", 3),
        ('"question"]\n', '"question"]\nsensitive = false\n', "no-sensitive-clause", 3),
        ('"question"]\n', '"question"]\ndelimiter = "none"\n', "no-delimiter", 3),
        ('"question"]\n', '"question"]\ndecoding = {temperature = 0.7}\n', "sampling-in-factual-task", 3),
        ('"question"]\n', '"question"]\nlabels = ["In 1932.", "no"]\n', "label-without-example", 17),
        ('"question"]\n', '"question"]\nlabels = ["In 1932."]\n', "example-not-a-label", 22),
        ('"question"]\n', '"question"]\nschema = {type = "string"}\n', "example-against-schema", None),
        ("→ In 1932.", "→ Replace this by an output.", "placeholder", 16),
        ("[example]\nquestion: Where?\npassages: At the river.\n→ At the river.\n", "", "one-example", 16),
        ("passages: At the river.", "passage: At the river.", "broken", 21),
    ],
)
def test_each_remark_has_its_line(was: str, now: str, code: str, line: int | None) -> None:
    changed = GOOD.replace(was, now)
    assert changed != GOOD
    found = [remark for remark in lint_text(changed) if remark.code == code]
    assert found, codes(changed)
    assert found[0].severity == CODES[code][0]
    if line is not None:
        assert found[0].line == line


def test_what_is_missing_without_examples() -> None:
    bare = "[instruction]\nTranslate {text} to French.\n"
    assert set(codes(bare)) == {
        "undeclared-variables",
        "no-context",
        "no-question",
        "no-format",
        "no-examples",
        "value-in-instruction",
    }
    labels = '+++\nlabels = ["a", "b"]\n+++\n[instruction]\nClassify {text}.\n'
    assert one(labels, "no-examples").severity == "warning"
    stepped = labels.replace('"b"]', '"b"]\nsteps = true')
    assert one(stepped, "steps-with-labels").line == 3
    pattern = '+++\nschema = {type = "string", pattern = "^[A-Z]{9}$"}\n+++\n[instruction]\nName {x}.\n'
    assert one(pattern, "schema-without-example").line == 2
    assert "no-variable" in codes("Tell a joke in one sentence.")


def test_a_remark_can_be_switched_off() -> None:
    text = GOOD.replace("[format]\nOne sentence.\n", "")
    allowed = text.replace('"question"]\n', '"question"]\nallow = ["no-format"]\n')
    assert codes(text) == ["no-format"]
    assert codes(allowed) == []
    wrong = one(allowed.replace('["no-format"]', '["no-format", "no-fromat"]'), "broken")
    assert "no-fromat" in wrong.message
    assert "Did you mean 'no-format'?" in wrong.hint


def test_prompts_of_messages_are_read_too() -> None:
    assert {"no-format", "no-refusal", "no-sensitive-clause", "no-delimiter"} <= set(
        codes("Summarise: {text}")
    )
    assert [r.code for r in lint_text(ANSWER.dump()) if r.severity != "note"] == []  # our own


def test_verbs_are_not_nouns() -> None:
    assert task_verbs("Please classify the text, then list each answer.") == ["classify", "list"]
    assert task_verbs("The answer and a list") == []
    assert "no-task-verb" in codes("[instruction]\nThe reviews and the labels of them.")
    for other in ("Classez chaque avis selon son humeur", "סווג את הביקורת", "分类评论 🙂"):
        assert "no-task-verb" not in codes(f"[instruction]\n{other}\n")


@pytest.mark.parametrize("text", ["", "\n \n", "+++\n", "[sytem]\nx", "{", "x" * 1_000_000 + "{"])
def test_a_file_that_cannot_be_used_has_one_remark(text: str) -> None:
    (found,) = lint_text(text)
    assert (found.code, found.severity) == ("broken", "error")


def test_a_megabyte_and_other_scripts_are_read(tmp_path: Path) -> None:
    assert lint_text("Classify {text} of the mill. " * 30_000)
    path = tmp_path / "p.md"
    path.write_text("🙂 שלום {text}", encoding="utf-8")
    assert all(remark.line == 1 for remark in lint(path))
    with pytest.raises(NotFound):
        lint(tmp_path / "none.md")


@pytest.mark.parametrize(
    "goal",
    [
        "Classify reviews as good, bad or mixed",
        "sort e-mails into urgent/later",
        "Translate to French",
        "Summarise the minutes of a meeting",
        "Extract the name, the date and the amount from invoices",
        "Answer questions about leave",
        "reviews: good or bad?",
        "Write a poem about {this} and }that",
        "列出所有错误",
        "תרגם לצרפתית 🙂",
        "Détecter les erreurs",
        "detect",
        "classify as x",
        "extract",
        "x" * 500,
    ],
)
def test_a_goal_becomes_a_prompt_that_passes(goal: str) -> None:
    text = draft(goal)
    remarks = lint_text(text)
    assert [r for r in remarks if r.severity != "note"] == [], text
    template = Template.parse(text)
    assert isinstance(template, FourPart)
    sent = template.rendered(dict.fromkeys(template.variables, "value"))
    assert goal.split()[-1].lower() in sent.text.lower()


def test_drafts_know_the_kind_of_task() -> None:
    review = Template.parse(draft("Classify reviews as good, bad, or mixed."))
    assert isinstance(review, FourPart)
    assert review.labels == ("good", "bad", "mixed")
    invoice = Template.parse(draft("Extract the name and the invoice number from letters"))
    assert isinstance(invoice, FourPart)
    assert list(invoice.schema["properties"]) == ["name", "invoice_number"]
    assert Template.parse(draft("Answer questions")).variables == ("passages", "question")


@pytest.mark.parametrize("goal", ["", "  \n", "?!", "x" * 1_000_000])
def test_no_goal_is_refused(goal: str) -> None:
    with pytest.raises(InputError) as caught:
        draft(goal)
    assert caught.value.hint
