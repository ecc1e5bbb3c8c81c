"""The benchmarks by name: which paper's tables, where their data lie, what full scale needs. No network loads here."""

from collections.abc import Mapping
from dataclasses import dataclass

from fewmask.errors import ConfigError
from fewmask.pipelines.benchmarks import layout
from fewmask.pipelines.benchmarks.layout import Part


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: as typed.
        what: the paper and its tables.
        family: module beside this one.
        parts: the data's layout.
        tables: what can be chosen with ``--table``.
        repeats: the paper's seeds or runs.
        recipe: the paper's, in the folder recipes; None where nothing is trained or the recipe is built in.
        needs: at full scale.
    """

    name: str
    what: str
    family: str
    parts: tuple[Part, ...]
    tables: tuple[str, ...]
    repeats: int
    recipe: str | None
    needs: str


_MINVIS_TABLES = ("sparse", "post-processing", "supervised")
_TRAININGS = "18 trainings (4 shares of frames and 2 matchings, 3 seeds) of"
_FEW_SHOT = "4 trainings of 75,000 steps, then 5 runs of every class and video of 4 folds"
_SELF_SHOT = (
    "one training of 33,020 steps, three for the table transplanted, which runs where named; for retrieved supports an "
    "index of 237,000 clips (--pool)"
)
_ABLATIONS = ("components", "directions", "iou-training", "threshold")
_ALL = (
    Benchmark("minvis-ytvis19", "MinVIS on YouTube-VIS 2019: sparse labels, post-processing, supervised matching",
              "minvis", layout.YTVIS, _MINVIS_TABLES, 3, "minvis/ytvis_2019/swin_l.toml",
              f"{_TRAININGS} 6,000 steps of 32 frames; 16 GPUs in the paper"),
    Benchmark("minvis-ytvis21", "MinVIS on YouTube-VIS 2021: the same tables", "minvis", layout.YTVIS,
              _MINVIS_TABLES, 3, "minvis/ytvis_2021/swin_l.toml",
              f"{_TRAININGS} 8,000 steps of 32 frames; 16 GPUs in the paper"),
    Benchmark("minvis-ovis", "MinVIS on Occluded VIS: the same tables", "minvis", layout.OVIS, _MINVIS_TABLES, 3,
              "minvis/ovis/swin_l.toml", f"{_TRAININGS} 10,000 steps of 32 frames; 16 GPUs in the paper"),
    Benchmark("fsvos", "VIPMT on YouTube-FSVOS: four folds, protocols I, II and TTI's; J, F, VC7; ablations", "fewshot",
              layout.YTVIS_TRAIN, ("II", "I", "II-tti", *_ABLATIONS), 5, "vipmt/paper.toml",
              f"{_FEW_SHOT}; one A100 in the paper. Ablations run where named: as many again per row"),
    Benchmark("mini-vspw", "VIPMT on MiniVSPW: four folds; J, F, VC7", "fewshot", layout.VSPW, ("II",), 5,
              "vipmt/paper.toml", f"{_FEW_SHOT}; one A100 in the paper"),
    Benchmark("self-vis", "Self-Shot on Self-VIS: Tables 1, 4a by number of instances, 11, 13", "selfshot",
              layout.YTVIS_TRAIN, ("shots", "segments", "instances", "transplanted"), 1,
              "selfshot/transformer_paper.toml", _SELF_SHOT),
    Benchmark("self-ovis", "Self-Shot on Self-OVIS: Table 3's columns, 4b by number of classes, 11, 13", "selfshot",
              layout.OVIS_TRAIN, ("shots", "segments", "instances", "classes", "common", "transplanted"), 1,
              "selfshot/transformer_paper.toml",
              _SELF_SHOT),
    Benchmark("unseen-vis", "Bayesian mining on Unseen-VIS: mine on 595 videos, test on stills of 200", "unseen",
              layout.UNSEEN, ("refine",), 1, "mining/refine_maskrcnn.toml",
              "mining of 595 videos of about 180 frames, two trainings of 1,000 steps; Mask R-CNN weights"),
    Benchmark("davis16-unsupervised", "DAVIS 2016, one object: the best track and twenty tracks", "davis",
              layout.DAVIS_2016, ("tracks",), 1, None, "20 videos, minutes on a CPU with the bundled weights"),
    Benchmark("davis17-unsupervised", "DAVIS 2017 unsupervised: twenty tracks; the paper's Table 3", "davis",
              layout.DAVIS_2017, ("tracks",), 1, None, "30 videos, minutes on a CPU with the bundled weights"),
)  # fmt: skip
BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}


def benchmark_of(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"benchmark {name!r} is unknown; choose from {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
