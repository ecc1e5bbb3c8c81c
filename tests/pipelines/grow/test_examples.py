"""Hints, supports and pictures of objects."""

import numpy as np
import pytest
from PIL import Image
from small_found import SIZE, square

from fewmask.errors import ConfigError, DatasetError
from fewmask.media import rle
from fewmask.pipelines.grow.hint import meant_object, read_hint
from fewmask.pipelines.grow.kinds import Kind, Kinds, read_kinds
from fewmask.pipelines.grow.support_pictures import Example, write_supports
from fewmask.pipelines.grow.track_views import object_picture
from fewmask.vipmt.support import read_support


def _picture(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def _example(seed=0, track=0):
    return Example(_picture(seed), rle.encode(square(0, track)), f"picture {seed}")


def _masks(*boxes):
    masks = np.zeros((len(boxes), *SIZE), dtype=bool)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return masks


def test_the_meant_object_is_sure_large_and_central():
    masks = _masks((10, 20, 38, 44), (0, 0, 6, 6), (12, 22, 20, 30))
    meant = meant_object("p", _picture(), masks, np.array([0.8, 0.9, 0.6]))
    assert rle.area(meant.mask) == 28 * 24
    assert meant_object("p", _picture(), masks, np.array([0.1, 0.2, 0.1])) is None
    assert meant_object("p", _picture(), masks[:0], np.array([])) is None


def test_plain_pictures_need_the_segmenter_and_masked_ones_do_not(tmp_path):
    Image.fromarray(_picture()).save(tmp_path / "dog.jpg")
    shown, _ = read_hint([tmp_path / "dog.jpg"], lambda: lambda _: (_masks((10, 20, 38, 44)), np.array([0.9])))
    assert len(shown) == 1
    Image.fromarray(square(0, 0).astype(np.uint8) * 255).save(tmp_path / "dog.png")

    def never():
        raise AssertionError("a masked picture was given to the segmenter")

    shown, not_shown = read_hint([tmp_path], never)
    assert rle.area(shown[0].mask) == 120
    assert not not_shown


def test_what_shows_nothing_is_told(tmp_path):
    Image.fromarray(_picture()).save(tmp_path / "dog.jpg")
    with pytest.raises(DatasetError, match="no object stands out"):
        read_hint([tmp_path / "dog.jpg"], lambda: lambda _: (_masks(), np.array([])))
    with pytest.raises(ConfigError, match="no such file"):
        read_hint([tmp_path / "none.jpg"], lambda: None)


def test_supports_are_read_as_segment_reads_them(tmp_path):
    write_supports(tmp_path, "dog", [_example(0), _example(1, 1)], [_example(2, 2)])
    supports = read_support(tmp_path)
    assert list(supports.classes) == ["dog"]
    assert [picture.mask.sum() for picture in supports.classes["dog"]] == [120, 120]
    np.testing.assert_array_equal(supports.classes["dog"][1].rgb, _picture(1))
    assert len(supports.negatives) == 1


@pytest.mark.parametrize("name", ["not", "../up", "a/b", "", "жук 2"])
def test_odd_class_names_stay_inside(tmp_path, name):
    write_supports(tmp_path / "s", name, [_example()])
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert len(read_support(tmp_path / "s").classes) == 1


def test_kinds_are_read_back(tmp_path):
    vectors = np.eye(4, dtype=np.float32)
    kinds = Kinds(
        (Kind("dog", (_example(0),), vectors[:2]), Kind("cat", (_example(1),), vectors[2:3])), (), vectors[3:]
    )
    kinds.write(tmp_path)
    again = read_kinds(tmp_path, read_support(tmp_path / "supports"))
    by_name = {kind.name: kind for kind in again.kinds}
    assert set(by_name) == {"dog", "cat"}
    for kind in kinds.kinds:
        np.testing.assert_array_equal(by_name[kind.name].vectors, kind.vectors)
        np.testing.assert_array_equal(by_name[kind.name].examples[0].rgb, kind.examples[0].rgb)
        assert by_name[kind.name].examples[0].origin == kind.examples[0].origin
    np.testing.assert_array_equal(again.other_vectors, vectors[3:])


def test_a_picture_of_an_object_shows_it_and_fades_the_rest():
    rgb = np.full((100, 200, 3), 10, np.uint8)
    mask = np.zeros((100, 200), dtype=bool)
    mask[30:60, 100:140] = True
    rgb[mask] = 250
    seen = object_picture(rgb, rle.encode(mask), 96).astype(int)
    assert seen.shape == (96, 96, 3)
    assert (seen[40:56, 30:66] > 240).all()  # the object fills the middle
    assert 80 < seen[2, 2].mean() < 110  # surroundings are a quarter themselves, three quarters grey
    edge = np.zeros((100, 200), dtype=bool)
    edge[:20, :20] = True
    assert object_picture(rgb, rle.encode(edge), 64).shape == (64, 64, 3)
