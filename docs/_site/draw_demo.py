"""The README's picture, out of a run of the demo.

fewmask demo --out out/demo && python docs/_site/draw_demo.py out/demo
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from fewmask.media.frames import open_frames

SHOWN = (4, 36, 60, 84)

with open_frames(Path(sys.argv[1]) / "overlay.mp4") as overlay:
    first, second, third, fourth = (frame.rgb for frame in overlay if frame.index in SHOWN)
picture = np.vstack([np.hstack([first, second]), np.hstack([third, fourth])])
Image.fromarray(picture).save(Path(__file__).parents[1] / "images" / "demo.jpg", quality=85, optimize=True)
