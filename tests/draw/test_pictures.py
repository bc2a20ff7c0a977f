"""Pictures are well-formed, say their numbers as text, stay inside their frame and survive odd input."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.draw import svg
from headrace.draw.intervals import differences_svg, intervals_svg
from headrace.draw.lines import latency_svg, lines_svg
from headrace.draw.svg import escape, short, standalone, ticks

NAME = "{http://www.w3.org/2000/svg}"


def parsed(picture: str) -> ElementTree.Element:
    root = ElementTree.fromstring(picture)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for node in root.iter():
        for key, value in node.attrib.items():
            assert "nan" not in value.lower()
            assert "inf" not in value.lower()
            if key in ("x", "x1", "x2", "cx"):
                assert -1 <= float(value) <= width + 1
            if key in ("y", "y1", "y2", "cy"):
                assert -1 <= float(value) <= height + 1
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{NAME}title")
    assert root.findtext(f"{NAME}desc")
    assert "<style" not in picture  # a page's policy forbids it
    assert "style=" not in picture
    return root


def texts(root: ElementTree.Element) -> list[str]:
    return [node.text or "" for node in root.iter(f"{NAME}text")]


def measured(
    name: str, value: float | None, low: float | None, high: float | None, unit: str
) -> dict[str, Any]:
    return {"name": name, "value": value, "low": low, "high": high, "n": 50, "unit": unit}


def compared(metric: str, verdict: str, difference: float | None, **more: Any) -> dict[str, Any]:
    base = {"low": None, "high": None, "margin": 0.05, "direction": "higher", "unit": "share", "n": 50}
    return {"metric": metric, "verdict": verdict, "difference": difference, "needed": 50, **base, **more}


def test_intervals_say_value_and_bounds() -> None:
    root = parsed(
        intervals_svg(
            [
                measured("exact_match", 0.9, 0.786, 0.957, "share"),
                measured("latency", 0.12, 0.11, None, "s"),
                measured("tokens", 1934.0, 1816.0, 2073.0, "tokens"),
                measured("cost", None, None, None, "USD"),
            ],
            title="handbook",
        )
    )
    said = texts(root)
    assert {"handbook", "90.0 %", "78.6 % to 95.7 %, n = 50", "120 ms", "1,934 tokens"} <= set(said)
    assert "110 ms to –, n = 50" in said
    assert "not assessed" in said
    described = root.findtext(f"{NAME}desc") or ""
    assert "exact_match 90.0 %, interval 78.6 % to 95.7 %, 50 rows" in described
    assert "nothing was measured" in texts(parsed(intervals_svg([])))


def test_a_share_stands_where_its_value_is() -> None:
    root = parsed(
        intervals_svg([measured("a", 0.25, 0.2, 0.3, "share"), measured("b", 0.75, 0.7, 0.8, "share")])
    )
    quarter, three = (float(node.attrib["cx"]) for node in root.iter(f"{NAME}circle"))
    axis = {
        node.text: float(node.attrib["x"]) for node in root.iter(f"{NAME}text") if "%" in (node.text or "")
    }
    assert quarter == pytest.approx(axis["0 %"] + (axis["100 %"] - axis["0 %"]) / 4, abs=0.1)
    assert three - quarter == pytest.approx((axis["100 %"] - axis["0 %"]) / 2, abs=0.1)


def test_better_is_to_the_right_whatever_the_direction() -> None:
    root = parsed(
        differences_svg(
            [
                compared("exact_match", "better", 0.2, low=0.1, high=0.3),
                compared("latency", "better", -0.2, low=-0.3, high=-0.1, direction="lower", unit="s"),
                compared("answer_f1", "worse", -0.2, low=-0.3, high=-0.1),
                compared("hit@4", "not enough data", 0.01, low=-0.1, high=0.1, needed=1192),
                compared("cost", "not enough data", None, needed=None, unit="USD"),
            ]
        )
    )
    places = [float(node.attrib["cx"]) for node in root.iter(f"{NAME}circle")]
    assert places[0] == places[1] > places[2]
    said = texts(root)
    assert {"+20.0 (+10.0 to +30.0)", "−200 ms (−300 ms to −100 ms)", "nothing to compare"} <= set(said)
    assert "+1.0; 50 rows, needs 1,192" in said
    assert said.count("better") == 2
    assert "nothing was compared" in texts(parsed(differences_svg([])))


def test_latency_as_shares_of_runs() -> None:
    root = parsed(latency_svg({"a": [0.1 * i for i in range(1, 101)], "b": [0.5, None, 2.0], "c": []}))
    described = root.findtext(f"{NAME}desc") or ""
    assert "a: 100 runs, 50 % within 5.00 s, 95 % within 9.50 s" in described
    assert "b: 2 runs" in described
    assert "1 runs without a time" in described
    many = latency_svg({"a": [0.001 * i for i in range(1, 20_001)]})
    assert len(many) < 30_000
    assert "no times" in texts(parsed(latency_svg({"a": [None]})))
    parsed(latency_svg({"a": [0.25]}))


def test_lines_with_a_band() -> None:
    series = [("one", [(50.0, 0.9), (500.0, 0.95)]), ("two", [(50.0, 0.94), (500.0, 0.95)])]
    root = parsed(lines_svg(series, title="t", described="d", band=(0.93, 0.98), y_range=(0.86, 1.0)))
    assert {"one", "two", "50", "500"} <= set(texts(root))
    assert len(list(root.iter(f"{NAME}path"))) == 2
    parsed(lines_svg([], title="t", described="d"))
    parsed(lines_svg([("one", [(1.0, 3.0)])], title="t", described="d"))


NUMBERS = st.one_of(st.none(), st.floats(-1e12, 1e12))


@given(st.text(), NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["share", "s", "", "tokens"]))
def test_any_measurement_is_drawn(
    name: str, value: float | None, low: float | None, high: float | None, unit: str
) -> None:
    parsed(intervals_svg([measured(name, value, low, high, unit)], title="t"))
    parsed(differences_svg([compared(name, "worse", value, low=low, high=high, unit=unit)], title="t"))


def test_foreign_text_stays_text() -> None:
    picture = intervals_svg([measured('<script>"&\x00\ud800', 0.5, 0.4, 0.6, "share")], title="a < b")
    root = parsed(picture)
    assert "<script" not in picture
    assert "a < b" in texts(root)
    assert escape("\x07\ufffe") == "\ufffd\ufffd"


def test_a_file_of_its_own_follows_the_readers_mode() -> None:
    picture = standalone(intervals_svg([measured("a", 0.5, 0.4, 0.6, "share")]))
    ElementTree.fromstring(picture)
    assert "prefers-color-scheme:dark" in picture


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0, 7, [0, 2, 4, 6]), (-0.3, 0.3, [-0.2, 0, 0.2]), (3, 3, [3])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_short_numbers() -> None:
    assert [short(0.1234, "share"), short(0.0004, "s"), short(12.345, "s")] == ["12.3 %", "0.4 ms", "12.35 s"]
    assert [short(12345.6, "tokens"), short(0.00037, "USD"), short(None), short(float("nan"))] == [
        "12,346 tokens",
        "0.00037 USD",
        "–",
        "–",
    ]
    assert re.fullmatch(r"-?[\d.]+", svg.number(-0.001)) is not None
