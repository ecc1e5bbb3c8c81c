import numpy as np
import pytest
from synth_scene import COLOURS, write_scene

from fewmask.datasets.coco import read_coco
from fewmask.datasets.copy_paste import load_cut_outs
from fewmask.datasets.synth_background import Background, choose_background, load_backgrounds
from fewmask.errors import DatasetError

RULES = ("inpaint", "clean", "label")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return read_coco(write_scene(tmp_path_factory.mktemp("scene")))


def chosen(dataset, rule, seed, *, categories=frozenset(COLOURS), size=(60, 100)):
    backgrounds = load_backgrounds(dataset, rule=rule, categories=categories)
    return choose_background(np.random.default_rng(seed), backgrounds, *size, rule)


def coloured(image):
    """Pixels that only an object can have: the backgrounds are grey."""
    return np.ptp(image.astype(int), axis=2) > 60


def test_partly_annotated_images_are_no_backgrounds(dataset):
    assert len(load_backgrounds(dataset, rule="inpaint", categories={1})) == 5


def test_nothing_of_the_objects_is_left_after_painting_over(dataset):
    for seed in range(20):
        background = chosen(dataset, "inpaint", seed)
        assert background.image.shape == (60, 100, 3)
        assert coloured(background.image).mean() < 0.002
        assert not background.statics


def test_a_clean_view_holds_no_object_of_the_classes_in_use(dataset):
    for seed in range(20):
        image = chosen(dataset, "clean", seed, categories={5}).image.astype(int)
        assert not ((image[..., 2] > 200) & (image[..., 0] < 60)).any()


def test_no_clean_view_is_an_error():
    full = Background(np.zeros((40, 40, 3), np.uint8), np.ones((40, 40), bool))
    with pytest.raises(DatasetError, match="no background is free"):
        choose_background(np.random.default_rng(0), [full], 20, 20, "clean")


def test_labelled_objects_lie_where_their_colour_is(dataset):
    seen = 0
    for seed in range(20):
        background = chosen(dataset, "label", seed, categories={1, 2})
        for static in background.statics:
            assert static.category_id in (1, 2)
            inside = static.alpha == 255
            if inside.sum() < 20:
                continue
            seen += 1
            assert coloured(background.image[inside][None]).mean() > 0.9
            assert background.image[inside].mean(0).argmax() == np.argmax(COLOURS[static.category_id])
    assert seen > 20


def test_a_dataset_without_full_images_has_no_background(dataset, tmp_path):
    lone = read_coco(write_scene(tmp_path, images=1))
    with pytest.raises(DatasetError, match="no fully annotated image"):
        load_backgrounds(lone, rule="inpaint", categories={1})


@pytest.mark.parametrize("size", [(16, 300), (400, 20), (200, 300)])
def test_any_size_is_filled(dataset, size):
    for rule in RULES[::2]:
        assert chosen(dataset, rule, 0, size=size).image.shape == (*size, 3)


def test_large_images_are_reduced(tmp_path, monkeypatch):
    monkeypatch.setattr("fewmask.datasets.synth_background._MOST_PIXELS", 40_000)
    monkeypatch.setattr("fewmask.datasets.copy_paste._LONGEST_SIDE", 50)
    dataset = read_coco(write_scene(tmp_path, images=2, scale=4))
    background = load_backgrounds(dataset, rule="label", categories={2})[0]
    height, width = background.image.shape[:2]
    assert 39_000 < height * width <= 40_000
    assert background.unwanted.shape == background.statics[0].alpha.shape == (height, width)
    inside = background.statics[0].alpha == 255
    assert background.image[inside].mean(0).argmax() == 1
    for cut_out in load_cut_outs(dataset):
        assert max(cut_out.rgba.shape) == 50 + 6  # and its transparent margin
