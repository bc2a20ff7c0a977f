"""Prompts of four parts: what each family of models is sent, and what no value can do to it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InputError, NotFound
from headrace.models.scripted import ScriptedModel
from headrace.prompts.clauses import REFUSAL, UNKNOWN
from headrace.prompts.context import build_prompt
from headrace.prompts.families import family_of
from headrace.prompts.fences import DELIMITERS, leaked
from headrace.prompts.fourpart import FourPart, Options, Shot
from headrace.prompts.steps import final_answer
from headrace.prompts.template import Template
from headrace.types import Decoding, Passage

FILE = """\
+++
variables = ["text"]
labels = ["good", "bad"]
models = ["openai:*"]
+++
[instruction]
Classify the review as good or bad.

[question]
Review: {text}

[format]
One word.

[instruction@t5]
sst2 sentence:

[example]
text: A mill that turns.
It turns well.
→ good

[example]
text: It stands still.
→ bad
"""


def review(**more: Any) -> FourPart:
    parts = {"instruction": "Classify the review.", "question": "Review: {text}", "format": "One word."}
    return FourPart.build(**{**parts, **more})


def test_a_file_of_four_parts() -> None:
    template = Template.parse(FILE, name="review")
    assert isinstance(template, FourPart)
    assert template.variables == ("text",)
    assert template.labels == ("good", "bad")
    assert template.shots[0].values == {"text": "A mill that turns.\nIt turns well."}
    assert [shot.output for shot in template.shots] == ["good", "bad"]
    assert template.options == Options()
    assert len(template.version) == 12


def test_chat_models_get_messages() -> None:
    template = Template.parse(FILE)
    assert isinstance(template, FourPart)
    made = template.rendered({"text": "Fine flour."}, model="openai:some-model")
    assert made.family == "chat"
    assert [m.role for m in made.messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    system = made.messages[0].content
    assert system.startswith("Classify the review as good or bad.")
    assert "do not make anything up" in system
    assert REFUSAL not in system  # a label leaves no room for a sentence
    assert "sensitive" in system
    assert system.endswith("One word.")
    assert made.messages[-1].content == "Review:\n###\nFine flour.\n###"
    assert made.messages == template.render(text="Fine flour.")


def test_models_that_go_on_with_a_text_get_one_and_a_stop() -> None:
    template = Template.parse(FILE)
    assert isinstance(template, FourPart)
    made = template.rendered({"text": "Fine flour."}, model="local:stories")
    assert made.family == "completion"
    (message,) = made.messages
    assert message.content.endswith("Review:\n###\nFine flour.\n###\nAnswer:")
    (stop,) = made.stop
    assert message.content.count(stop) == 3  # orders, two examples, the case at hand
    assert Decoding(stop=made.stop).stop == made.stop


def test_t5_gets_a_prefix_on_one_line() -> None:
    template = Template.parse(FILE)
    assert isinstance(template, FourPart)
    assert template.rendered({"text": "Fine\nflour."}, model="local:t5-small").text == (
        "sst2 sentence: Review: Fine flour."
    )
    asked = FourPart.build(instruction="", context="{c}", question="{q}")
    made = asked.rendered({"c": "It closed.", "q": "Who?"}, family="t5")
    assert made.text == "question: Who? context: It closed."


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("openai:gpt-4o-mini", "chat"),
        ("scripted:echo", "chat"),
        ("local:./flan-t5-base", "t5"),
        ("local:stories260K", "completion"),
        ("local:Qwen2.5-0.5B-Instruct", "chat"),
        ("local:gemma_2b_it", "chat"),
    ],
)
def test_the_family_follows_the_name(name: str, family: str) -> None:
    assert family_of(name) == family


def test_a_pattern_of_names_beats_the_family() -> None:
    template = review(
        overrides={
            "chat": {"format": "A word."},
            "openai:*": {"format": "JSON."},
            "local:*": {"format": "No."},
        }
    )
    assert template.rendered({"text": "x"}, model="openai:m").messages[0].content.endswith("JSON.")
    assert template.rendered({"text": "x"}, model="scripted:m").messages[0].content.endswith("A word.")


def test_clauses_can_be_switched_off_and_on() -> None:
    plain = review(refusal=False, sensitive=False, delimiter="none").render(text="x")
    assert [m.content for m in plain] == ["Classify the review.\n\nOne word.", "Review: x"]
    assert UNKNOWN in review().render(text="x")[0].content
    assert REFUSAL in review(context="Of the mill.").render(text="x")[0].content
    own = review(refusal="Unknown.").render(text="x")[0].content
    assert "Unknown." in own
    assert REFUSAL not in own
    assert review(sandwich=True).render(text="x")[-1].content.endswith("Classify the review.")
    made = review(canary=True).rendered({"text": "x"})
    assert leaked(made.canary, made.messages[0].content)
    stepped = review(steps=True).render(text="x")[0].content
    assert "numbered steps" in stepped
    assert review(labels=("good", "bad")).render(text="x")[0].content.endswith("nothing else: good, bad.")


@given(st.text(), st.sampled_from(["auto", "random", "###", '"""']))
def test_no_value_contains_the_delimiter(text: str, delimiter: str) -> None:
    for value in (text, f'{text}###\n"""{"".join(DELIMITERS)}', "####", "<<end data 00>>"):
        made = review(delimiter=delimiter).rendered({"text": value}, rng=random.Random(0))
        sent = made.messages[-1].content
        mark = made.delimiter
        close = mark.replace("begin", "end") if delimiter == "random" else mark
        assert sent.startswith(f"Review:\n{mark}\n")
        assert sent.endswith(f"\n{close}")
        inside = sent.removeprefix(f"Review:\n{mark}").removesuffix(close)
        assert mark not in inside
        assert close not in inside


def test_the_random_fence_differs_per_call() -> None:
    template = review(delimiter="random")
    assert template.rendered({"text": "x"}).delimiter != template.rendered({"text": "x"}).delimiter
    same = [template.rendered({"text": "x"}, rng=random.Random(1)).delimiter for _ in range(2)]
    assert same[0] == same[1]


@pytest.mark.parametrize("text", ["", "שלום {text} }}", "🙂" * 1000, "x" * 1_000_000, "<|im_start|>system"])
def test_odd_texts(text: str) -> None:
    for family in ("chat", "completion", "t5"):
        made = review().rendered({"text": text}, family=family)  # type: ignore[arg-type]
        assert "<|im_start|>" not in made.text
        assert text.split("|")[0] in made.text


def test_too_long_is_refused_with_the_count() -> None:
    template = review(max_characters=10)
    template.render(text="x" * 10)
    with pytest.raises(InputError, match="1,000,000 characters together, and it takes at most 10"):
        template.render(text="x" * 1_000_000)


def test_missing_and_extra_variables_are_named() -> None:
    with pytest.raises(InputError, match="needs 'text'"):
        review().render()
    with pytest.raises(InputError, match="no variable 'txt'") as caught:
        review().render(text="x", txt="y")
    assert "Did you mean 'text'?" in caught.value.hint
    with pytest.raises(InputError, match="gives 'txt'"):
        review(shots=(Shot(values={"txt": "a"}, output="b"),))


def test_a_schema_brings_its_worked_example() -> None:
    schema = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
    sent = review(schema=schema).render(text="x")[0].content
    assert json.dumps(schema) in sent
    assert json.loads(sent.splitlines()[-1]) == {"days": 1}
    with pytest.raises(InputError, match="No value can satisfy"):
        review(schema={"enum": []})


def test_the_version_is_of_everything_that_is_sent() -> None:
    one = review(name="a")
    assert one.version == review(name="b").version
    others = [
        review(sandwich=True),
        review(labels=("a",)),
        review(format="Two words."),
        review(delimiter="###"),
    ]
    assert len({one.version, *(other.version for other in others)}) == 5
    changed = one.diff(others[2])
    assert "-One word." in changed
    assert "+Two words." in changed
    assert one.diff(review()) == ""
    assert one.identity == {"prompt": "a", "hash": one.hash}


def test_it_can_stand_in_for_the_prompt_of_answers() -> None:
    template = FourPart.build(
        instruction="Answer from the passages.", context="{passages}", question="{question}", name="own"
    )
    passage = Passage(document="mill.md", text="The mill closed in 1932.", score=1.0, relevance=1.0)
    made = build_prompt(
        "When?", [passage], count=lambda t: len(t.split()), window=400, reserve=50, template=template
    )
    assert made.template == template.hash
    assert made.canary == ""
    guarded = FourPart.build(
        instruction="Answer.", context="{passages}", question="{question}", canary=True, delimiter="random"
    )
    made = build_prompt("When?", [passage], count=len, window=None, reserve=0, template=guarded)
    assert made.canary
    assert leaked(made.canary, made.messages[0].content)
    assert made.template == guarded.hash
    assert "[1] mill.md\nThe mill closed in 1932." in made.messages[-1].content


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "there is no prompt in it"),
        ("   \n\n", 1, "there is no prompt in it"),
        ('+++\nname = "x"\n+++\n', 4, "there is no prompt in it"),
        ("+++\nname = x\n+++\nHi", 2, "is no TOML"),
        ('+++\nname = "x"\nlabels = [\n+++\nHi', 3, "is no TOML"),
        ('+++\nname = "x"\n\nHi', 1, "has no end"),
        ('+++\nname = "x"\nlabls = ["a"]\n+++\nHi', 3, "'labls' is not known"),
        ("+++\nsteps = 1\n+++\nHi", 2, "steps = 1 is not true or false"),
        ("+++\nmax_characters = true\n+++\n[instruction]\nHi", 2, "not a whole number"),
        ('+++\nlabels = ["a", "a"]\n+++\n[instruction]\nHi', 2, "'a' more than once"),
        ("+++\nsteps = true\n+++\n[user]\nHi", 2, "prompts of four parts only"),
        ('+++\nschema = "no.json"\n+++\n[instruction]\nHi', 2, "there is no schema"),
        ("---\nname: x\nnested:\n  - a\n---\nHi", 4, "'- a' is not of the form"),
        ("[instruction]\nHi\n[user]\nHo", 3, "either as messages or as parts"),
        ("[instruction]\nHi\n[instruction]\nHo", 3, "stands there twice"),
        ("[instruction@nobody]\nHi", 1, "neither a family nor a model"),
        ("[instruction]\nHi {a}\n[example]\na: 1", 3, "has no output"),
        ("[instruction]\nHi {a}\n[example]\nb: 1\n→ 2", 3, "one of the variables"),
    ],
)
def test_broken_files_say_where(text: str, line: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        Template.read(path)
    message = caught.value.message
    assert f"line {line}" in message, message
    assert "broken.md" in message
    assert said in (message if said != "either as messages or as parts" else caught.value.hint)
    assert caught.value.hint


def test_an_example_needs_no_variable() -> None:
    template = Template.parse("[instruction]\nTell a joke.\n[example]\n→ A mill walks in.\n")
    assert isinstance(template, FourPart)
    assert template.shots == (Shot(values={}, output="A mill walks in."),)
    assert [m.role for m in template.render()] == ["system", "user", "assistant", "user"]


def test_simple_front_matter_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "p.md"
    path.write_bytes(
        "\ufeff---\r\nname: review\r\nlabels: [good, 'bad']\r\nsensitive: false\r\nmax_characters: 40\r\n"
        "---\r\n[instruction]\r\nClassify {text}\r\n".encode()
    )
    template = Template.read(path)
    assert isinstance(template, FourPart)
    assert template.name == "review"
    assert template.labels == ("good", "bad")
    assert template.options == Options(sensitive=False, max_characters=40)
    assert template.instruction == "Classify {text}"
    with pytest.raises(NotFound):
        Template.read(tmp_path / "none.md")


def test_a_prompt_of_messages_keeps_its_hash_with_a_front_matter() -> None:
    plain = Template.parse("[system]\nBe brief.\n[user]\nHello {name}", name="a")
    text = '+++\nname = "b"\nvariables = ["name"]\n+++\n[system]\nBe brief.\n[user]\nHello {name}'
    assert Template.parse(text).hash == plain.hash
    with pytest.raises(InputError, match="declares"):
        Template.parse('+++\nvariables = ["nam"]\n+++\nHello {name}')


@pytest.mark.parametrize(
    ("text", "steps", "answer"),
    [
        ("1. a\n2. b\nAnswer: 42", "1. a\n2. b", "42"),
        ("**Final answer:** 42\nmore", "", "42\nmore"),
        ("Answer: 1\nWait.\nanswer: 2", "Answer: 1\nWait.", "2"),
        ("so \\boxed{7}.", "so", "7"),
        ("no idea", "no idea", None),
        ("Answer:", "", None),
    ],
)
def test_steps_and_answer_are_told_apart(text: str, steps: str, answer: str | None) -> None:
    found = final_answer(text)
    assert (found.steps, found.answer) == (steps, answer)


def test_what_a_model_is_sent_can_be_seen() -> None:
    """Template, model, output: the prompt that was expected (capabilities 3.3)."""
    model = ScriptedModel("good")
    template = Template.parse(FILE)
    assert isinstance(template, FourPart)
    made = template.rendered({"text": "Fine."}, model=model.name)
    assert model.complete(made.messages, Decoding(stop=made.stop)).text == "good"
    assert model.calls[0].messages == made.messages


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="{}[]\r\f\v\x1c\x1d\x1e\x85\u2028\u2029")
)


@given(
    TEXTS.filter(str.strip), TEXTS, st.lists(TEXTS.filter(str.strip), unique=True, max_size=3), st.booleans()
)
def test_what_is_dumped_can_be_read_again(order: str, form: str, labels: list[str], flag: bool) -> None:
    template = FourPart.build(
        instruction=order.strip(),
        question="{text}",
        format=form.strip(),
        labels=tuple(labels),
        sandwich=flag,
        refusal='It isn\'t "known".',
        max_characters=9,
        decoding={"temperature": 0.5, "stop": ["\n"]},
        schema={"const": None, "title": "it's '''" if flag else "x"},
        overrides={"t5": {"instruction": "a:"}, "openai:*": {"format": "b"}},
        shots=(Shot(values={"text": "two\nlines"}, output="so"),),
        declared=("text",),
    )
    again = Template.parse(template.dump())
    assert again.hash == template.hash
    assert again.dump() == template.dump()
