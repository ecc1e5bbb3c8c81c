"""Self-Shot on Self-VIS and Self-OVIS: fixed pairs of the split, 1-shot, 5-shot and 5+(n), by instances and classes.

Oracle supports are the first k of a query's fixed list; with ``--pool`` there are also retrieved and random ones. One
network serves all numbers of shots. AP50 is over all episodes as one class; the mean over classes stands beside it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from fewmask.datasets.ytvis import read_ytvis
from fewmask.pipelines.benchmarks.bench import Bench
from fewmask.pipelines.benchmarks.layout import check_frames
from fewmask.pipelines.benchmarks.paper import (
    BY_CLASSES,
    BY_INSTANCES,
    OWN_SEGMENTS,
    SELF_OVIS,
    SELF_VIS,
    SHOTS,
    TRANSPLANTED,
)
from fewmask.pipelines.benchmarks.report import Row, Table
from fewmask.pipelines.benchmarks.selfshot_runner import OWN, SelfShotRunner, percent
from fewmask.selfshot.evaluate import score_episodes

COMMON = "An episode per query asks for all its held-out classes, with k supports of each; objects count as one class."
SHOWN_SHOTS = {1: "1", 5: "5", 6: "5+1", 8: "5+3", 10: "5+5"}


def check_data(places: Mapping[str, Path]) -> None:
    """Whether every frame is there.

    Raises:
        DatasetError: names the first that is not; or the annotation file is malformed.
    """
    dataset = read_ytvis(places["train"])
    check_frames(places["train frames"], [name for video in dataset.videos for name in video.file_names])


def tables(bench: Bench) -> Iterator[Table]:
    """Table 1 (or Table 3's column of Self-OVIS), then Table 4 with the best supports that there are."""
    runner = SelfShotRunner(bench)
    kinds = ("random", "retrieved", "oracle") if bench.request.pool else ("oracle",)
    paper = SELF_VIS if bench.request.name == "self-vis" else SELF_OVIS
    note = f"{len(runner.pairs)} queries of the test part, AP50 pooled; k supports are the first k of a fixed list."
    if bench.request.wanted("shots"):
        rows = []
        for kind in kinds:
            scores = {k: score_episodes(runner.test, *runner.found(kind, k)) for k in SHOTS}
            printed = {SHOWN_SHOTS[k]: value for k, value in paper.get(kind, {}).items()}
            rows.append(Row(kind, {SHOWN_SHOTS[k]: percent(one.pooled) for k, one in scores.items()}, printed))
            means = {SHOWN_SHOTS[k]: percent(one.mean) for k, one in scores.items()}
            rows.append(Row(f"{kind}, mean over classes", means))
        yield Table("AP50 by shots", tuple(rows), note)
    best = "retrieved" if bench.request.pool else "oracle"
    if bench.request.wanted("segments"):
        rows = [Row(f"{kind} segments", runner.percents(kind), OWN_SEGMENTS[kind]) for kind in OWN]
        rows.append(Row(f"{best} supports", runner.percents(best), OWN_SEGMENTS["retrieved"]))
        yield Table("Supported by its own segments", tuple(rows), "Pieces of the query in place of other videos.")
    grouped = f"{best} supports; the paper's are retrieved."
    if bench.request.wanted("instances"):
        printed_rows = BY_INSTANCES if bench.request.name == "self-vis" else {}
        yield Table("By number of instances", _groups(runner, best, runner.instances, 5, printed_rows), grouped)
    if "classes" in bench.benchmark.tables and bench.request.wanted("classes"):
        yield Table("By number of classes", _groups(runner, best, runner.classes, 4, BY_CLASSES), grouped)
    if "common" in bench.benchmark.tables and bench.request.wanted("common"):
        yield Table("Several common classes in an episode", _common(runner), COMMON)
    if "transplanted" in bench.request.tables:  # only where asked for: each row is a training
        yield Table(
            "Transplanted baselines", _transplanted(runner, bench), "Oracle supports; all trained by one recipe."
        )


def _groups(
    runner: SelfShotRunner, kind: str, counts: Mapping[int, int], most: int, paper: Mapping[str, Mapping[int, float]]
) -> tuple[Row, ...]:
    """Rows 1, 2, ..., ``most`` or more; a group without a query has no figure."""
    rows = []
    for number in range(1, most + 1):
        name = str(number) if number < most else f"{number} or more"
        figures = {}
        for k in (1, 5):
            episodes, tracks = runner.found(kind, k)
            chosen = [place for place, e in enumerate(episodes) if min(counts[e.video], most) == number]
            score = score_episodes(runner.test, [episodes[p] for p in chosen], [tracks[p] for p in chosen])
            figures[f"{k}-shot"] = percent(score.pooled) if chosen else None
        rows.append(Row(name, figures, {f"{k}-shot": value for k, value in paper.get(name, {}).items()}))
    return tuple(rows)


def _common(runner: SelfShotRunner) -> tuple[Row, ...]:
    """Rows by the number of classes that query and supports share; every object of any of them counts."""
    rows = []
    for number in range(1, 5):
        name = str(number) if number < 4 else "4 or more"
        figures = {}
        for k in (1, 5):
            episodes, tracks = runner.common(k)
            chosen = [place for place, e in enumerate(episodes) if min(len(runner.asked[e.video]), 4) == number]
            score = score_episodes(runner.merged, [episodes[p] for p in chosen], [tracks[p] for p in chosen])
            figures[f"{k}-shot"] = percent(score.pooled) if chosen else None
        rows.append(Row(name, figures, {f"{k}-shot": value for k, value in BY_CLASSES[name].items()}))
    return tuple(rows)


def _transplanted(runner: SelfShotRunner, bench: Bench) -> tuple[Row, ...]:
    """Siamese Mask R-CNN and the few-shot transformer, trained as the network itself, which comes last (Table 11)."""
    paper = TRANSPLANTED[bench.request.name]
    rivals = {"SMRCNN": runner.siamese(), "FST": runner.few_shot()}
    rows = [
        Row(name, {f"{k}-shot": percent(score_episodes(runner.test, *found(k)).pooled) for k in (1, 5)}, paper[name])
        for name, found in rivals.items()
    ]
    return (*rows, Row("this paper", runner.percents("oracle"), paper["this paper"]))
