"""DAVIS: recorded assignments and statistics, folders of label maps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recorded import arrays, expected, unpacked

from fewmask.errors import DatasetError
from fewmask.metrics.davis import ObjectScores, davis_figures, evaluate_davis
from fewmask.metrics.davis_unsupervised import AssignedObject, ProposalFrame, assign_proposals
from fewmask.metrics.mean_recall_decay import frame_statistics

EXPECTED = expected("davis_jf")


@pytest.mark.parametrize("name", list(EXPECTED["statistics"]))
def test_recorded_statistics(name: str) -> None:
    wanted = EXPECTED["statistics"][name]
    values = arrays("davis_jf", "statistics")[name]
    found = frame_statistics(values)
    assert found.mean == pytest.approx(wanted["mean"], abs=1e-9)
    assert found.recall == pytest.approx(wanted["recall"], abs=1e-9)
    if name.startswith("quirk_"):  # the reference keeps frame numbers in eight bits
        quarter = len(values) // 4
        assert found.decay == pytest.approx(values[:quarter].mean() - values[-quarter:].mean(), abs=0.02)
        assert frame_statistics(values, official_quirks=True).decay == wanted["decay"]
    else:
        assert found.decay == pytest.approx(wanted["decay"], abs=1e-9)


def _assigned(name: str) -> tuple[list[AssignedObject], dict[str, Any]]:
    stored = arrays("davis_jf", "unsupervised")
    gt = unpacked(stored[f"{name}.gt"], stored[f"{name}.gt_shape"])
    proposals = unpacked(stored[f"{name}.proposals"], stored[f"{name}.proposals_shape"])
    void = unpacked(stored[f"{name}.void"], gt.shape[1:]) if f"{name}.void" in stored else None
    frames = [
        ProposalFrame(
            {p: proposals[p, t] for p in range(len(proposals)) if proposals[p, t].any()},
            {o: gt[o, t] for o in range(len(gt)) if gt[o, t].any()},
            None if void is None else void[t],
        )
        for t in range(gt.shape[1])
    ]
    return assign_proposals(frames), {key.split(".")[1]: value for key, value in stored.items() if name in key}


CASES = [name for name in EXPECTED["unsupervised"] if name != "global"]


@pytest.mark.parametrize("name", CASES)
def test_recorded_assignments(name: str) -> None:
    wanted = EXPECTED["unsupervised"][name]
    rows, stored = _assigned(name)
    by_object = {row.object: row for row in rows}
    pairs = zip(wanted["assignment_proposal_rows"], wanted["assignment_object_cols"], strict=True)
    for index, (proposal, column) in enumerate(pairs):
        row = by_object[column]
        assert row.proposal in (proposal, None)
        assert row.J_per_frame == pytest.approx(stored["J"][index], abs=1e-9)
        assert row.F_per_frame == pytest.approx(stored["F"][index], abs=1e-9)
        for key, value in wanted["per_row"][index].items():
            of, part = key.split("_")
            assert getattr(getattr(row, of), part) == pytest.approx(value, abs=1e-9)


def test_recorded_figures_of_all_videos() -> None:
    scores = [
        ObjectScores(name, row.object, row.J, row.F, row.J_per_frame, row.F_per_frame)
        for name in CASES
        for row in _assigned(name)[0]
    ]
    assert davis_figures(scores) == pytest.approx(EXPECTED["unsupervised"]["global"], abs=1e-9)


def test_too_many_proposals() -> None:
    mask = np.ones((3, 4), dtype=bool)
    with pytest.raises(DatasetError, match="21 proposals"):
        assign_proposals([ProposalFrame(dict.fromkeys(range(1, 22), mask), {1: mask})])


# ---------------------------------------------------------------- folders


def _video(seed: int, frames: int = 6) -> Any:
    """Two squares that move over 40x60."""
    generator = np.random.default_rng(seed)
    maps = np.zeros((frames, 40, 60), dtype=np.uint8)
    for value in (1, 2):
        top, left = generator.integers(0, 20, 2)
        for t in range(frames):
            maps[t, top + t : top + t + 12, left + 2 * t : left + 2 * t + 15] = value
    return maps


def _saved(folder: Path, maps: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for t, labels in enumerate(maps):
        Image.fromarray(labels).save(folder / f"{t:05d}.png")
    return folder.parent


def test_semi_supervised_folders(tmp_path: Path) -> None:
    maps = _video(0)
    wrong = maps.copy()
    wrong[0] = wrong[-1] = 0  # the ends do not count
    wrong[2][wrong[2] == 2] = 0
    gt, pred = _saved(tmp_path / "gt" / "a", maps), _saved(tmp_path / "pred" / "a", wrong)
    first, second = evaluate_davis(gt, pred)
    assert (first.object, first.J.mean, first.F.mean) == (1, 1.0, 1.0)
    assert second.J_per_frame.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert second.F_per_frame.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert davis_figures([first, second])["J&F-Mean"] == pytest.approx(0.875)
    assert evaluate_davis(gt, gt)[1].J.mean == 1.0


def test_unsupervised_folders_ignore_ids_and_void(tmp_path: Path) -> None:
    maps = _video(1)
    renamed = np.choose(maps, [0, 7, 3]).astype(np.uint8)
    renamed[:, 35:, 50:] = 9
    maps[:, 35:, 50:] = 255  # void
    gt, pred = _saved(tmp_path / "gt" / "a", maps), _saved(tmp_path / "pred" / "a", renamed)
    scores = evaluate_davis(gt, pred, unsupervised=True)
    assert [score.object for score in scores] == [2, 1]  # by ascending proposal: 3, then 7
    assert all(score.J.mean == score.F.mean == 1.0 for score in scores)
    assert len(scores[0].J_per_frame) == 6


def test_one_object_in_255(tmp_path: Path) -> None:
    maps = (_video(2) > 0).astype(np.uint8)
    gt, pred = _saved(tmp_path / "gt" / "a", maps * 255), _saved(tmp_path / "pred" / "a", maps)
    for unsupervised in (False, True):
        (score,) = evaluate_davis(gt, pred, unsupervised=unsupervised)
        assert score.J.mean == score.F.mean == 1.0


def test_an_object_that_comes_late_and_one_that_goes(tmp_path: Path) -> None:
    maps = _video(3)
    maps[:3][maps[:3] == 2] = 0
    maps[4:][maps[4:] == 1] = 0
    other = maps.copy()
    other[1, 0, 0] = 2
    gt, pred = _saved(tmp_path / "gt" / "a", maps), _saved(tmp_path / "pred" / "a", other)
    first, second = evaluate_davis(gt, pred)
    assert first.J_per_frame.tolist() == [1.0] * 4
    assert second.J_per_frame.tolist() == [0.0, 1.0, 1.0, 1.0]
    first, second = evaluate_davis(gt, pred, unsupervised=True)
    assert second.J_per_frame.tolist() == [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_what_is_refused(tmp_path: Path) -> None:
    maps = _video(4)
    gt = _saved(tmp_path / "gt" / "a", maps)
    with pytest.raises(DatasetError, match="missing"):
        evaluate_davis(gt, tmp_path / "nothing")
    (tmp_path / "pred").mkdir()
    with pytest.raises(DatasetError, match="no folder for video 'a'"):
        evaluate_davis(gt, tmp_path / "pred")
    pred = _saved(tmp_path / "pred" / "a", maps[:3])
    with pytest.raises(DatasetError, match=r"00003\.png"):
        evaluate_davis(gt, pred)
    _saved(tmp_path / "pred" / "a", maps[:, :20])
    with pytest.raises(DatasetError, match="20x60"):
        evaluate_davis(gt, pred)
    _saved(tmp_path / "pred" / "a", maps + 1)
    with pytest.raises(DatasetError, match="object 3"):
        evaluate_davis(gt, pred)
    with pytest.raises(DatasetError, match="Annotations/480p"):
        evaluate_davis(_saved(tmp_path / "tree" / "Annotations" / "480p" / "a", maps).parents[1], gt)
    short = _saved(tmp_path / "short" / "a", maps[:2])
    with pytest.raises(DatasetError, match="no frame"):
        evaluate_davis(short, short)
    blank = _saved(tmp_path / "blank" / "a", maps * 0)
    with pytest.raises(DatasetError, match="no object"):
        evaluate_davis(blank, blank)
