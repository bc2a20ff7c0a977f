"""The page in a real headless Chromium: asking, sources, feedback, keyboard, phone, dark, policy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from needs import skip

pytestmark = pytest.mark.chromium

ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run --disable-quic"
).split()
QUESTION = "How much does the large crane lift?"


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
        opened = driver.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield opened
        opened.close()


class Watched:
    """A page that notes what must not happen: errors, policy violations, other hosts."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def _console(self, message: Any) -> None:
        # A refused request is logged by the browser; tests that provoke one look at the page instead.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def close(self) -> None:
        self.context.close()
        assert self.faults == []
        assert [url for url in self.requests if not url.startswith(self.url)] == []


@pytest.fixture
def visit(browser):
    watched: list[Watched] = []

    def go(server, **options) -> Any:
        watched.append(Watched(browser, server.url, **options))
        return watched[-1].page

    yield go
    for one in watched:
        one.close()


def ask(page, question: str = QUESTION) -> None:
    page.fill("textarea[name=question]", question)
    page.click("#go")
    page.wait_for_selector("article.answer:not(.draft)")


def test_ask_open_the_source_and_vote(serve, visit, project):
    server = serve("handbook")
    page = visit(server)
    ask(page)
    assert "40 tonnes" in page.inner_text(".prose")
    page.click(".prose .cite >> nth=0")
    assert page.url.endswith("#source-1")
    page.click("#source-1 a")
    page.wait_for_selector("mark#cited")
    assert "40 tonnes" in page.inner_text("mark#cited")
    assert page.evaluate(
        "(() => { const r = document.querySelector('#cited').getBoundingClientRect();"
        " return r.top >= 0 && r.bottom <= innerHeight })()"
    )
    page.goto(server.url)
    ask(page)
    page.click("label:has(input[value=down])")
    page.fill("textarea[name=comment]", "Ünclear — which crane?")
    page.click(".feedback button")
    page.wait_for_selector("text=It is recorded")
    from headrace.resources.build import ledger

    trace_id = page.get_attribute(".made a", "href").rpartition("/")[2]
    (vote,) = ledger(project).feedback(trace_id)
    assert (vote.value, vote.comment) == ("down", "Ünclear — which crane?")
    page.click(".made a")
    assert "Ünclear" in page.inner_text(".votes")
    assert page.locator(".waterfall li").count() >= 1


def test_the_cited_place_is_in_view_in_a_long_document(serve, visit):
    server = serve("handbook")
    from headrace import KnowledgeBase
    from headrace.types import Document

    text = "\n\n".join(f"Paragraph {n} says nothing of note." for n in range(3000))
    text = text.replace("Paragraph 2000 says nothing", "Paragraph 2000 names the lighthouse")
    KnowledgeBase("kb", root=server.app.root).add(Document(text, {}, "long.txt"))
    start = text.index("names the lighthouse")
    page = visit(server, viewport={"width": 360, "height": 640})
    page.goto(f"{server.url}/source?document=long.txt&start={start}&end={start + 20}#cited")
    assert page.inner_text("mark") == "names the lighthouse"
    top = page.evaluate("document.querySelector('mark').getBoundingClientRect().top")
    assert 0 < top < 640
    assert page.evaluate("scrollY") > 1000
    KnowledgeBase("kb", root=server.app.root).delete("long.txt")


def test_text_streams_and_is_replaced_by_the_answer(serve, visit):
    server = serve("slow")
    page = visit(server)
    page.fill("textarea[name=question]", "hello")
    page.click("#go")
    page.wait_for_selector(".draft .streaming")
    assert page.inner_text(".streaming").strip() == "working"
    assert page.get_attribute("#result", "aria-busy") == "true"
    assert page.is_disabled("#go")
    server.module["gate"].set()
    page.wait_for_selector("article.answer:not(.draft)")
    assert page.inner_text(".prose").strip() == "done: hello"
    page.wait_for_selector("#result[aria-busy=false]")  # said once the stream has ended, after the answer


def test_stopping_cancels_the_run(serve, visit):
    server = serve("slow")
    page = visit(server)
    for how in ("button", "escape"):
        server.module["stopped"].clear()
        page.fill("textarea[name=question]", "hello")
        page.click("#go")
        page.wait_for_selector(".draft")
        if how == "button":
            page.click("#stop")
        else:
            page.keyboard.press("Escape")
        page.wait_for_function("document.querySelector('#status').textContent === 'Stopped.'")
        assert server.module["stopped"].wait(10)
        assert page.is_hidden("#stop")


def test_keyboard_only(serve, visit, project):
    page = visit(serve("handbook"))
    keys = page.keyboard
    focused = "document.activeElement"
    assert page.evaluate(f"{focused}.name") == "question"  # ready to type
    keys.type(QUESTION)
    keys.press("Enter")
    page.wait_for_selector("article.answer:not(.draft)")
    assert "source" in page.inner_text("#status").lower()  # said aloud
    seen = []
    for _ in range(40):
        keys.press("Tab")
        seen.append(page.evaluate(f"{focused}.className || {focused}.name || {focused}.tagName"))
        outline = page.evaluate(
            f"(() => {{ const e = {focused}, seen = e.type === 'radio' ? e.nextElementSibling : e;"
            " const s = getComputedStyle(seen);"
            " return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 })()"
        )
        assert outline, f"no visible focus on {seen[-1]}"
        if page.evaluate(f"{focused}.type") == "radio":
            break
    assert "cite" in seen
    keys.press("ArrowRight")  # from "Yes" to "No"
    assert page.is_checked("input[value=down]")
    keys.press("Tab")
    keys.type("by keyboard")
    keys.press("Enter")
    page.wait_for_selector("text=It is recorded")
    from headrace.resources.build import ledger

    trace_id = page.get_attribute(".made a", "href").rpartition("/")[2]
    (vote,) = ledger(project).feedback(trace_id)
    assert (vote.value, vote.comment) == ("down", "by keyboard")


def test_shift_enter_is_a_new_line(serve, visit):
    page = visit(serve("chatty"))
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value("textarea[name=question]") == "one\ntwo"


LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 4


def test_a_phone_needs_no_sideways_scrolling(serve, visit):
    server = serve("handbook")
    page = visit(server, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    fits = "document.documentElement.scrollWidth <= 360"
    assert page.evaluate(fits)
    ask(page)
    page.tap("label:has(input[value=up])")
    assert page.evaluate(fits)
    small = page.evaluate(
        "[...document.querySelectorAll('button, .thumb, .bar nav a')].filter(e => e.checkVisibility())"
        ".map(e => [e.textContent, e.getBoundingClientRect().height]).filter(([, h]) => h < 24)"
    )
    assert small == []  # WCAG 2.5.8
    for path in ("/traces", page.get_attribute(".made a", "href"), page.get_attribute(".sources a", "href")):
        page.goto(server.url + path)
        assert page.evaluate(fits), path
    page = visit(serve("chatty"), viewport={"width": 360, "height": 740}, is_mobile=True)
    page.fill("textarea[name=question]", LONG)
    page.click("#go")
    page.wait_for_selector("article.answer:not(.draft)")
    assert page.evaluate(fits)
    page.click(".made a")
    assert page.evaluate(fits)


CONTRAST = """
() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => {
    const f = (v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b);
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return parse(getComputedStyle(document.body).backgroundColor);
  };
  const poor = [];
  for (const e of document.querySelectorAll("body *")) {
    if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const s = getComputedStyle(e), a = lum(parse(s.color)), b = lum(ground(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push([e.tagName, e.className, ratio]);
  }
  return poor;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_light_and_dark(serve, visit, scheme):
    server = serve("handbook")
    page = visit(server, color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) > 600) == (scheme == "light")
    assert page.evaluate(CONTRAST) == []
    ask(page)
    page.click("label:has(input[value=up])")
    assert page.evaluate(CONTRAST) == []
    for path in (page.get_attribute(".sources a", "href"), page.get_attribute(".made a", "href"), "/traces"):
        page.goto(server.url + path)
        assert page.evaluate(CONTRAST) == [], path


def test_states_are_shown_and_the_question_is_kept(serve, visit):
    page = visit(serve("silent"))
    assert page.is_visible(".empty")
    ask(page, "?")
    assert page.is_visible("article.abstained")
    page = visit(serve("broken"))
    page.fill("textarea[name=question]", "?")
    page.click("#go")
    page.wait_for_selector("#failed:not([hidden])")
    assert "ValueError" in page.inner_text("#failed")
    assert page.input_value("textarea[name=question]") == "?"
    page = visit(serve("chatty"))
    page.context.set_offline(True)
    page.fill("textarea[name=question]", "are you there?")
    page.click("#go")
    page.wait_for_selector("#offline:not([hidden])")
    assert page.input_value("textarea[name=question]") == "are you there?"
    page.context.set_offline(False)
    page.click("#go")
    page.wait_for_selector("article.answer:not(.draft)")
    assert page.is_hidden("#offline")


def test_refused_when_full(serve, visit):
    server = serve("slow", concurrency=1, queue=0)
    first, second = visit(server), visit(server)
    first.fill("textarea[name=question]", "one")
    first.click("#go")
    first.wait_for_selector(".draft")
    second.fill("textarea[name=question]", "two")
    second.click("#go")
    second.wait_for_selector("#failed:not([hidden])")
    assert "places are taken" in second.inner_text("#failed")
    server.module["gate"].set()


def test_without_scripts_and_with_a_key(serve, visit):
    """The whole way in a browser that runs no scripts: sign in, ask, vote. Origins are checked."""
    page = visit(serve("chatty", key="a-key-for-the-test"), java_script_enabled=False)
    assert "/sign-in" in page.url
    page.fill("input[name=key]", "wrong")
    page.click("button")
    assert "not a key" in page.inner_text("[role=alert]")
    page.fill("input[name=key]", "a-key-for-the-test")
    page.click("button")
    page.fill("textarea[name=question]", "hello")
    page.click("#go")
    assert page.inner_text(".prose").strip() == "hello"
    page.check("input[value=up]", force=True)
    page.click(".feedback button")
    assert "Thank you" in page.inner_text("h1")


def test_what_a_stranger_wrote_does_not_run(serve, visit):
    page = visit(serve("hostile"))
    ask(page, "<img src=x onerror=document.title='owned'>")
    assert "owned" not in page.title()
    assert "<script>" in page.inner_text(".prose")
    page.click(".made a")
    assert "owned" not in page.title()


def test_every_kind_of_field(serve, visit):
    page = visit(serve("typed"))
    page.fill("textarea[name=name]", "Ana")
    page.fill("input[name=count]", "3")
    page.select_option("select[name=size]", "large")
    page.click("summary")
    page.check("input[name=urgent]")
    page.fill("textarea[name=tags]", "a\nb")
    page.click("#go")
    page.wait_for_selector("article.answer table")
    assert [cell.inner_text() for cell in page.query_selector_all("td")] == [
        "Ana",
        "3",
        "large",
        "1.5",
        "True",
        "['a', 'b']",
        "a",
    ]


def test_screenshots_are_current() -> None:
    """What the README shows exists and stays small; pictures.py makes them."""
    images = Path(__file__).resolve().parents[2] / "docs" / "images"
    for name in ("page.png", "page-dark.png"):
        assert 10_000 < (images / name).stat().st_size <= 300_000
