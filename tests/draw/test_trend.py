"""The picture of a quantity over time: sound XML, nothing outside of it, no colour alone."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from headrace.draw.trend import HEIGHT, WIDTH, Dot, Series, trend

SVG = "{http://www.w3.org/2000/svg}"


def picture(*series: Series, top: float | None = 1.0) -> ElementTree.Element:
    return ElementTree.fromstring(
        trend("Thumbs up", series, since=0.0, until=100.0, top=top, shown=lambda v: f"{v:.0%}")
    )


def test_values_lie_where_they_belong() -> None:
    root = picture(Series(name="a", dots=[Dot(at=0, value=0.0), Dot(at=100, value=1.0, low=0.5, high=1.0)]))
    (line,) = root.iter(f"{SVG}polyline")
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line.attrib["points"].split())
    assert x0 < x1
    assert y0 > y1  # 0 is at the bottom
    whiskers = [e for e in root.iter(f"{SVG}line") if e.attrib.get("stroke-opacity") == "0.55"]
    assert [(float(w.attrib["y1"]) - float(w.attrib["y2"])) for w in whiskers] == [
        pytest.approx((y0 - y1) / 2)
    ]


def test_names_of_strangers_are_escaped_and_said() -> None:
    root = picture(Series(name='<script>"x"&', dots=[Dot(at=50, value=0.25)]))
    assert root.attrib["aria-label"] == 'Thumbs up. Last: <script>"x"& 25%.'
    assert "script" not in {e.tag.removeprefix(SVG) for e in root.iter()}


def test_series_differ_by_more_than_colour() -> None:
    root = picture(*(Series(name=n, dots=[Dot(at=50, value=0.5)]) for n in "abc"))
    assert {e.tag.removeprefix(SVG) for e in root.iter()} >= {"circle", "rect", "path"}


@pytest.mark.parametrize("value", [0.0, 1e-9, 3.7, 1234.5, 1e12])
def test_nothing_is_drawn_outside(value: float) -> None:
    root = picture(Series(name="a", dots=[Dot(at=-50, value=value), Dot(at=500, value=value / 2)]), top=None)
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT


def test_nothing_to_show_is_a_picture_too() -> None:
    assert picture().attrib["aria-label"] == "Thumbs up. Nothing to show."
