"""The data-science agent: it leaves a data set and pictures, and its numbers are those of the data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas
import pytest

import headrace as hr
from headrace.models.scripted import ScriptedModel
from headrace.tools import sandbox
from needs import skip

pytestmark = pytest.mark.bubblewrap


@pytest.fixture
def dascie(example: Callable[[str], ModuleType], embedder: object) -> ModuleType:
    pytest.importorskip("matplotlib")
    if why := sandbox.isolation():
        skip("bubblewrap", why)
    return example("dascie")


def test_it_leaves_a_table_three_pictures_and_a_report_with_their_numbers(
    dascie: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dascie.main([])
    said = capsys.readouterr().out
    folder = tmp_path / "dascie"
    pictures = sorted(folder.glob("*.png"))
    assert len(pictures) >= 3
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert "Numbers that are not in summary.csv: none" in said
    summary = pandas.read_csv(folder / "summary.csv", index_col="line")
    assert max(map(len, said.splitlines())) <= 80
    assert {"search", "dataframe", "python"} <= {
        line.split()[0] for line in said.splitlines() if line.strip()
    }
    df = pandas.read_csv(dascie.DATA / "ferries.csv")
    for line, rows in df.groupby("line"):
        assert summary.loc[line, "passengers"] == rows.passengers.sum()
        assert f"{rows.passengers.sum():,} passengers" in " ".join(said.split())
        r = rows.wind.corr(rows.delay)  # R2 of a straight line is the squared correlation
        assert summary.loc[line, "r2"] == pytest.approx(r * r, abs=0.006)


@pytest.mark.slow
def test_the_code_that_it_ran_gives_the_same_again(dascie: ModuleType, tmp_path: Path) -> None:
    made = []
    for name in ("once", "again"):
        work = tmp_path / name
        work.mkdir()
        (work / "ferries.csv").write_bytes((dascie.DATA / "ferries.csv").read_bytes())
        code = dascie.doubles.ANALYSIS
        ran = hr.tools.python(code, workspace=work, packages=True, timeout=60, memory_mb=4096)
        assert ran.outcome == "ok", ran.stderr
        made.append((work / "summary.csv").read_bytes())
    assert made[0] == made[1]


def test_a_number_that_is_not_in_the_data_is_named(dascie: ModuleType, tmp_path: Path) -> None:
    table = tmp_path / "summary.csv"
    table.write_text("line,passengers,delay\nA-B,1200,9.50\n")
    assert dascie.missing("A-B had 1,200 passengers and 9.5 minutes (R2 high).", [table]) == []
    assert dascie.missing("A-B had 1,300, and they were 9.5 late.", [table]) == ["1,300"]
    link = tmp_path / "link.csv"
    link.symlink_to(table)
    assert dascie.missing("9.5 minutes", [link]) == ["9.5"], "a link that an agent left is not followed"


def test_an_agent_that_gives_up_says_why(dascie: ModuleType, tmp_path: Path) -> None:
    dascie.kb.add_files(dascie.DATA / "ferries.md")
    work = tmp_path / "work"
    work.mkdir()
    app = dascie.dascie.using({dascie.llm: ScriptedModel("Give Up: this table has no horses.")})
    report = app("How fast are the horses?", str(dascie.DATA / "ferries.csv"), str(work))
    assert (report.outcome, report.text, report.files) == ("gave_up", "this table has no horses.", [])


QUESTIONS = {
    "How many rows are there?": "len(df)",
    "How many lines are there?": "df.line.nunique()",
    "How many passengers were there in all?": "df.passengers.sum()",
    "How many in 2024?": "df[df.month.str.startswith('2024')].passengers.sum()",
    "Which line had most passengers?": "df.groupby('line').passengers.sum().idxmax()",
    "Which line had fewest?": "df.groupby('line').passengers.sum().idxmin()",
    "What is the mean delay?": "round(float(df.delay.mean()), 6)",
    "What is the median delay?": "float(df.delay.median())",
    "Which month was windiest?": "df.groupby('month').wind.mean().idxmax()",
    "What was the strongest wind?": "float(df.wind.max())",
    "How do wind and delay correlate?": "round(float(df.wind.corr(df.delay)), 6)",
    "How many departures had Hafen-Rissen?": "df[df.line == 'Hafen-Rissen'].departures.sum()",
    "How many months had more than 8 m/s of wind?": "(df.groupby('month').wind.mean() > 8).sum()",
    "How many passengers a departure?": "round(float(df.passengers.sum() / df.departures.sum()), 6)",
    "Which line was latest on average?": "df.groupby('line').delay.mean().idxmax()",
    "How did they grow?": "df.groupby(df.month.str[:4]).passengers.sum().pct_change().iloc[-1].round(6)",
    "What is the spread of the delay?": "round(float(df.delay.std()), 6)",
    "Which were the three busiest months?": "df.groupby('month').passengers.sum().nlargest(3).index.tolist()",
    "Are there empty cells?": "int(df.isna().sum().sum())",
    "How late was each line?": "df.groupby('line').delay.mean().round(4).to_dict()",
}


def test_answers_to_twenty_questions_are_those_of_pandas(dascie: ModuleType) -> None:
    """The questions as code, in one sandbox: what the tool gives is what pandas gives here."""
    table = dascie.DATA / "ferries.csv"
    tool = hr.tools.dataframe(table, timeout=120)
    ran = tool("\n".join(f"print(repr({code}))" for code in QUESTIONS.values()))
    assert ran.outcome == "ok", ran.stderr
    df = pandas.read_csv(table)
    wanted = [repr(eval(code, {"df": df})) for code in QUESTIONS.values()]
    assert ran.stdout.splitlines() == wanted
    assert len(QUESTIONS) == 20
