"""Masks by a click or a box, with MobileSAM's own file and with transformers' networks."""

import os
from pathlib import Path

import numpy as np
import pytest
from made_runs import write_video
from studios import only, studio

from fewmask.errors import CheckpointError
from fewmask.media import rle

SHARED = Path(os.environ.get("FEWMASK_DATA", Path(__file__).parents[3] / "shared"))


def scene():
    """A bright disc on dark grey, uint8 [H, W, 3], and where it is."""
    rows, columns = np.ogrid[:240, :320]
    disc = (rows - 120) ** 2 + (columns - 200) ** 2 < 50**2
    picture = np.full((240, 320, 3), 40, np.uint8)
    picture[disc] = (230, 160, 40)
    return picture, disc


def iou(one, two):
    return (one & two).sum() / (one | two).sum()


@pytest.fixture(scope="module")
def mobile_sam():
    weights = SHARED / "weights" / "mobile_sam.safetensors"
    if not weights.is_file():
        pytest.skip(f"no weights at {weights}; set FEWMASK_DATA")
    return weights


@pytest.mark.slow
@pytest.mark.data
def test_mobile_sam_answers_clicks_and_boxes(mobile_sam):
    from fewmask.models.mobile_sam import MobileSam

    network = MobileSam.from_file(mobile_sam, side=512)
    picture, disc = scene()
    seen = network.embed(picture)
    assert iou(network.mask(seen, (240, 320), points=[(200, 120, True)]), disc) > 0.9
    assert iou(network.mask(seen, (240, 320), box=(148, 68, 252, 172)), disc) > 0.9
    away = network.mask(seen, (240, 320), points=[(40, 40, True), (200, 120, False)])
    assert not away[120, 200]


@pytest.mark.slow
@pytest.mark.data
def test_the_page_asks_it(mobile_sam, tmp_path):
    client, _ = studio(tmp_path, write_video(tmp_path / "clip.mp4", 3), sam=mobile_sam)
    ask = {"frame": 1, "points": [{"x": 30, "y": 30, "inside": True}], "box": None}
    counts = client.post(f"/api/media/{only(client, 'video')}/sam", json=ask).json()["counts"]
    assert rle.decode({"size": [48, 64], "counts": counts}).any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_networks_of_transformers(kind, tmp_path):
    """Random weights: what is tested is the way in and out."""
    import transformers

    from fewmask.studio.sam_prompt import TransformersSam

    if kind == "sam":
        config = transformers.SamConfig(
            vision_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 32,
                           "image_size": 128, "global_attn_indexes": [0], "output_channels": 256},
            prompt_encoder_config={"image_size": 128, "image_embedding_size": 8},
        )  # fmt: skip
        network = transformers.SamModel(config)
        processor = transformers.SamProcessor(
            transformers.SamImageProcessor(size={"longest_edge": 128}, pad_size={"height": 128, "width": 128})
        )
    else:
        network = transformers.Sam2Model(transformers.Sam2Config())
        processor = transformers.Sam2Processor(transformers.Sam2ImageProcessorFast())
    network.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    sam = TransformersSam(tmp_path)
    picture, _ = scene()
    seen = sam.embed(picture)
    assert sam.mask(seen, (240, 320), points=[(200.0, 120.0, True)], box=None).shape == (240, 320)
    assert sam.mask(seen, (240, 320), points=[(200.0, 120.0, True), (9.0, 9.0, False)], box=None).dtype == bool
    assert sam.mask(seen, (240, 320), points=[], box=(148.0, 68.0, 252.0, 172.0)).shape == (240, 320)


def test_other_weights_are_one_line(tmp_path):
    from safetensors.numpy import save_file

    from fewmask.studio.sam_prompt import load_prompted

    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    (tmp_path / "folder").mkdir()
    for weights in (tmp_path / "other.safetensors", tmp_path / "folder", tmp_path / "nothing.safetensors"):
        with pytest.raises(CheckpointError) as caught:
            load_prompted(weights)
        assert "\n" not in str(caught.value)


def test_without_weights_it_is_told(tmp_path):
    client, _ = studio(tmp_path, write_video(tmp_path / "clip.mp4", 3))
    answer = client.post(
        f"/api/media/{only(client, 'video')}/sam", json={"frame": 0, "points": [], "box": [1, 1, 9, 9]}
    )
    assert answer.status_code == 400
    assert "--sam" in answer.json()["error"]
