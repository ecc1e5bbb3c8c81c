"""The guide to the studio, followed from an unlabelled video to a corrected dataset; its pictures are made here.

``FEWMASK_GUIDE_PICTURES=1`` writes them into docs/images; ``FEWMASK_DEMO_RUN`` takes a finished run of the bundled clip
instead of making one.
"""

import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from browsers import Page, Studio, browser
from PIL import Image

from fewmask.datasets.ytvis import read_ytvis
from fewmask.media.frames import open_frames
from fewmask.media.writer import VideoWriter
from fewmask.pipelines.segment import demo_clip

DOCS = Path(__file__).parents[2] / "docs"
FRAMES = 24


def test_the_guide_names_what_there_is():
    """Keys, formats and options in the text are those of the studio."""
    from fewmask.corrections.export import FORMATS
    from fewmask.studio.app import STATIC

    text = (DOCS / "studio.md").read_text()
    for kind in FORMATS:
        assert f"`{kind}`" in text
    script = (STATIC / "js" / "corrections.js").read_text()
    for key in re.findall(r"^\| .*? \| .*?`(\w)`", text, re.MULTILINE):
        assert f'either(["{key}"' in script or f'either(["{key}",' in script, key
    for picture in re.findall(r"\((images/[\w.-]+)\)", text):
        assert (DOCS / picture).is_file(), picture


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    if os.environ.get("FEWMASK_DEMO_RUN"):
        shutil.copy(demo_clip(), folder / "video.mp4")
        return folder
    with open_frames(demo_clip()) as frames, VideoWriter(folder / "video.mp4", frames.size, frames.fps) as writer:
        for frame in frames:
            if frame.index < FRAMES:
                writer.write(frame.rgb)
    return folder


def picture(page, name):
    if os.environ.get("FEWMASK_GUIDE_PICTURES"):
        page.page.wait_for_timeout(600)
        shot = Image.open(io.BytesIO(page.page.screenshot())).convert("RGB")
        shot.save(DOCS / "images" / f"{name}.jpg", quality=80, optimize=True)
    page.shot(name)


def centre_of(page, track):
    """Where the middle of a track's mask lies on the page, and how large a pixel of the frame is there."""
    return page.page.evaluate(
        """track => {
          const { player } = studioViewer, { scale, x, y } = player.view(), box = player.canvas.getBoundingClientRect();
          const { mask } = studioViewer.masks.ready(player.index).find((found) => found.track === track);
          const ratio = devicePixelRatio, column = (mask.left + mask.right) / 2, row = (mask.top + mask.bottom) / 2;
          return [box.left + (x + scale * column) / ratio, box.top + (y + scale * row) / ratio, scale / ratio];
        }""",
        track,
    )


@pytest.mark.slow
def test_from_an_unlabelled_video_to_a_corrected_dataset(tmp_path, videos):
    paths = [videos]
    if run := os.environ.get("FEWMASK_DEMO_RUN"):
        shutil.copytree(run, tmp_path / "demo")
        paths.append(tmp_path / "demo")
    studio = Studio(tmp_path, *paths)
    with browser() as chromium:
        page = Page(chromium, studio, size=(1360, 850))
        here = page.page
        if not run:
            page.go("#/jobs/new/segment")
            here.get_by_role("button", name="Start").click()
            here.get_by_role("link", name="Open").wait_for(timeout=1_200_000)
            here.get_by_role("link", name="Open").click()
            here.wait_for_function("() => window.studioViewer?.player.shownIndex !== undefined")
        else:
            page.open_run("demo")
        here.locator(".track").first.click()
        page.seek(FRAMES // 2)
        x, y, wide = centre_of(page, int(here.locator(".track").first.get_attribute("data-id")))
        here.mouse.move(x, y)
        picture(page, "studio-watch")
        page.key("r")
        here.get_by_label("Name of the class").fill("juggler")
        here.locator("dialog button.primary").click()
        page.version(1)
        here.locator(".track[aria-selected=true]", has_text="juggler").wait_for()
        page.key("b")
        here.locator(".banner [data-mode=brush]").wait_for()
        here.mouse.move(x, y - 20 * wide)
        here.mouse.down()
        here.mouse.move(x + 30 * wide, y, steps=6)
        here.mouse.up()
        picture(page, "studio-correct")
        page.key("Enter")
        page.version(2)
        page.key("ArrowRight")
        here.wait_for_function("index => studioViewer.player.shownIndex === index", arg=FRAMES // 2 + 1)
        page.key("c")
        page.version(3)
        page.key("t")
        here.locator("dialog select").select_option("dataset")
        here.locator("dialog button.primary").click()
        here.locator("dialog", has_text="Exported").wait_for()
        written = Path(here.locator("dialog .mono").text_content())
        here.locator("dialog button").click()
        dataset = read_ytvis(written)
        assert dataset.videos[0].annotated_frames == (FRAMES // 2, FRAMES // 2 + 1)
        assert "juggler" in {category.name for category in dataset.categories}
        assert len(list((written.parent / "JPEGImages").rglob("*.jpg"))) == 2
        show_examples(page)
        page.close()
    studio.kill()
    manifest = json.loads((written.parents[2] / "manifest.json").read_text())
    assert manifest["status"] == "finished"


def show_examples(page):
    """Two objects and what they are not, as the guide's picture has them."""
    here = page.page
    page.go("#/examples")
    here.locator("a.tile[href^='#/examples/video/']").first.click()
    here.wait_for_function("() => window.studioViewer?.player.shownIndex === 0")
    here.get_by_label("Set of examples").fill("person")
    here.get_by_label("Class").fill("person")
    for number, against in enumerate((False, False, True)):
        here.evaluate("index => studioViewer.player.seek(index)", 8 * number)
        here.get_by_role("button", name="Draw what it is not" if against else "Draw an object here").click()
        here.locator(".banner [data-mode=brush]").wait_for()
        for _ in range(6):
            page.key("]")
        box = here.locator(".stage canvas").bounding_box()
        left, top = box["x"] + box["width"] * (0.3 if against else 0.55), box["y"] + box["height"] * 0.3
        here.mouse.move(left, top)
        here.mouse.down()
        here.mouse.move(left + 10, top + box["height"] * 0.3, steps=8)
        here.mouse.up()
        page.key("Enter")
        here.locator(".banner").wait_for(state="detached")
        here.locator(".shown").nth(number).wait_for()
    here.locator(".toast").first.wait_for(state="detached")
    picture(page, "studio-examples")
