"""A real studio in its own process, and a real Chromium that looks at it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

TOKEN = "a-token-for-browser-tests"
SHOTS = os.environ.get("FEWMASK_SCREENSHOTS")
"""A folder that keeps the screenshots, for a person to look at."""
SLOW_MS = 180_000  # shared machines


class Studio:
    """``fewmask studio`` as a user starts it."""

    def __init__(self, folder: Path, *paths: Path, **options: str) -> None:
        self.folder, self.paths, self.options = folder, paths, options
        self.start()

    def start(self, port: int = 0) -> None:
        words = [sys.executable, "-m", "fewmask", "studio", *map(str, self.paths), "--out", str(self.folder / "studio")]
        words += ["--port", str(port), "--token", TOKEN, "--no-browser", "--json"]
        for name, value in self.options.items():
            words += [f"--{name}", value]
        environment = {**os.environ, "FEWMASK_CACHE": str(self.folder / "cache")}
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        self.address = json.loads(self.process.stdout.readline())["address"]
        self.port = int(self.address.split(":")[2].split("/")[0])
        self.base = self.address.split("?")[0]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def restart(self) -> None:
        """At the same address, as a user would find it."""
        self.kill()
        self.start(self.port)


@contextmanager
def browser():
    """A headless Chromium; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as p:
        opened = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


class Page:
    """A tab of the studio; whatever goes wrong in its scripts fails the test."""

    def __init__(self, browser, studio: Studio, *, dark: bool = False, size=(1440, 900)) -> None:
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
        )
        self.studio, self.page, self.troubles = studio, self.context.new_page(), []
        self.page.set_default_timeout(SLOW_MS)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: self.troubles.append(f"dialog {dialog.message}"))
        foreign = []
        self.page.on("request", lambda request: foreign.append(request.url) if not self._is_own(request.url) else None)
        self.foreign = foreign
        self.page.goto(studio.address)

    def _is_own(self, url: str) -> bool:
        return url.startswith((self.studio.base, "blob:", "data:"))

    def go(self, place: str) -> None:
        self.page.goto(self.studio.base + place)

    def open_run(self, name: str | None = None) -> None:
        """From the library into a run, as a person does, until its first frame is drawn."""
        self.go("#/")
        tile = self.page.locator("a.tile[href^='#/run/']")
        (tile.filter(has_text=name) if name else tile).first.click()
        self.page.wait_for_function("() => window.studioViewer?.player.shownIndex !== undefined")

    def shown(self) -> int:
        return self.page.evaluate("() => studioViewer.player.shownIndex")

    def seek(self, index: int) -> None:
        self.page.locator("input.jump").fill(str(index))
        self.page.locator("input.jump").press("Enter")
        self.page.locator("input.jump").blur()
        self.page.wait_for_function("index => studioViewer.player.shownIndex === index", arg=index)

    def key(self, key: str) -> None:
        self.page.keyboard.press(key)

    def version(self, version: int) -> None:
        self.page.wait_for_function("version => studioViewer.run.version === version", arg=version)

    def shot(self, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.page.wait_for_timeout(400)
            self.page.screenshot(path=f"{SHOTS}/{name}.png")

    def close(self) -> None:
        self.context.close()
        assert not self.troubles
        assert not self.foreign  # works offline
