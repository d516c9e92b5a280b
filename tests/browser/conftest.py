"""A headless Chromium, and a page in it that knows what it asked of the network and what went wrong."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MEASURES = (Path(__file__).parent / "measure.js").read_text(encoding="utf-8")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync", "--disable-component-update")


@dataclass
class Opened:
    """A page, the addresses that it fetched beside its own, and the errors that it logged."""

    page: object
    fetched: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def measure(self, what: str) -> list:
        """What a function of measure.js finds at fault; an empty list if all is well."""
        return self.page.evaluate(f"() => {{ {MEASURES}; return {what}(); }}")


@pytest.fixture(scope="package")  # not longer: meanwhile there is an event loop, in which Prefect's calls are others
def chromium():
    """Playwright drives the Chromium of the system, with an empty profile of its own."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("there is no Chromium here: `apt-get install chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Open a file at a width, in light or in dark."""
    pages = []

    def opened(path, width=1280, scheme="light", **how):
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, **how)
        pages.append(page)
        told = Opened(page)
        page.on("request", lambda request: told.fetched.append(request.url))
        page.on("pageerror", lambda error: told.errors.append(str(error)))
        page.on("console", lambda message: told.errors.append(message.text))
        page.goto(path.as_uri())
        told.fetched.remove(path.as_uri())
        return told

    yield opened
    for page in pages:
        page.close()
