"""Templates: declared gaps, errors that name them, a hash of what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InputError, NotFound
from headrace.prompts.template import Part, Template
from headrace.types import Message


def test_gaps_are_filled() -> None:
    template = Template.of("Translate to {language}: {text}", system="You translate. {{json}}")
    assert template.variables == ("language", "text")
    assert template.render(language="French", text="the mill") == (
        Message("system", "You translate. {json}"),
        Message("user", "Translate to French: the mill"),
    )


@given(st.text(), st.text())
def test_a_value_is_never_looked_into(one: str, two: str) -> None:
    assert Template.of("{a}|{b}").render(a=one, b=two)[0].content == f"{one}|{two}"
    assert Template.of("{a}").render(a="{a} {{ }} {b")[0].content == "{a} {{ }} {b"


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(InputError, match="'t' needs 'b'"):
        Template.of("{a} {b}", name="t").render(a="1")


def test_an_extra_variable_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(InputError, match="no variable 'qestion'") as caught:
        Template.of("{question}").render(question="x", qestion="y")
    assert "Did you mean 'question'?" in caught.value.hint


def test_a_value_that_is_no_text_is_shown() -> None:
    with pytest.raises(InputError, match="'a' is 7"):
        Template.of("{a}").render(a=7)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["{", "}", "{}", "{a b}", "{1a}", "{a.b}", "{a!r}", "ok {a} and {"])
def test_a_brace_that_is_no_variable_is_shown(text: str) -> None:
    with pytest.raises(InputError, match="no variable"):
        Template.of(text)


def test_declared_and_used_must_agree() -> None:
    Template.of("{a}", declared=["a"])
    for declared in (["a", "b"], []):
        with pytest.raises(InputError, match="declares"):
            Template.of("{a}", declared=declared)


def test_the_hash_is_of_what_is_said() -> None:
    one = Template.of("Say {a}.", system="Be brief.", name="one")
    assert one.hash == Template.of("Say {a}.", system="Be brief.", name="two").hash
    assert one.hash != Template.of("Say {a}!", system="Be brief.").hash
    assert one.hash != Template((Part("user", "Be brief."), Part("user", "Say {a}."))).hash
    assert len(one.hash) == 64


def test_a_file_has_parts(tmp_path: Path) -> None:
    path = tmp_path / "answer.md"
    path.write_text("[system]\nBe brief.\n\n[user]\nQuestion: {q}\n[1] stays text\n", encoding="utf-8")
    template = Template.read(path)
    assert template.name == "answer"
    assert template.parts == (Part("system", "Be brief."), Part("user", "Question: {q}\n[1] stays text"))


def test_a_file_without_parts_is_one_user_message() -> None:
    assert Template.parse("Hello {name}\n").parts == (Part("user", "Hello {name}"),)


def test_files_that_are_no_templates(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\[sytem\]"):
        Template.parse("[sytem]\nx", name="t")
    with pytest.raises(InputError, match="before its first part"):
        Template.parse("hello\n[user]\nx", name="t")
    with pytest.raises(NotFound, match="nothing.md"):
        Template.read(tmp_path / "nothing.md")
    (tmp_path / "latin.md").write_bytes(b"\xe9t\xe9")
    with pytest.raises(InputError, match="UTF-8"):
        Template.read(tmp_path / "latin.md")
