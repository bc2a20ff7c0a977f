"""A table asked by code in the sandbox: values equal pandas' own, the file stays as it is."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

import headrace as hr
from headrace.errors import InputError, NotFound
from headrace.flows.tool import observation
from headrace.models.scripted import ScriptedModel
from headrace.tools import sandbox
from needs import skip

pytestmark = pytest.mark.bubblewrap
pandas = pytest.importorskip("pandas")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    if why := sandbox.isolation():
        skip("bubblewrap", why)
    rng = random.Random(3)
    path = tmp_path / "harbour.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ship", "year", "tons"])
        for n in range(200):
            writer.writerow([f"ship {n % 17}", 2000 + n % 20, rng.randint(1, 900)])
    return path


@pytest.mark.parametrize(
    "code",
    [
        "len(df)",
        "df['tons'].sum()",
        "df['ship'].nunique()",
        "int(df.groupby('year')['tons'].mean().idxmax())",
        "df[df['tons'] > 500]['ship'].value_counts().index[0]",
        "round(float(df['tons'].corr(df['year'])), 6)",
    ],
)
def test_values_equal_those_of_pandas(table: Path, code: str) -> None:
    ran = hr.tools.dataframe(table)(code)
    assert ran.outcome == "ok", ran.stderr
    assert ran.stdout.strip() == repr(eval(code, {"df": pandas.read_csv(table)}))


def test_an_agent_asks_the_table(table: Path) -> None:
    """A scripted double: it proves the machinery, not a model."""
    model = ScriptedModel(
        ["Action: harbour\nAction Input: df['ship'].nunique()", "Thought: I see\nFinal Answer: 17 ships"]
    )
    result = hr.Agent(model, [hr.tools.dataframe(table, name="harbour")]).run("How many ships are there?")
    assert (result.outcome, result.answer) == ("answered", "17 ships")
    assert result.steps[0].observation == "17"
    assert "Columns: ship, year, tons." in model.calls[0].messages[0].content


def test_the_file_is_not_changed_and_errors_are_told(table: Path) -> None:
    before = table.read_bytes()
    ran = hr.tools.dataframe(table)("df['ton']")
    assert ran.outcome == "error"
    assert "KeyError: 'ton'" in observation(ran, 10_000)
    hr.tools.dataframe(table)("open('table.csv', 'w').write('gone')")
    assert table.read_bytes() == before


def test_tables_that_cannot_be_asked_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        hr.tools.dataframe(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="no header"):
        hr.tools.dataframe(tmp_path / "empty.csv")
