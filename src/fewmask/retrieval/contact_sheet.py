"""One picture that shows a query and what was found for it: a row of frames for each clip."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fewmask.errors import FewmaskError, VideoError
from fewmask.media.atomic import whole_file
from fewmask.media.clip_place import ClipPlace
from fewmask.media.frame_source import RgbImage
from fewmask.media.frames import open_frames

_TILE = (192, 108)
_FRAMES = 5
_LABEL = 22
_GAP = 4
_BACKGROUND, _INK, _QUERY_INK = "#101014", "#e8e8ea", "#ffd166"


def draw_contact_sheet(query: ClipPlace, clips: Sequence[tuple[str, ClipPlace]], path: Path) -> None:
    """Write the query and the clips found for it as rows of frames to ``path`` (PNG or JPEG by suffix).

    What is gone or breaks keeps its row, empty, with a remark.

    Args:
        query: the part of the query video to show.
        clips: a label and the place of each.
        path: of the picture.

    Raises:
        FewmaskError: ``path`` cannot be written, or its suffix is no picture format.
    """
    named = [(f"query  {Path(query.video).name}", _QUERY_INK, query)]
    named += [(f"{rank}  {label}", _INK, place) for rank, (label, place) in enumerate(clips, 1)]
    rows: list[tuple[str, str, list[RgbImage]]] = []
    for title, ink, place in named:
        try:
            rows.append((title, ink, clip_pictures(place, _FRAMES)))
        except VideoError as error:
            rows.append((f"{title}  ({error})", ink, []))
    sheet = _paint(rows)
    try:
        with whole_file(path) as temporary:
            sheet.save(temporary)
    except ValueError as error:
        raise FewmaskError(f"{path}: not the name of a picture; end it in .png or .jpg") from error


def clip_pictures(place: ClipPlace, count: int) -> list[RgbImage]:
    """``count`` evenly spaced frames of a clip, uint8 [H, W, 3] each.

    Raises:
        VideoError: the video is gone or damaged.
    """
    wanted = set(np.linspace(place.first, place.last, count).round().astype(int).tolist())
    pictures: list[RgbImage] = []
    with open_frames(place.video, start=place.first, skip_broken=True) as frames:
        for frame in frames:
            if frame.index in wanted:
                pictures.append(frame.rgb)
            if frame.index >= place.last:
                break
    return pictures


def _paint(rows: Sequence[tuple[str, str, list[RgbImage]]]) -> Image.Image:
    width = _FRAMES * (_TILE[0] + _GAP) + _GAP
    height = len(rows) * (_LABEL + _TILE[1] + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for row, (label, ink, pictures) in enumerate(rows):
        top = _GAP + row * (_LABEL + _TILE[1] + _GAP)
        draw.text((_GAP + 2, top + 3), label, fill=ink, font=font)
        for column, rgb in enumerate(pictures[:_FRAMES]):
            tile = ImageOps.pad(Image.fromarray(rgb), _TILE, color=_BACKGROUND)
            sheet.paste(tile, (_GAP + column * (_TILE[0] + _GAP), top + _LABEL))
    return sheet
