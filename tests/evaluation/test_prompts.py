"""Wordings of a prompt side by side: means, verdicts against the first, and no winner without evidence."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InputError, NotFound
from headrace.evaluation.prompts import LEAST, compare_prompts
from headrace.models.scripted import ScriptedModel
from headrace.prompts.fourpart import FourPart
from headrace.resources import build
from headrace.resources.prompt import PromptHandle
from headrace.types import Example, Message

MILLS = [
    Example(inputs={"text": f"Mill {i} stands at the river."}, expectations={"answer": str(i)}, id=f"m{i}")
    for i in range(60)
]


def wording(name: str, order: str, **more: object) -> FourPart:
    return FourPart.build(instruction=order, question="{text}", format="A number.", name=name, **more)  # type: ignore[arg-type]


PLAIN = wording("plain", "Name the number of the mill.")
CAREFUL = wording("careful", "Name the number of the mill, carefully.")
BAD = wording("bad", "Name the number of the mill, quickly.")


def rightness(messages: Sequence[Message]) -> str:
    """Right for 90 % of the mills where it is asked carefully, 50 % plainly, 10 % quickly."""
    sent = "\n".join(message.content for message in messages)
    number = next(line.split()[1] for line in sent.splitlines() if line.startswith("Mill "))
    share = 90 if "carefully" in sent else 10 if "quickly" in sent else 50
    luck = zlib.crc32(number.encode()) % 100
    return number if luck < share else "I do not know"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_better_wording_wins() -> None:
    model = ScriptedModel(rightness)
    found = compare_prompts([PLAIN, CAREFUL, BAD], MILLS, ["exact_match"], model=model)
    assert [v.name for v in found.variants] == ["plain", "careful", "bad"]
    assert found.winner == "careful"
    assert found.model == "scripted:replies"
    assert found.examples == len(MILLS) == 60
    assert len(model.calls) == 180
    plain, careful, bad = found.variants
    assert plain.against == {}
    verdict = careful.against["exact_match"]
    assert verdict.verdict == "better"
    assert verdict.low is not None
    assert verdict.low > 0
    assert bad.against["exact_match"].verdict == "worse"
    mean = careful.means["exact_match"]
    assert mean["low"] < mean["value"] < mean["high"]
    assert found.confidence == pytest.approx(0.975)  # two verdicts share 5 %
    assert any("given answers" in note for note in found.notes)
    assert found["careful"].version == CAREFUL.version
    with pytest.raises(NotFound):
        found["none"]


def test_the_first_wins_where_all_others_are_worse_and_nobody_where_nothing_is_known() -> None:
    model = ScriptedModel(rightness)
    assert compare_prompts([PLAIN, BAD], MILLS, ["exact_match"], model=model).winner == "plain"
    twin = wording("twin", "Name the number of this mill.")
    slow = hr.Decoding(max_new_tokens=1)
    compare_prompts([PLAIN, BAD], MILLS, ["exact_match"], model=model, decoding=slow)
    assert len(model.calls) == 240  # other settings, other rows
    found = compare_prompts([PLAIN, twin], MILLS, ["exact_match"], model=model)
    assert found.winner is None
    assert found["twin"].against["exact_match"].verdict in ("equivalent", "not enough data")


def test_two_that_are_both_better_are_not_told_apart() -> None:
    other = wording("other", "Name the number of this mill, carefully.")
    found = compare_prompts([PLAIN, CAREFUL, other], MILLS, ["exact_match"], model=ScriptedModel(rightness))
    assert {v.against["exact_match"].verdict for v in found.variants[1:]} == {"better"}
    assert found.winner is None


def test_a_handful_of_examples_names_nobody() -> None:
    found = compare_prompts(
        [BAD, CAREFUL], MILLS[: LEAST - 1], ["exact_match"], model=ScriptedModel(rightness)
    )
    assert found["careful"].against["exact_match"].verdict == "better"
    assert found.winner is None
    assert any("too few" in note for note in found.notes)


def test_reports_are_kept_and_rows_are_not_run_again() -> None:
    model = ScriptedModel(rightness)
    first = compare_prompts([PLAIN, CAREFUL], MILLS, ["exact_match"], model=model)
    again = compare_prompts([PLAIN, CAREFUL], MILLS, ["exact_match"], model=model)
    assert len(model.calls) == 120
    assert again.winner == first.winner
    kept = build.reports(Path.cwd()).load(first.variants[0].report.id)
    assert kept.kind == "prompts"
    assert len(kept.rows) == 60


def test_without_a_model_a_stand_in_answers_and_nobody_wins() -> None:
    found = compare_prompts([PLAIN, CAREFUL], MILLS, ["contains"])
    assert found.model == "scripted:echo"
    assert found.winner is None
    assert any("No model is configured" in note for note in found.notes)


def test_labels_and_steps_are_read_before_they_are_scored() -> None:
    examples = [Example(inputs={"text": str(i)}, expectations={"answer": "good"}) for i in range(20)]
    labelled = wording("labelled", "Classify.", labels=("good", "bad"))
    stepped = wording("stepped", "Classify slowly.", steps=True)
    model = ScriptedModel({"numbered steps": "1. It is.\nAnswer: good", "labels": '"Good".'})
    found = compare_prompts([labelled, stepped], examples, ["exact_match"], model=model)
    assert [v.means["exact_match"]["value"] for v in found.variants] == [1, 1]
    assert {row["output"]["text"] for v in found.variants for row in v.report.rows} == {"good"}


def test_the_fixed_refusal_is_an_abstention() -> None:
    examples = [
        Example(
            inputs={"text": f"{i} mills"}, expectations={"unanswerable": True} if i % 2 else {"answer": "x"}
        )
        for i in range(20)
    ]
    model = ScriptedModel(
        {r"[13579] mills": "“I do not have the information to answer this.”", "carefully": "x"}
    )
    found = compare_prompts(
        [CAREFUL, wording("own", "Say x carefully.")], examples, ["abstention"], model=model
    )
    assert [v.means["abstention"]["value"] for v in found.variants] == [1, 1]
    switched_off = wording("off", "Say x carefully!", refusal=False)
    assert switched_off.refusal == ""
    found = compare_prompts([CAREFUL, switched_off], examples, ["abstention"], model=model)
    assert found["off"].means["abstention"]["value"] == 0.5


def test_a_prompt_for_another_model_is_noted() -> None:
    other = wording("other", "Name it.", models=("openai:*",))
    found = compare_prompts([PLAIN, other], MILLS, ["exact_match"], model=ScriptedModel("1"))
    assert any("written for openai:*" in note for note in found.notes)
    assert other.written_for("openai:m")
    assert PLAIN.written_for("anything")


def test_seconds_get_no_verdict() -> None:
    found = compare_prompts([PLAIN, CAREFUL], MILLS, ["latency"], model=ScriptedModel("1"))
    assert found.winner is None
    assert found["careful"].against == {}
    assert any("different moments" in note for note in found.notes)


def test_a_model_that_fails_gives_failed_rows() -> None:
    model = ScriptedModel(["1"])  # plays once, then fails
    found = compare_prompts([PLAIN, CAREFUL], MILLS, ["exact_match"], model=model, workers=1)
    assert found["plain"].means["exact_match"]["failed"] == 59
    assert found["careful"].means["exact_match"]["failed"] == 60


APP = """
import headrace as hr

llm = hr.model("scripted:echo")
order = hr.prompt("order")


@hr.app
def mills(text: str) -> str:
    return llm.complete(order.render(text=text)).text
"""


def test_through_an_application(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("", encoding="utf-8")
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "order.md").write_text("Repeat {text}", encoding="utf-8")
    (tmp_path / "prompts" / "mute.md").write_text("Say nothing about it: {text}", encoding="utf-8")
    app = hr.load(f"{tmp_path}/app.py:mills")
    files = [tmp_path / "prompts" / "order.md", tmp_path / "prompts" / "mute.md"]
    found = compare_prompts(files, MILLS[:20], ["contains"], app=app)
    assert found.model == "application mills, prompt:order"
    assert [v.name for v in found.variants] == ["order", "mute"]
    assert found.variants[0].report.subject != found.variants[1].report.subject
    with pytest.raises(NotFound, match="uses no prompt 'other'"):
        compare_prompts(files, MILLS[:20], ["contains"], app=app, prompt="other")
    with pytest.raises(InputError, match="its own model"):
        compare_prompts(files, MILLS[:20], ["contains"], app=app, model="scripted:echo")
    handle = next(h for h in app.handles if isinstance(h, PromptHandle))
    assert app.using({handle: hr.Template.of("{text}")}).replacements


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ([PLAIN], "1 wording"),
        ([PLAIN, wording("twin", "Name the number of the mill.")], "says the same as 'plain'"),
        ([PLAIN, wording("odd", "Classify {missing}.")], "missing"),
        ([PLAIN, wording("hot", "Classify it.", decoding={"temprature": 1})], "temprature"),
    ],
)
def test_what_cannot_be_compared(variants: list[FourPart], said: str) -> None:
    with pytest.raises(InputError) as caught:
        compare_prompts(variants, MILLS, ["exact_match"], model=ScriptedModel("1"))
    assert said in caught.value.message
