"""Class lists and seeded splits, against the published lists written out by hand."""

from pathlib import Path

import numpy as np
import pytest

from fewmask.datasets import fsvos_folds, mini_vspw, self_shot_split, unseen_vis
from fewmask.datasets.class_names import OVIS, YTVIS_2019, YTVIS_2021
from fewmask.datasets.presence import presence_of, read_presence, video_names, write_presence
from fewmask.datasets.ytvis_types import (
    YtvisAnnotation,
    YtvisCategory,
    YtvisDataset,
    YtvisVideo,
    annotation_from_masks,
)
from fewmask.errors import ConfigError, DatasetError
from fewmask.media import rle

FOLDS = {
    1: "person skateboard snake duck train motorbike deer truck snowboard frog",
    2: "giant_panda sedan monkey cat horse giraffe owl zebra boat eagle",
    3: "lizard ape hand cow turtle leopard surfboard tiger shark earless_seal",
    4: "parrot dog rabbit fish bear fox airplane elephant mouse tennis_racket",
}
INSIDE = rle.encode(np.ones((4, 5)))


def dataset(categories: dict[int, str], classes_of: list[list[int]], *, first_id: int = 1) -> YtvisDataset:
    """One video of two frames per entry, with one object per class named in it, visible in the second frame."""
    videos, annotations = [], list[YtvisAnnotation]()
    for index, found in enumerate(classes_of):
        video = first_id + index
        videos.append(YtvisVideo(video, 5, 4, 2, (f"v{index}/0.jpg", f"v{index}/1.jpg")))
        for category in found:
            masks = [None, INSIDE]
            identity = len(annotations) + 1
            annotations.append(
                annotation_from_masks(id=identity, video_id=video, category_id=category, segmentations=masks)
            )
    names = tuple(YtvisCategory(key, name) for key, name in categories.items())
    return YtvisDataset(tuple(videos), names, tuple(annotations))


@pytest.mark.parametrize("fold", FOLDS)
def test_fsvos_folds(fold: int) -> None:
    assert [YTVIS_2019[c] for c in fsvos_folds.novel_classes(fold)] == FOLDS[fold].split()
    base = fsvos_folds.base_classes(fold)
    assert len(base) == 30
    assert not set(base) & set(fsvos_folds.novel_classes(fold))


def test_no_fold_zero() -> None:
    with pytest.raises(ConfigError, match="folds 1 to 4"):
        fsvos_folds.novel_classes(0)


def test_mini_vspw_lists() -> None:
    parts: tuple[mini_vspw.Part, ...] = ("train", "val", "test")
    names = {
        part: [sorted(mini_vspw.NAMES[c] for c in mini_vspw.classes(fold, part)) for fold in (1, 2, 3, 4)]
        for part in parts
    }
    assert all(len(found) == 15 for found in names["train"])
    assert "truck" not in names["train"][0]
    assert "billboard_or_Bulletin_Board" in names["train"][0]
    assert "book" not in names["train"][1]
    assert "tent" in names["train"][1]
    assert all("truck" in found and "book" in found for found in names["train"][2:])
    for train, val, test in zip(names["train"], names["val"], names["test"], strict=True):
        assert len(val) == len(test) == 5
        assert not set(train) & set(test)
        assert not set(train) & set(val)
        assert not set(val) & set(test)
    assert len({name for found in names["train"] for name in found}) == 22
    with pytest.raises(ConfigError):
        mini_vspw.classes(5, "test")


def test_mini_vspw_lists_a_frame_above_one_hundred_pixels() -> None:
    labels = np.zeros((30, 30), dtype=np.uint8)
    labels[:10, :10] = 57  # 100 pixels: not listed
    labels[20:, :11] = 52  # 110 pixels: listed
    found = mini_vspw.list_frames([("a", 0, labels), ("a", 3, labels), ("b", 1, labels * 0)], (57, 52))
    assert found == {52: {"a": [0, 3]}, 57: {}}


def test_class_lists_cover_the_datasets() -> None:
    full = dataset(dict(YTVIS_2019), [])
    train, held_out = self_shot_split.class_ids(full, "self-vis")
    assert sorted(train + held_out) == list(YTVIS_2019)
    assert (len(train), len(held_out)) == (30, 10)
    train, held_out = self_shot_split.class_ids(dataset(dict(OVIS), []), "self-ovis")
    assert sorted(train + held_out) == list(OVIS)
    assert (len(train), len(held_out)) == (17, 8)
    assert len(set(unseen_vis.UNSEEN)) == 16
    assert set(unseen_vis.UNSEEN) <= set(YTVIS_2019.values())


def test_self_vis_on_2021_classes_says_what_is_missing() -> None:
    with pytest.raises(DatasetError, match="categories lack owl, sedan, ape, eagle, hand;"):
        self_shot_split.class_ids(dataset(dict(YTVIS_2021), []), "self-vis")


EAGLE, COW, PERSON, DOG = 38, 15, 1, 8


def test_self_vis_split_and_pairs(tmp_path: Path) -> None:
    classes = [[EAGLE]] * 12 + [[COW, COW]] * 8 + [[PERSON]] * 5 + [[EAGLE, PERSON], []]
    whole = dataset(dict(YTVIS_2019), classes)
    parts = self_shot_split.split(whole, "self-vis")
    sizes = {part: len(found.videos) for part, found in parts.items()}
    assert sizes == {"train": 5, "val": 10, "test": 10}
    pairs = self_shot_split.pairs(parts["test"], "self-vis")
    names = set(video_names(parts["test"]).values())
    presence = presence_of(parts["test"])
    assert pairs
    for pair in pairs:
        assert pair.query not in pair.supports
        assert {pair.query, *pair.supports} == set(presence[pair.class_id])
        assert {pair.query, *pair.supports} <= names
    assert self_shot_split.split(whole, "self-vis", seed=1) != parts
    self_shot_split.write_pairs(tmp_path / "pairs.json", pairs)
    assert self_shot_split.read_pairs(tmp_path / "pairs.json") == pairs
    write_presence(tmp_path / "presence.json", presence)
    assert read_presence(tmp_path / "presence.json") == presence
    (tmp_path / "presence.json").write_text('{"5": {"a": [3, 1]}}')
    with pytest.raises(DatasetError, match="class 5, video 'a': frames must be ascending"):
        read_presence(tmp_path / "presence.json")


def test_splits_go_by_name_not_by_id_or_order() -> None:
    classes = [[EAGLE]] * 12 + [[COW]] * 8
    first = dataset(dict(YTVIS_2019), classes)
    renumbered = dataset(dict(YTVIS_2019), classes, first_id=900)
    shuffled = YtvisDataset(first.videos[::-1], first.categories, first.annotations[::-1])
    expected = set(video_names(self_shot_split.split(first, "self-vis")["val"]).values())
    for other in (renumbered, shuffled):
        assert set(video_names(self_shot_split.split(other, "self-vis")["val"]).values()) == expected


def test_self_ovis_assigns_mixed_videos_by_majority() -> None:
    person, fish = 1, 19
    parts = self_shot_split.split(
        dataset(dict(OVIS), [[person, fish], [fish, fish, person], [person], [fish]]), "self-ovis"
    )
    assert [video.id for video in parts["train"].videos] == [2, 4]
    assert sorted(v.id for part in ("val", "test") for v in parts[part].videos) == [1, 3]


def test_unseen_vis_has_the_papers_sizes() -> None:
    panda = 2
    whole = dataset(dict(YTVIS_2019), [[panda]] * 795 + [[PERSON]] * 30 + [[panda, DOG]] * 20)
    train, test = unseen_vis.split(whole)
    assert (len(train.videos), len(test.videos)) == (595, 200)
    assert not {v.id for v in train.videos} & {v.id for v in test.videos}
    assert {a.video_id for a in test.annotations} == {v.id for v in test.videos}
    assert max(v.id for v in train.videos + test.videos) <= 795
