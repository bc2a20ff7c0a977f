"""The pages of reports: the list, one report row by row, the filter, .json twins, a phone, the keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from headrace import audit, evaluate, load
from headrace.resources import build
from needs import skip

HTML = {"accept": "text/html"}
EXAMPLES = [
    {
        "id": "load",
        "inputs": {"question": "How much does the large crane lift?"},
        "expectations": {"answer": "40 tonnes", "documents": ["docs/cranes.md"]},
    },
    {
        "id": "fee",
        "inputs": {"question": "What do <b>guests</b> pay a night?"},
        "expectations": {"answer": "99 euros", "documents": ["docs/mooring.md"]},
    },
    {
        "id": "dentist",
        "inputs": {"question": "Who is the best dentist?"},
        "expectations": {"unanswerable": True},
    },
]


def page(reply: Any) -> Any:
    assert reply.status_code == 200, reply.text
    return html.fromstring(reply.text)


def words(element: Any) -> str:
    return " ".join(element.text_content().split())


@pytest.fixture(scope="module")
def report(project: Path) -> Any:
    return evaluate(load(f"{project / 'app.py'}:handbook"), EXAMPLES, ["contains", "hit@4", "latency"])


def test_the_list_leads_to_a_report(serve: Any, report: Any) -> None:
    with serve("handbook").client(headers=HTML) as http:
        listed = page(http.get("/reports"))
        (link,) = listed.xpath(f"//ol[@class='runs']//a[@href='/reports/{report.id}']")
        assert "handbook on 3 examples" in words(link)
        assert "contains 0.67" in words(link)
        assert listed.xpath("//nav//a[@href='/reports' and @aria-current='page']")
        twin = http.get("/reports.json").json()
        assert report.id in [line["id"] for line in twin["reports"]]


def test_every_row_down_to_its_passages_and_steps(serve: Any, report: Any) -> None:
    with serve("handbook").client(headers=HTML) as http:
        opened = page(http.get(f"/reports/{report.id[:16]}"))
        assert len(opened.xpath("//figure | //svg")) >= 2
        rows = opened.xpath("//div[@class='rows']/details")
        assert [row.get("id") for row in rows] == ["load", "fee", "dentist"]
        assert "as expected" in words(rows[0].xpath("summary")[0])
        wrong = words(rows[1])
        assert "found at rank 1 but the answer does not contain '99 euros'" in wrong
        assert "What do <b>guests</b> pay" in wrong, "texts are escaped"
        assert "docs/mooring.md" in wrong
        assert "expected" in wrong
        assert "retrieve" in words(rows[1].xpath(".//ol[@class='steps']")[0])
        (trace,) = rows[1].xpath(".//a[starts-with(@href, '/traces/')]/@href")
        assert http.get(trace).status_code == 200
        style = http.get("/reports.css")
        assert style.headers["content-type"].startswith("text/css")


def test_only_the_rows_that_went_wrong(serve: Any, report: Any) -> None:
    with serve("handbook").client(headers=HTML) as http:
        wrong = page(http.get(f"/reports/{report.id}?show=wrong"))
        assert [row.get("id") for row in wrong.xpath("//div[@class='rows']/details")] == ["fee"]
        twin = http.get(f"/reports/{report.id}.json?show=wrong").json()
        assert (twin["wrong"], twin["total"], [row["id"] for row in twin["rows"]]) == (1, 3, ["fee"])
        assert twin["report"]["subject"] == report.subject
        assert http.get(f"/reports/{report.id}?show=odd").status_code == 422
        assert http.get(f"/reports/{report.id}?first=-1").status_code == 422


def test_many_rows_come_in_pages(serve: Any, project: Path, report: Any) -> None:
    many = replace(
        report,
        id="many",
        rows=tuple({**report.rows[0], "id": f"r{n}"} for n in range(120)),
    )
    build.reports(project).save(many)
    with serve("handbook").client(headers=HTML) as http:
        first = page(http.get("/reports/many"))
        assert len(first.xpath("//div[@class='rows']/details")) == 50
        (further,) = first.xpath("//a[@rel='next']/@href")
        last = page(http.get(f"/reports/many{further.partition('#')[0]}".replace("first=50", "first=100")))
        assert last.xpath("//div[@class='rows']/details/@id")[0] == "r100"
        assert not last.xpath("//a[@rel='next']")
        assert last.xpath("//a[@rel='prev']")


def test_reports_that_are_not_there_or_damaged(serve: Any, project: Path, report: Any) -> None:
    build.reports(project).save(replace(report, id="damaged"))
    build.reports(project).rows_path("damaged").write_bytes(b"{}\n")
    build.reports(project).save(replace(report, id="headless"))
    (project / ".headrace" / "reports" / "headless" / "report.json").write_text("{")
    with serve("handbook").client(headers=HTML) as http:
        assert http.get("/reports/nothing-here").status_code == 404
        assert http.get("/reports/damaged").status_code == 500
        assert "headless" in words(page(http.get("/reports")))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        skip("chromium", "there is no Chromium on this machine (apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        skip("chromium", "playwright is not installed (pip install playwright)")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.mark.chromium
@pytest.mark.parametrize(("width", "scheme"), [(1000, "light"), (390, "dark")])
def test_a_row_opens_by_keyboard_on_any_screen(
    serve: Any, report: Any, browser: Any, width: int, scheme: str
) -> None:
    server = serve("handbook")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    opened.goto(f"{server.url}/reports/{report.id}")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    row = opened.locator("#fee")
    row.locator("summary").focus()
    opened.keyboard.press("Enter")
    assert row.locator(".steps").is_visible()
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert faults == []


def test_an_audit_is_shown_by_its_lines(serve: Any, project: Path) -> None:
    app = load(f"{project / 'app.py'}:handbook")
    found = audit(app, suites="direct", model="double", trials=1, only=["attacks"])
    with serve("handbook").client(headers=HTML) as http:
        (link,) = page(http.get("/reports")).xpath(f"//ol[@class='runs']//a[@href='/reports/{found.id}']")
        assert "Audit of handbook" in words(link)
        assert "not assessed" in words(link)
        opened = page(http.get(f"/reports/{found.id}"))
        assert words(opened.xpath("//h1")[0]) == "Audit of handbook"
        assert "obedient double" in words(opened)
        (cell,) = opened.xpath("//table//th[starts-with(normalize-space(.), 'attacks.direct')]")
        assert "a user takes over the application" in words(cell)
        wrong = page(http.get(f"/reports/{found.id}?show=wrong"))
        assert all("succeeded" in words(row) or "stopped" in words(row) for row in wrong.xpath("//details"))
