"""Results of many videos measured one by one: the figures of all at once."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fewmask.datasets.ytvis import read_ytvis, read_ytvis_results
from fewmask.datasets.ytvis_types import (
    YtvisCategory,
    YtvisDataset,
    YtvisVideo,
    annotation_from_masks,
    result_from_masks,
)
from fewmask.datasets.ytvis_write import write_ytvis, write_ytvis_results
from fewmask.errors import ConfigError, DatasetError
from fewmask.media import rle
from fewmask.metrics.davis import davis_figures, evaluate_davis
from fewmask.metrics.ytvis import evaluate_ytvis
from fewmask.pipelines.many.evaluate import DavisStep, TracksStep, evaluate_many
from fewmask.pipelines.many.manifest import ListedVideo
from fewmask.pipelines.many.once import Crew

NAMES = ("one", "two", "three")
LISTED = [ListedVideo(name, f"{name}.mp4") for name in NAMES]


def masks(rng, frames):
    found = []
    for _ in range(frames):
        pixels = np.zeros((40, 60), bool)
        top, left = rng.integers(0, 20), rng.integers(0, 30)
        pixels[top : top + rng.integers(5, 20), left : left + rng.integers(5, 30)] = True
        found.append(rle.encode(pixels))
    return found


def shaken(rng, segmentations):
    """Much the same masks, so that some reach the thresholds and others do not."""
    return [rle.encode(np.roll(rle.decode(mask), rng.integers(0, 5), axis=1)) for mask in segmentations]


def found(category, score, segmentations):
    return result_from_masks(video_id=1, category_id=category, score=score, segmentations=segmentations)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Ground truth of three videos and classes, results of each video as `many segment` leaves them, and of all."""
    folder, rng = tmp_path_factory.mktemp("tracks"), np.random.default_rng(3)
    videos, annotations, results = [], [], []
    for number, name in enumerate(NAMES, start=4):
        frames = 4 + number
        videos.append(YtvisVideo(number, 60, 40, frames, tuple(f"{name}/{t:05d}.jpg" for t in range(frames))))
        own = []
        for place in range(4):
            truth = masks(rng, frames)
            category = 1 + place % 3
            annotations.append(
                annotation_from_masks(
                    id=len(annotations) + 1, video_id=number, category_id=category, segmentations=truth
                )
            )
            score = round(float(rng.choice([0.3, 0.5, 0.9])), 3)  # with ties between and inside videos
            own.append(found(category, score, shaken(rng, truth)))
            own.append(found(1 + (place + 1) % 3, round(score / 2, 3), masks(rng, frames)))
        (folder / "pred" / name).mkdir(parents=True)
        write_ytvis_results(folder / "pred" / name / "tracks.json", tuple(own))
        results += [replace(result, video_id=number) for result in own]
    categories = tuple(YtvisCategory(key, str(key)) for key in (1, 2, 3))
    write_ytvis(folder / "gt.json", YtvisDataset(tuple(videos), categories, tuple(annotations)))
    write_ytvis_results(folder / "all.json", tuple(results))
    return folder


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_tracks(tracks, tmp_path, class_agnostic):
    step = TracksStep(str(tracks / "gt.json"), str(tracks / "pred"), class_agnostic)
    measured = evaluate_many(LISTED, step, Crew(str(tmp_path)))
    dataset = read_ytvis(tracks / "gt.json")
    whole = evaluate_ytvis(dataset, read_ytvis_results(tracks / "all.json", dataset), class_agnostic=class_agnostic)
    assert measured.figures == whole.stats
    assert 0 < measured.figures["AP"] < 1


def test_what_is_missing_is_told_and_what_is_there_measured(tracks, tmp_path):
    step, told = TracksStep(str(tracks / "gt.json"), str(tracks / "pred")), []
    measured = evaluate_many([*LISTED, ListedVideo("four", "four.mp4")], step, Crew(str(tmp_path)))
    assert measured.videos == 3
    assert "no video 'four'" in measured.problems["four"]
    evaluate_many(LISTED, step, Crew(str(tmp_path)), report=lambda done, *_: told.append(done.worked_s))
    assert told == [0, 0, 0]
    with pytest.raises(ConfigError, match="another class_agnostic"):
        evaluate_many(LISTED, replace(step, class_agnostic=True), Crew(str(tmp_path)))
    with pytest.raises(DatasetError, match="none of the 1 videos"):
        evaluate_many([ListedVideo("four", "x")], step, Crew(str(tmp_path)))


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Label maps of three videos; predictions as `many segment --masks` leaves them, and as DAVIS wants them."""
    folder, rng = tmp_path_factory.mktemp("maps"), np.random.default_rng(5)
    for name in NAMES:
        for kind in ("gt", "pred", "many"):
            (folder / kind / name / ("masks" if kind == "many" else "")).mkdir(parents=True)
        for t in range(6):
            labels = np.zeros((40, 60), np.uint8)
            labels[5:20, 5 + t : 25 + t], labels[22:35, 30 - t : 50 - t] = 1, 2
            Image.fromarray(labels).save(folder / "gt" / name / f"{t:05d}.png")
            moved = np.roll(labels, rng.integers(0, 4), axis=0)
            Image.fromarray(moved).save(folder / "pred" / name / f"{t:05d}.png")
            Image.fromarray(moved).save(folder / "many" / name / "masks" / f"{t:05d}.png")
    return folder


@pytest.mark.parametrize("unsupervised", [False, True])
@pytest.mark.parametrize("pred", ["pred", "many"])
def test_label_maps(maps, tmp_path, pred, unsupervised):
    step = DavisStep(str(maps / "gt"), str(maps / pred), unsupervised)
    measured = evaluate_many(LISTED, step, Crew(str(tmp_path)))
    whole = davis_figures(evaluate_davis(maps / "gt", maps / "pred", unsupervised=unsupervised))
    assert measured.figures == pytest.approx(whole, rel=1e-12)  # another order of summing
    assert 0 < measured.figures["J&F-Mean"] < 1
