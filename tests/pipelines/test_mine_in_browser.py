"""A real clip mined with the bundled models, reviewed in a real browser, and the decisions written back."""

import json
import os
import shutil
from pathlib import Path

import pytest

from fewmask.datasets.coco import read_coco
from fewmask.mining.mine_videos import apply_review
from fewmask.mining.review_page import read_decisions
from fewmask.pipelines.mine import run_mine
from fewmask.pipelines.mine_request import MineRequest

pytestmark = [pytest.mark.slow, pytest.mark.data]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    shared = Path(os.environ.get("FEWMASK_DATA", Path(__file__).parents[3] / "shared"))
    clip = shared / "data" / "pool" / "dog_run.mp4"
    if not clip.is_file():
        pytest.skip(f"no clip at {clip}; set FEWMASK_DATA")
    out = tmp_path_factory.mktemp("mined") / "out"
    run_mine(MineRequest([str(clip)], out, workers=1, device="cpu", settings={"frame_step": 12, "keep_every": 2}))
    return out


def test_accept_and_reject_in_a_browser(dataset, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        troubles = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto((dataset / "review.html").as_uri())
        tracks = json.loads(page.locator("#tracks").text_content())
        assert len(tracks) >= 2
        cards = page.locator("article")
        assert cards.count() == len(tracks)
        for index in range(len(tracks)):
            image = cards.nth(index).locator("img")
            image.scroll_into_view_if_needed()
            assert image.evaluate("picture => picture.decode().then(() => picture.naturalHeight)") == 120
        page.locator("#sort").select_option("-confidence")
        surest, doubtful = cards.first.get_attribute("data-key"), cards.last.get_attribute("data-key")
        cards.first.get_by_role("button", name="Accept").click()
        cards.last.get_by_role("button", name="Reject").click()
        with page.expect_download() as download:
            page.locator("#save").click()
        download.value.save_as(tmp_path / "review.json")
        browser.close()
    assert not troubles
    decisions = read_decisions(tmp_path / "review.json")
    assert {f"{video}/{track}" for video, track in decisions.accepted} == {surest}
    assert {f"{video}/{track}" for video, track in decisions.rejected} == {doubtful}

    rest = read_coco(apply_review(dataset, tmp_path / "review.json"), dataset / "images")
    sure = read_coco(apply_review(dataset, tmp_path / "review.json", only_accepted=True), dataset / "images")
    of = {(t["video"], t["track"]): t for t in tracks}
    assert len(sure.annotations) == of[next(iter(decisions.accepted))]["masks"]
    everything = read_coco(dataset / "instances.json", dataset / "images")
    assert len(rest.annotations) == len(everything.annotations) - of[next(iter(decisions.rejected))]["masks"]
