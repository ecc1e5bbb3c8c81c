"""The review page: its files, and a real browser that accepts, rejects, filters and saves."""

import json
import shutil

import pytest
from mining_red_square import SIZE, frame

from fewmask.errors import DatasetError
from fewmask.media import rle
from fewmask.media.atomic import write_bytes
from fewmask.mining.mined_video import MinedMask, MinedVideo
from fewmask.mining.review_page import read_decisions, write_review_page
from fewmask.mining.video_job import _write_jpeg

NASTY = "a<!--<script><b>&amp"
STABILITY = {1: 0.9, 2: 0.4, 3: 0.1}


@pytest.fixture
def dataset(tmp_path):
    """Two videos, the first with three tracks of falling confidence."""
    videos = []
    for name, tracks in ((NASTY, (1, 2, 3)), ("second", (1,))):
        frames = []
        for index in range(4):
            rgb, mask = frame(index)
            _write_jpeg(tmp_path / "images" / name / f"{index:06d}.jpg", rgb)
            code = rle.encode(mask)
            frames.append(
                tuple(MinedMask(t, code, 0.5, 0.8, STABILITY[t], 0, 0.01 if t == 1 else None) for t in tracks)
            )
        videos.append(MinedVideo(name, f"{name}.mp4", SIZE, None, tuple(frames), 1.0, 1, 9, 20))
    assert write_review_page(tmp_path, videos, 2) == 4
    return tmp_path


def test_page_holds_everything_and_loads_nothing(dataset):
    page = (dataset / "review.html").read_text()
    assert page.count("</script>") == 2  # a name cannot end the data
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
    assert (dataset / "thumbnails" / "second" / "0001.jpg").read_bytes()[:2] == b"\xff\xd8"
    entries = json.loads(page.split('type="application/json">')[1].split("</script>")[0])
    assert [entry["track"] for entry in entries] == [1, 2, 3, 1]
    assert entries[0]["confidence"] == pytest.approx((0.8 * 0.9) ** 0.5, abs=1e-4)
    assert [entry["margin"] for entry in entries] == [0.01, None, None, 0.01]
    assert [entries[0][key] for key in ("first", "last", "masks")] == [0, 2, 2]


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"accepted": [], "rejected": [["a"]]}', '{"accepted": [["a", "1"]], "rejected": []}', "no json"],
)
def test_decisions_that_are_malformed(tmp_path, text):
    write_bytes(tmp_path / "review.json", text.encode())
    with pytest.raises(DatasetError, match=r"review\.json"):
        read_decisions(tmp_path / "review.json")


@pytest.mark.slow
def test_in_a_browser(dataset, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        troubles, asked = [], []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((dataset / "review.html").as_uri())
        cards = page.locator("article")
        assert cards.count() == 4
        assert (
            page.locator("article img").first.evaluate("picture => picture.decode().then(() => picture.naturalWidth)")
            == 480
        )

        page.locator("#most").fill("0.6")  # tracks 2 and 3 of the first video
        assert cards.count() == 2
        page.locator("#reject-shown").click()
        page.locator("#most").fill("1")
        page.locator("#video").select_option("second")
        assert cards.count() == 1
        page.get_by_role("button", name="Accept track 1 of second").click()
        page.locator("#video").select_option("")
        page.locator("#state").select_option("undecided")
        assert cards.count() == 1
        cards.first.focus()
        page.keyboard.press("r")
        page.keyboard.press("r")  # taken back
        page.locator("#state").select_option("")
        assert "1 accepted · 2 rejected" in page.locator("#count").inner_text()

        page.reload()  # decisions outlive the page
        assert page.locator("article.rejected").count() == 2
        page.screenshot(path=tmp_path / "review.png")
        with page.expect_download() as download:
            page.locator("#save").click()
        download.value.save_as(tmp_path / "review.json")
        browser.close()
    assert not troubles
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    decisions = read_decisions(tmp_path / "review.json")
    first = NASTY
    assert decisions.accepted == {("second", 1)}
    assert decisions.rejected == {(first, 2), (first, 3)}
    assert decisions.keep(only_accepted=False)(first, 1)
    assert not decisions.keep(only_accepted=True)(first, 1)
