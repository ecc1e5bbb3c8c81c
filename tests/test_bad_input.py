"""Whatever a program gives to a public function, only FewmaskError comes out, on one line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from moving_squares import SquareSegmenter

import fewmask
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.selfshot.segment import SelfShot

PICTURE = np.zeros((64, 96, 3), np.uint8)
MASK = np.ones((64, 96), bool)
RESULT = fewmask.VideoResult("clip", (64, 96), 1, (), {1: "cat"}, source=PICTURE)  # type: ignore[arg-type]


def streamed(source: Any, settings: Any = None) -> list[Any]:
    return list(fewmask.MinVIS(SquareSegmenter()).stream(source, settings))


def segmented(source: Any, settings: Any = None) -> Any:
    return fewmask.MinVIS(SquareSegmenter()).segment(source, settings)


CALLS: list[Callable[[], Any]] = [
    *[lambda wrong=wrong: fewmask.open_frames(wrong) for wrong in (None, 3.5, "", "gone.mp4", b"x", object(), [None])],
    lambda: fewmask.open_frames("gone.mp4", start=-1),
    *[lambda wrong=wrong: fewmask.open_frames(wrong) for wrong in ("rtsp://[::1", "http://[", "foo://x", "http://", "://")],
    *[lambda wrong=wrong: streamed(wrong) for wrong in (None, 3, "gone.mp4", PICTURE / 255, [PICTURE, None])],
    *[lambda wrong=wrong: segmented(wrong) for wrong in (None, {}, iter(()), np.zeros((3, 64, 96), np.uint8))],
    *[
        lambda wrong=wrong: segmented(PICTURE, wrong)
        for wrong in (
            {"top_k": 3}, 5, StreamSettings(top_k=0), StreamSettings(top_k="many"), StreamSettings(batch=-1),  # type: ignore[arg-type]
            StreamSettings(mode="fast"), StreamSettings(ranking=None), StreamSettings(short_side=1.5),  # type: ignore[arg-type]
            StreamSettings(linking="best"), StreamSettings(linking=3),  # type: ignore[arg-type]
        )
    ],
    lambda: fewmask.MinVIS.from_pretrained(precision="int4"),  # type: ignore[arg-type]
    lambda: fewmask.MinVIS.from_pretrained(device="tpu"),
    lambda: fewmask.MinVIS.from_pretrained(device=None),  # type: ignore[arg-type]
    lambda: fewmask.MinVIS.from_pretrained(None),  # type: ignore[arg-type]
    lambda: fewmask.MinVIS.from_pretrained(7),  # type: ignore[arg-type]
    lambda: fewmask.VIPMT.from_pretrained(None),  # type: ignore[arg-type]
    lambda: fewmask.VIPMT.from_pretrained("nowhere"),
    lambda: fewmask.VIPMT.from_pretrained("small", compat="new"),  # type: ignore[arg-type]
    *[
        lambda wrong=wrong: fewmask.VIPMT.from_pretrained("small").fit(wrong)
        for wrong in (None, 3, [], [1], [(PICTURE,)], [(PICTURE, MASK[:5])], [(PICTURE / 255, MASK)], "nowhere")
    ],
    lambda: SelfShot.from_pretrained(None),  # type: ignore[arg-type]
    lambda: SelfShot.from_pretrained("small").segment(PICTURE),
    lambda: SelfShot.from_pretrained("small").fit([]),
    lambda: fewmask.ClipIndex.open(None),  # type: ignore[arg-type]
    *[lambda wrong=wrong: fewmask.VideoResult.from_run(wrong) for wrong in (None, 7, "", "gone", "x" * 5000)],
    *[lambda wrong=wrong: fewmask.VideoResult.from_file(wrong) for wrong in (None, 7, b"x", "gone", "x" * 5000)],
    *[lambda wrong=wrong: RESULT.plot(wrong) for wrong in ("a", None, 0.5, 99)],
    *[lambda wrong=wrong: fewmask.open_frames(wrong) for wrong in ("x" * 5000, "a\0b", "~nobody/x", "y" * 300 + "/*")],
    lambda: fewmask.ClipIndex.create(3, 8),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_only_our_errors(number: int) -> None:
    with pytest.raises(fewmask.FewmaskError) as caught:
        CALLS[number]()
    assert str(caught.value)
    assert "\n" not in str(caught.value)
