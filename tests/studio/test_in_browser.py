"""The studio in a real Chromium: watch, correct, show examples, review, browse, run jobs."""

import json

import numpy as np
import pytest
from browsers import Page, Studio, browser
from made_runs import dense_tracks, write_run, write_video

from fewmask.datasets.ytvis import read_ytvis_results
from fewmask.media import rle
from fewmask.media.writer import VideoWriter
from fewmask.mining.mined_video import MinedMask, MinedVideo
from fewmask.mining.review_page import read_decisions
from fewmask.retrieval.pool import Pool
from fewmask.vipmt.support import read_support

pytestmark = pytest.mark.slow
LENGTH, SIZE = 120, (240, 320)
NASTY = "<img src=x onerror=alert(1)>"

# What the number in the blocks along the top of the picture is, read from the canvas.
READ_NUMBER = """() => {
  const { player } = studioViewer, { scale, x, y } = player.view();
  const context = player.canvas.getContext("2d");
  let number = 0;
  for (let bit = 0; bit < 16; bit++) {
    const pixel = context.getImageData(x + scale * (bit * 20 + 10), y + scale * 12, 1, 1).data;
    if (pixel[0] > 127) number |= 1 << bit;
  }
  return number;
}"""

NAMELESS = """() => [...document.querySelectorAll("button, input, select, canvas")]
  .filter((node) => !(node.textContent.trim() || node.ariaLabel || node.closest("label") || node.title))
  .map((node) => node.outerHTML)"""

# Where a dot of the map lies, in pixels of the page from the canvas's corner.
A_DOT = """() => {
  const canvas = document.querySelector("canvas.map"), context = canvas.getContext("2d"), { width, height } = canvas;
  const data = context.getImageData(0, 0, width, height).data, ratio = devicePixelRatio;
  for (let at = data.length - 4; at >= 0; at -= 4)
    if (data[at + 3] > 200) return [(at / 4) % width / ratio, Math.floor(at / 4 / width) / ratio];
}"""

# Where a pixel of the frame lies on the page, and how large it is there.
PLACE = """([column, row]) => {
  const { player } = studioViewer, { scale, x, y } = player.view(), box = player.canvas.getBoundingClientRect();
  const ratio = devicePixelRatio;
  return [box.left + (x + scale * column) / ratio, box.top + (y + scale * row) / ratio, scale / ratio];
}"""

IMAGES_ARE_HERE = """selector => [...document.querySelectorAll(selector)].slice(0, 3)
  .every((image) => image.complete && image.naturalWidth > 0)"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def tracks():
    return dense_tracks(LENGTH, SIZE, 4, seed=3)


@pytest.fixture
def studio(tmp_path, tracks):
    video = write_video(tmp_path / f"{NASTY.replace('/', '')}.mp4", LENGTH, SIZE, tracks=tracks)
    run = write_run(tmp_path / "run", tracks, source=video, names=("cell", NASTY))
    opened = Studio(tmp_path, run, video)
    yield opened
    opened.kill()


@pytest.fixture
def page(chromium, studio):
    opened = Page(chromium, studio)
    yield opened
    opened.close()


def entry_of(path, track):
    (entry,) = [entry for entry in json.loads(path.read_text()) if entry.get("track_id") == track]
    return [np.zeros(SIZE, bool) if mask is None else rle.decode(mask) for mask in entry["segmentations"]]


def test_watch(page):
    page.go("#/")
    page.page.locator("a.tile").first.wait_for()
    page.shot("library")
    assert NASTY in page.page.locator("main").inner_text()
    page.open_run()
    assert page.page.locator(".track").count() == 4
    for index in (0, 37, 119, 5, 64, 63):
        page.seek(index)
        assert page.page.evaluate(READ_NUMBER) == index
    page.key("ArrowRight")
    page.page.wait_for_function("() => studioViewer.player.shownIndex === 64")
    page.key("Home")
    page.page.wait_for_function("() => studioViewer.player.shownIndex === 0")
    page.shot("watch")
    selected = page.page.locator(".track[aria-selected=true]")
    first = selected.get_attribute("data-id")
    page.key("j")
    assert selected.get_attribute("data-id") != first
    page.key("k")
    assert selected.get_attribute("data-id") == first
    page.key("h")
    assert "hidden" in selected.get_attribute("class")
    assert page.page.evaluate("() => studioViewer.look(0).every(({track}) => track !== studioViewer.selected)")
    page.key("h")
    page.key("?")
    page.page.locator("dialog .keys").wait_for()
    page.shot("keys")
    page.key("Escape")


def test_what_plays_is_exact(page):
    """While the video plays, each picture that is drawn carries the number the player tells."""
    page.open_run()
    page.page.evaluate(f"""() => {{
      const read = {READ_NUMBER};
      window.seen = [];
      const {{ player }} = studioViewer, draw = player.draw.bind(player);
      player.draw = () => {{
        draw();
        if (player.playing && player.picture === player.video) seen.push([player.index, read()]);
      }};
    }}""")
    page.key("Space")
    page.page.wait_for_function("() => window.seen.length > 15 || (window.seen.length && !studioViewer.player.playing)")
    page.page.evaluate("() => studioViewer.player.pause()")
    seen = page.page.evaluate("() => window.seen")
    assert len({index for index, _ in seen}) > 3
    assert [index for index, _ in seen] == [number for _, number in seen]


def test_correct_and_export(page, studio, tracks):
    page.open_run()
    folder = studio.folder / "run"
    here = page.page
    # Merge: select track 1, press m, click track 2 in the list.
    here.locator(".track[data-id='1']").click()
    page.key("m")
    here.locator(".banner").wait_for()
    here.locator(".track[data-id='2']").click()
    page.version(1)
    assert here.locator(".track[data-id='2']").count() == 0
    # Split at frame 50.
    page.seek(50)
    page.key("s")
    page.version(2)
    here.locator(".track[data-id='5']").wait_for()
    # A mask, fixed by the brush: a stroke across the picture.
    here.locator(".track[data-id='1']").click()
    page.seek(20)
    page.key("b")
    here.locator(".banner [data-mode=brush]").wait_for()
    x, y, wide = here.evaluate(PLACE, [100, 180])
    here.mouse.move(x, y)
    here.mouse.down()
    here.mouse.move(x + 60 * wide, y, steps=5)
    here.mouse.up()
    page.shot("brush")
    page.key("Enter")
    page.version(3)
    # Undo and redo.
    page.key("u")
    page.version(4)
    page.key("Shift+U")
    page.version(5)
    page.key("c")
    page.version(6)
    here.locator("[role=tab]", has_text="History").click()
    here.locator(".history li").first.wait_for()
    page.shot("history")
    # Export by the button.
    here.get_by_role("button", name="Export corrected results").click()
    here.locator("dialog select").select_option("ytvis")
    here.locator("dialog button.primary").click()
    here.locator("dialog", has_text="Exported").wait_for()
    path = folder / "corrected" / "ytvis.json"
    assert len(read_ytvis_results(path)) == 4
    both = tracks[1] | tracks[2]
    early, late = entry_of(path, 1), entry_of(path, 5)
    for frame in range(LENGTH):
        if frame != 20:
            np.testing.assert_array_equal(early[frame], both[frame] & (frame < 50))
        np.testing.assert_array_equal(late[frame], both[frame] & (frame >= 50))
    fixed = early[20]
    assert (fixed & both[20]).sum() == both[20].sum()  # what was there stays
    assert fixed[180, 100:160].all()  # the stroke
    radius = max(2, round(max(SIZE) / 60))
    assert not fixed[180 + radius + 3 :, :].any() or both[20][180 + radius + 3 :, :].any()
    assert fixed.sum() - both[20].sum() == pytest.approx(60 * 2 * radius + np.pi * radius**2, rel=0.15)


def test_a_killed_studio_loses_no_correction(page, studio):
    page.open_run()
    page.page.locator(".track[data-id='3']").click()
    page.key("x")
    page.version(1)
    studio.restart()
    page.page.locator(".track[data-id='4']").click()
    page.key("x")
    page.version(2)
    studio.restart()
    page.open_run()
    assert page.page.evaluate("() => studioViewer.run.tracks.map(track => track.id)") == [1, 2]
    page.key("u")
    page.version(3)
    lines = (studio.folder / "run" / "corrections.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines[1:]] == ["delete", "delete", "undo"]


def test_two_tabs(chromium, page, studio):
    page.open_run()
    other = Page(chromium, studio)
    other.open_run()
    other.page.evaluate("() => clearInterval(studioViewer.watching)")  # so that it does not see the change by itself
    page.page.locator(".track[data-id='3']").click()
    page.key("x")
    page.version(1)
    other.page.locator(".track[data-id='4']").click()
    other.key("x")
    other.page.locator(".toast.bad", has_text="changed elsewhere").wait_for()
    other.shot("conflict")
    other.version(1)
    assert other.page.locator(".track[data-id='4']").count() == 1
    other.key("x")
    other.version(2)
    page.version(2)  # the first tab sees it by itself
    other.close()


def test_show_examples(page, studio):
    page.go("#/examples")
    page.page.locator("a.tile[href^='#/examples/video/']").first.click()
    page.page.wait_for_function("() => window.studioViewer?.player.shownIndex === 0")
    here = page.page
    here.get_by_label("Set of examples").fill("cells")
    here.get_by_label("Class").fill("cell")
    for against in (False, True):
        here.get_by_role("button", name="Draw what it is not" if against else "Draw an object here").click()
        here.locator(".banner [data-mode=brush]").wait_for()
        box = here.locator(".stage canvas").bounding_box()
        left, top = box["x"] + box["width"] / 2, box["y"] + box["height"] / (3 if against else 2)
        here.mouse.move(left, top)
        here.mouse.down()
        here.mouse.move(left + 40, top + 10, steps=4)
        here.mouse.up()
        page.shot("example-drawn")
        page.key("Enter")
        here.locator(".banner").wait_for(state="detached")
        here.locator(".shown" + (".against" if against else ":not(.against)")).wait_for()
    supports = read_support(studio.folder / "studio" / "examples" / "cells")
    assert list(supports.classes) == ["cell"]
    assert len(supports.negatives) == 1
    page.go("#/examples")
    here.locator(".shown").first.wait_for()
    page.shot("examples")
    here.get_by_role("button", name="Find …").click()
    here.locator("dialog input[type=checkbox]").first.check()
    here.locator("dialog button.primary").click()
    here.locator("code", has_text="--support").wait_for()
    job = here.get_by_role("listitem").first
    job.get_by_role("button", name="Cancel").click()
    job.locator(".badge", has_text="cancelled").wait_for()
    page.shot("jobs")


@pytest.fixture
def mined(tmp_path, tracks):
    video = write_video(tmp_path / "clip.mp4", LENGTH, SIZE, tracks=tracks)
    folder = tmp_path / "mined"
    frames = tuple(
        tuple(
            MinedMask(track, rle.encode(masks[t]), 0.5, 0.5 + 0.1 * track, 0.9, 0, None)
            for track, masks in tracks.items()
            if masks[t].any()
        )
        for t in range(0, LENGTH, 4)
    )
    (folder / "results").mkdir(parents=True)
    MinedVideo("clip", str(video), SIZE, 25.0, frames, 0, 0, 0, 9, frame_step=4).write(folder / "results" / "clip.json")
    (folder / "instances.json").write_text("{}")
    (folder / "manifest.json").write_text(json.dumps({"progress": {"names": ["clip"]}, "settings": {"keep_every": 2}}))
    return folder


def test_review(chromium, mined):
    studio = Studio(mined.parent, mined)
    page = Page(chromium, studio)
    page.go("#/review")
    here = page.page
    cards = here.locator(".mined")
    cards.nth(3).wait_for()
    keys = [cards.nth(place).get_attribute("data-key") for place in range(4)]
    page.key("r")
    here.locator(".mined[data-decision=rejected]").wait_for()
    page.key("a")
    here.locator(".mined[data-decision=accepted]").wait_for()
    decided = read_decisions(mined / "review.json")
    assert {f"{video}/{track}" for video, track in decided.rejected} == {keys[0]}
    assert {f"{video}/{track}" for video, track in decided.accepted} == {keys[1]}
    cards.nth(2).hover()
    here.locator(".mined img[src*='clip.webp']").wait_for()
    here.wait_for_function(IMAGES_ARE_HERE, arg=".mined img[src*='clip.webp']")
    page.shot("review")
    page.key("u")
    here.wait_for_function("() => document.querySelectorAll('.mined[data-decision=accepted]').length === 0")
    assert not read_decisions(mined / "review.json").accepted
    page.close()
    studio.kill()


class Colours:
    """An embedder for the test: the mean colour of a clip."""

    name, dimension = "colours", 3

    def embed(self, pictures):
        vectors = (pictures.reshape(len(pictures), -1, 3).mean(1) / 255 + 0.01).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def pool(tmp_path):
    chance = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / "videos" / f"video{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        colour = chance.integers(30, 220, 3)
        with VideoWriter(path, (96, 128), 25.0) as writer:
            for index in range(60):
                picture = np.empty((96, 128, 3), np.uint8)
                picture[:] = np.clip(colour + index // 3, 0, 255)
                picture[20:60, index : index + 30] = 255 - colour
                writer.write(picture)
    made = Pool.open(tmp_path / "pool")
    made.add(sorted((tmp_path / "videos").glob("*.mp4")), Colours(), seconds=1.0)
    return tmp_path / "pool"


def test_browse_a_pool(chromium, pool):
    studio = Studio(pool.parent, pool, pool.parent / "videos")
    page = Page(chromium, studio)
    page.go("#/pool")
    here = page.page
    here.locator(".clips .tile").nth(3).wait_for()
    here.wait_for_function(IMAGES_ARE_HERE, arg=".clips img")
    box = here.locator("canvas.map").bounding_box()
    spot = here.evaluate(A_DOT)
    here.mouse.move(box["x"] + spot[0], box["y"] + spot[1] - 3)
    here.locator(".preview").wait_for()
    page.shot("pool")
    here.mouse.click(box["x"] + spot[0], box["y"] + spot[1] - 3)
    here.locator("h2", has_text="Nearest to").wait_for()
    here.get_by_role("button", name="Choose ").first.click()
    here.get_by_role("button", name="Choose ").nth(1).click()
    here.locator(".tray", has_text="support").wait_for()
    here.get_by_role("button", name="Segment a video with these").click()
    here.locator("dialog button.primary").click()
    here.locator("code", has_text="--support-video").wait_for()
    job = here.get_by_role("listitem").first
    job.get_by_role("button", name="Cancel").click()
    job.locator(".badge", has_text="cancelled").wait_for()
    page.close()
    studio.kill()


def test_jobs_from_the_page(page, studio):
    """A form, the command line it equals, cancelling, resuming, and the queue after a restart of the studio."""
    page.go("#/jobs/new/segment")
    here = page.page
    here.get_by_label("Least score that is shown").fill("0.4")
    here.get_by_role("button", name="Start").click()
    job = here.get_by_role("listitem").first
    assert "--min-score 0.4" in job.locator("code").text_content()
    job.get_by_role("button", name="Cancel").click()
    job.locator(".badge", has_text="cancelled").wait_for()
    studio.restart()
    page.go("#/jobs")
    here.reload()
    job = here.get_by_role("listitem").first
    job.locator(".badge", has_text="cancelled").wait_for()
    job.get_by_role("button", name="Resume").click()
    job.locator("code", has_text="--resume").wait_for()
    job.get_by_role("button", name="Cancel").click()
    job.locator(".badge", has_text="cancelled").wait_for()


def test_dark_and_small(chromium, studio):
    page = Page(chromium, studio, dark=True, size=(1100, 720))
    page.open_run()
    assert page.page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    page.shot("dark")
    page.close()


def test_everything_can_be_reached_by_keyboard_and_is_named(page):
    """No button or field without a name, for those who hear the page."""
    for place in ("#/", "#/examples", "#/review", "#/pool", "#/jobs", "#/jobs/new/mine"):
        page.go(place)
        page.page.wait_for_timeout(500)
        nameless = page.page.evaluate(NAMELESS)
        assert nameless == []
    page.open_run()
    nameless = page.page.evaluate(NAMELESS)
    assert nameless == []
