"""The published splits as files: parts as YouTube-VIS JSON, fixed support pairs, few-shot episodes per fold and run.

self-vis, self-ovis   train.json, val.json, test.json, val_pairs.json, test_pairs.json
unseen-vis            train.json, test.json
fsvos                 presence.json, fold_<1-4>_<I|II|II-tti>.json
"""

from pathlib import Path
from typing import Literal

from fewmask.datasets import fsvos_folds, self_shot_split, unseen_vis
from fewmask.datasets.episodes import Protocol, episodes, write_episodes
from fewmask.datasets.presence import presence_of, write_presence
from fewmask.datasets.whole_folder import refuse_overwrite, whole_folder
from fewmask.datasets.ytvis import read_ytvis
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.datasets.ytvis_write import write_ytvis
from fewmask.media.writer_lock import WriterLock

SplitName = Literal["self-vis", "self-ovis", "unseen-vis", "fsvos"]
PROTOCOLS: tuple[Protocol, ...] = ("I", "II", "II-tti")
PARTS: tuple[self_shot_split.Part, ...] = ("train", "val", "test")


def write_split(name: SplitName, source: str | Path, target: str | Path, *, runs: int = 5) -> dict[str, str]:
    """Write a split of a YouTube-VIS or OVIS file into the folder ``target``, whole or not at all.

    Args:
        name: which split.
        source: annotations, with masks.
        target: the folder to make.
        runs: of few-shot episodes; the papers average five.

    Returns:
        File name -> what it holds, for people.

    Raises:
        DatasetError: ``source`` is malformed or lacks classes or videos of the split, or ``target`` exists.
    """
    target = Path(target)
    with WriterLock.of_target(target, "fewmask convert-data"):
        refuse_overwrite(target)
        dataset = read_ytvis(source)
        with whole_folder(target) as folder:
            if name == "fsvos":
                return _fsvos(dataset, folder, runs)
            if name == "unseen-vis":
                train, test = unseen_vis.split(dataset)
                return _parts({"train": train, "test": test}, folder)
            return _self_shot(name, dataset, folder)


def _self_shot(name: self_shot_split.Benchmark, dataset: YtvisDataset, folder: Path) -> dict[str, str]:
    parts = self_shot_split.split(dataset, name)
    held = _parts({part: parts[part] for part in PARTS}, folder)
    held_out: tuple[self_shot_split.Part, ...] = ("val", "test")
    for part in held_out:
        pairs = self_shot_split.pairs(parts[part], name)
        self_shot_split.write_pairs(folder / f"{part}_pairs.json", pairs)
        held[f"{part}_pairs.json"] = f"{len(pairs)} queries with their supports"
    return held


def _parts(parts: dict[str, YtvisDataset], folder: Path) -> dict[str, str]:
    held = {}
    for name, part in parts.items():
        write_ytvis(folder / f"{name}.json", part)
        held[f"{name}.json"] = f"{len(part.videos)} videos, {len(part.annotations)} objects"
    return held


def _fsvos(dataset: YtvisDataset, folder: Path, runs: int) -> dict[str, str]:
    presence = presence_of(dataset)
    write_presence(folder / "presence.json", presence)
    held = {"presence.json": f"{len(presence)} classes"}
    for fold in fsvos_folds.FOLDS:
        for protocol in PROTOCOLS:
            found = episodes(
                presence, protocol=protocol, fold=fold, classes=fsvos_folds.novel_classes(fold), runs=range(runs)
            )
            file = f"fold_{fold}_{protocol}.json"
            write_episodes(folder / file, found, protocol=protocol)
            held[file] = f"{len(found)} episodes of {runs} runs"
    return held
