"""The page in a real browser, where this machine has one."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from reports.page import sample

from negprompt.reports.page.render import render

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
INSTALL = "apt-get install chromium, or have one of these on the PATH: " + ", ".join(NAMES)
PHONE = {"width": 360, "height": 740}


def browser_path() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def pytest_collection_modifyitems(items):
    """Skip with the reason, or fail with it where browser tests were asked for."""
    ours = [item for item in items if item.get_closest_marker("browser")]
    lacking = "Playwright (the extra test)" if find_spec("playwright") is None else None
    lacking = lacking or (None if browser_path() else f"a Chromium: {INSTALL}")
    if not ours or not lacking:
        return
    if os.environ.get("NEGPROMPT_TEST_BROWSER") == "1":
        pytest.exit(f"Browser tests need {lacking}", returncode=1)
    for item in ours:
        item.add_marker(pytest.mark.skip(reason=f"needs {lacking}"))


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Files of the small and of the large report."""
    folder = tmp_path_factory.mktemp("pages")
    for name in ("report", "large"):
        (folder / f"{name}.html").write_text(render(getattr(sample, name)()), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def chromium():
    """A browser for a file of tests; closed after it, since Playwright keeps an event loop of its own running."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=["--disable-gpu"])  # a process less
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, pages):
    """Open a page from its file; at the end nothing was asked of the network and nothing was complained about."""
    contexts, requests, complaints = [], [], []

    def open_page(name="report", fragment="", **options):
        settings = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", "accept_downloads": True}
        context = chromium.new_context(**{**settings, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # for busy machines
        page.on("request", lambda request: requests.append(request.url))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(Path(pages / f"{name}.html").as_uri() + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url.partition("#")[0] for url in requests} <= {path.as_uri() for path in pages.iterdir()}
