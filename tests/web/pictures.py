"""Makes docs/images/page.png and page-dark.png: the page, asked about the project's own docs.

Run: ``python tests/web/pictures.py``. Not a test; the test that the pictures exist is in
test_browser.py.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import sync_playwright

from headrace import KnowledgeBase, load
from headrace.ops.running import Threads
from headrace.settings import load as load_settings
from headrace.web.server import make_server

ROOT = Path(__file__).resolve().parents[2]
APP = '''\
import headrace as hr

kb = hr.KnowledgeBase("kb")

@hr.app
def docs(question: str) -> hr.Answer:
    """Ask the documentation of Headrace."""
    return hr.answer(question, kb.search(question, top_k=4))
'''
QUESTION = sys.argv[1] if len(sys.argv) > 1 else "What is the difference between score and relevance?"


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    (folder / "headrace.toml").write_text('[app]\nentry = "app.py:docs"\n', encoding="utf-8")
    (folder / "app.py").write_text(APP, encoding="utf-8")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("images"))
    os.chdir(folder)
    print(KnowledgeBase("kb", root=folder).add_files("docs"))
    ready, url = threading.Event(), []
    settings = load_settings(folder)

    def started(address: str) -> None:
        url.append(address)
        ready.set()

    app = load(folder)
    settings = replace(settings, serve=replace(settings.serve, port=0))
    server = make_server(app.name, Threads(app), settings, key=None, started=started)
    threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True).start()
    assert ready.wait(20)
    images = ROOT / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, scheme in (("page", "light"), ("page-dark", "dark")):
            context = browser.new_context(
                viewport={"width": 860, "height": 780}, color_scheme=scheme, device_scale_factor=1.5
            )
            page = context.new_page()
            page.goto(url[0])
            page.fill("textarea[name=question]", QUESTION)
            for _ in range(3):  # the first answer loads the embedder
                page.keyboard.press("Enter")
                page.wait_for_selector("article.answer:not(.draft)")
                page.wait_for_selector("#go:enabled")
            page.screenshot(path=images / f"{name}.png")
            print(name, (images / f"{name}.png").stat().st_size)
        browser.close()


if __name__ == "__main__":
    main()
