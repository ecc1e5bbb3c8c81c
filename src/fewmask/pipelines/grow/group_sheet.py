"""A contact sheet of a group: one row per track, its object in a few moments, with what speaks for it."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fewmask.media.atomic import whole_file
from fewmask.media.frame_source import RgbImage

TILE = 112
ROWS = 12
_GAP, _LABEL, _TITLE = 4, 190, 26
_BACKGROUND, _INK, _QUIET = "#101014", "#e8e8ea", "#9a9aa2"


def draw_group(path: Path, title: str, rows: Sequence[tuple[str, Sequence[RgbImage]]], *, columns: int = 5) -> None:
    """Write a sheet (PNG or JPEG by suffix) of at most `ROWS` tracks.

    Args:
        path: of the picture.
        title: above all.
        rows: a label and the pictures of each track; a label may have several lines.
        columns: pictures per track.
    """
    shown = rows[:ROWS]
    width = _LABEL + columns * (TILE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _TITLE + max(len(shown), 1) * (TILE + _GAP) + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    rest = f"   (+ {len(rows) - ROWS} more)" if len(rows) > ROWS else ""
    draw.text((_GAP + 2, 5), title + rest, fill=_INK, font=ImageFont.load_default(15))
    small = ImageFont.load_default(12)
    for row, (label, pictures) in enumerate(shown):
        top = _TITLE + row * (TILE + _GAP)
        draw.multiline_text((_GAP + 2, top + 6), label, fill=_QUIET, font=small, spacing=5)
        for column, picture in enumerate(pictures[:columns]):
            tile = Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.BILINEAR)
            sheet.paste(tile, (_LABEL + column * (TILE + _GAP), top))
    with whole_file(path) as temporary:
        sheet.save(temporary, quality=88) if path.suffix.lower() in {".jpg", ".jpeg"} else sheet.save(temporary)
