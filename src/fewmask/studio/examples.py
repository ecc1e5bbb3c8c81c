"""Examples that a person showed: pictures with masks, kept in folders that ``segment --support`` reads as they are.

``examples/<set>/<class>/<picture>.jpg`` with ``<picture>_mask.png``; the class ``not`` holds what must not be found.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fewmask.errors import ConfigError, DatasetError
from fewmask.media import rle
from fewmask.media.atomic import whole_file, write_bytes
from fewmask.media.frame_source import RgbImage
from fewmask.media.rle import Rle
from fewmask.studio.library import NotOpenedError

NEGATIVE = "not"
_MOST = 200  # pictures of a set
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95]


@dataclass(frozen=True)
class Example:
    """One picture of a set: its class (or `NEGATIVE`) and its name there."""

    class_name: str
    name: str


class Examples:
    """The sets in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sets(self) -> dict[str, list[Example]]:
        """Every set with its pictures."""
        found: dict[str, list[Example]] = {}
        for place in sorted(self.folder.glob("*/")):
            pictures = sorted(place.glob("*/*.jpg"))
            found[place.name] = [Example(picture.parent.name, picture.stem) for picture in pictures]
        return found

    def path(self, name: str) -> Path:
        """The folder of a set.

        Raises:
            NotOpenedError: there is none.
        """
        if name not in self.sets():
            raise NotOpenedError(f"there is no set of examples {name[:60]!r}")
        return self.folder / name

    def add(self, set_name: str, class_name: str, picture: str, rgb: RgbImage, mask: Rle) -> Example:
        """Show one object; another mask of the same class on the same picture joins the one that is there.

        Args:
            set_name: of letters, digits, - and _; made if there is none yet.
            class_name: alike, or `NEGATIVE`.
            picture: what tells the picture from others, e.g. the video's name and the frame.
            rgb: uint8 [H, W, 3].
            mask: of the same size.

        Raises:
            ConfigError: a name that cannot be, or too many pictures.
            DatasetError: the mask is empty or of another size.
        """
        place = self.folder / safe_name(set_name) / safe_name(class_name)
        inside = rle.decode(mask)
        if inside.shape != rgb.shape[:2]:
            raise DatasetError(
                f"the mask is {inside.shape[1]}x{inside.shape[0]}, the picture {rgb.shape[1]}x{rgb.shape[0]}"
            )
        if not inside.any():
            raise DatasetError("the mask is empty; draw the object first")
        known = self.sets().get(set_name, [])
        if len(known) >= _MOST:
            raise ConfigError(f"{set_name}: {len(known)} examples are the most; remove some")
        example = Example(safe_name(class_name), safe_name(picture))
        mask_path = place / f"{example.name}_mask.png"
        if mask_path.exists():
            inside = inside | (np.asarray(Image.open(mask_path)) != 0)
        # The mask first: a picture without its mask would be refused by the search.
        with whole_file(mask_path) as temporary:
            Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).save(temporary)
        write_bytes(
            place / f"{example.name}.jpg",
            cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _JPEG)[1].tobytes(),
        )
        return example

    def remove(self, set_name: str, example: Example) -> None:
        """Take a picture out.

        Raises:
            NotOpenedError: there is none.
        """
        picture = self._picture(set_name, example)
        picture.unlink()
        picture.with_name(f"{example.name}_mask.png").unlink(missing_ok=True)
        if not any(picture.parent.iterdir()):
            picture.parent.rmdir()

    def outlined(self, set_name: str, example: Example) -> RgbImage:
        """The picture with its mask drawn on it, uint8 [H, W, 3]."""
        picture = self._picture(set_name, example)
        rgb = np.array(Image.open(picture).convert("RGB"))
        mask = np.asarray(Image.open(picture.with_name(f"{example.name}_mask.png"))) != 0
        colour = np.array([255, 96, 80] if example.class_name == NEGATIVE else [80, 220, 140])
        rgb[mask] = (0.6 * rgb[mask] + 0.4 * colour).astype(np.uint8)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(rgb, contours, -1, colour.tolist(), max(2, rgb.shape[1] // 300))
        return rgb

    def _picture(self, set_name: str, example: Example) -> Path:
        if example not in self.sets().get(set_name, []):
            raise NotOpenedError(f"there is no example {example.name[:60]!r} in {set_name[:60]!r}")
        return self.folder / set_name / example.class_name / f"{example.name}.jpg"


def safe_name(text: str) -> str:
    """A name as a folder's or file's name.

    Raises:
        ConfigError: nothing of it is a letter or digit.
    """
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in text.strip())[:80]
    if not any(letter.isalnum() for letter in safe):
        raise ConfigError(f"{text[:40]!r} is no name; use letters and digits")
    return safe
