"Chromium, for tests of pages"
import contextlib, shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ('chromium','chromium-browser','google-chrome'))), None)
FLAGS = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()


@contextlib.contextmanager
def chromium(*flags):
    "A browser; the test is skipped by name where there is none"
    if CHROMIUM is None: pytest.skip('no Chromium')
    api = pytest.importorskip('playwright.sync_api')
    with api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=[*flags, *FLAGS])
        yield browser
        browser.close()
