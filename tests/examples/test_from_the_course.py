"""The page that maps the course: all rows are there, once, and what it names exists."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path

import click
import pytest

import headrace as hr
from headrace.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "from-the-course.md").read_text(encoding="utf-8")
ROWS = {0: 10, 1: 45, 2: 44, 3: 30, 4: 38, 5: 23, 6: 30}


def rows() -> list[tuple[str, str, str]]:
    """(rows, here, state) of each line of the tables."""
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line[:1] == "|"
    ]
    return [(line[0], line[2], line[3]) for line in cells if line[0][:1].isdigit()]


def named(first: str) -> list[tuple[int, int]]:
    found = []
    for part in first.split(", "):
        ends = [tuple(map(int, end.split("."))) for end in part.split(" to ")]
        assert len({module for module, _ in ends}) == 1, part
        found += [(ends[0][0], number) for number in range(ends[0][1], ends[-1][1] + 1)]
    return found


def test_every_row_is_there_once() -> None:
    found = sorted(row for first, _, _ in rows() for row in named(first))
    assert found == [(module, number) for module, most in ROWS.items() for number in range(1, most + 1)]
    assert len(found) == 220


def test_every_row_says_how_far_it_goes() -> None:
    for first, here, state in rows():
        assert state.split()[0].strip(":;,") in ("yes", "narrow", "no"), first
        assert here != "–" or state.startswith("no"), first
        assert not state.startswith("narrow") or here != "–", first


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`headrace ([a-z][^`]*)`", PAGE))))
def test_each_command_is_there(command: str) -> None:
    found: click.Command = cli
    words = command.split()
    while words and isinstance(found, click.Group) and not words[0].startswith("-"):
        context = click.Context(found)
        next_one = found.get_command(context, words[0])
        if next_one is None:
            break
        found = next_one
        words.pop(0)
    assert found is not cli, f"there is no command 'headrace {command}'"
    options = {name for parameter in found.params for name in parameter.opts}
    for word in words:
        assert not word.startswith("-") or word in options, f"headrace {command} has no {word}"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`hr\.([\w.]+)`", PAGE))))
def test_each_name_is_there(name: str) -> None:
    assert callable(reduce(getattr, name.split("."), hr))


def test_each_example_is_there() -> None:
    for name in set(re.findall(r"`(examples/\w+\.py)`", PAGE)):
        assert (ROOT / name).is_file(), name
