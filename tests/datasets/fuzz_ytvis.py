"""Mutates YouTube-VIS and OVIS files, reads them and evaluates what passes: only FewmaskError may come out.

    python tests/datasets/fuzz_ytvis.py --seconds 600 --seed 0

Every case is a function of (seed, number) alone; a failure prints both, and --first NUMBER --cases 1 repeats it.
"""

import argparse
import copy
import faulthandler
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fewmask.datasets.ytvis import read_ytvis, read_ytvis_results
from fewmask.datasets.ytvis_write import write_ytvis, write_ytvis_results
from fewmask.errors import FewmaskError
from fewmask.metrics.fsvos_tracks import score_fsvos_tracks
from fewmask.metrics.identities import evaluate_identities
from fewmask.metrics.ovis import evaluate_ovis
from fewmask.metrics.ytvis import evaluate_ytvis

FIXTURES = Path(__file__).parent.parent / "metrics" / "fixtures" / "ytvis_eval"
NAMES = ("formats_and_ids", "ovis_occlusion", "crowd", "many_detections")
STRANGE: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 3.0, 0.5, 1e308, -1e9, 1e9, 2**31, 2**53, 2**63, 10**400, float("nan"),
    float("inf"), "", "a", "0", "1", "../../x", "/x", "C:\\x", "a\0b", "\ud800", "o" * 40, "0" * 5000, [], [[]], {},
    [None], [0, 1], [1, 0], [[1, 2]], [[1, 2, 3, 4, 5, 6]], [[-1e3, 1e3] * 9], [[0, 0, 1e-300, 1, 1, 1]],
    {"size": [60, 80], "counts": "0"}, {"size": [60, 80], "counts": [4800]}, {"size": [60, 80], "counts": [0, 4800]},
    {"size": [60, 80], "counts": [0, 0, 0, 4800, 0, 0]}, {"size": [60, 80], "counts": "`[4"}, {"size": [60, 80]},
    {"size": [1 << 20, 1 << 20], "counts": "P"}, {"size": [80, 60], "counts": [4800]}, {"size": [2, 2], "counts": [4]},
    "no_occlusion", "severe_occlusion",
)  # fmt: skip
SECONDS_A_CASE = 60


def mutate(value: Any, chance: random.Random) -> Any:
    """A copy with one to four places changed."""
    value = copy.deepcopy(value)
    for _ in range(chance.randint(1, 4)):
        parent, key = _place(value, chance)
        if parent is None:
            return chance.choice(STRANGE)
        action = chance.random()
        old = parent[key]
        if action < 0.15:
            del parent[key]
        elif action < 0.25 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(chance.choice(parent)))
        elif action < 0.45 and isinstance(old, str) and old:
            at = chance.randrange(len(old))
            parent[key] = old[:at] + chance.choice(["", chr(chance.randint(1, 127)), old[at] * 2, "o"]) + old[at + 1 :]
        elif action < 0.65 and type(old) is int:
            parent[key] = old + chance.choice([-1, 1, 7, -old, 256])
        else:
            parent[key] = copy.deepcopy(chance.choice(STRANGE))
    return value


def vary(value: Any, chance: random.Random) -> Any:
    """A copy with changes that should pass: absent, empty and full masks, other scores, classes and areas."""
    value = copy.deepcopy(value)
    records = value["annotations"] if isinstance(value, dict) else value
    for _ in range(chance.randint(1, 30)):
        if not records:
            break
        record = chance.choice(records)
        frame = chance.randrange(len(record["segmentations"]))
        old = record["segmentations"][frame]
        height, width = old["size"] if isinstance(old, dict) else (1, 1)
        runs = chance.choice([[height * width], [0, height * width], [0, 0, 0, height * width, 0, 0]])
        change = chance.randrange(8)
        if change == 0:
            record["segmentations"][frame] = chance.choice([None, []])
        elif change == 1 and isinstance(old, dict):
            record["segmentations"][frame] = {"size": [height, width], "counts": runs}
        elif change == 2:
            record["segmentations"] = [None] * len(record["segmentations"])
        elif change == 3 and "score" in record:
            record["score"] = chance.choice([0, 1, 0.5, -3, 1e308])
        elif change == 4:
            record["category_id"] = chance.choice(records)["category_id"]
        elif change == 5 and "areas" in record:
            record["areas"][frame] = chance.choice([None, 0, 1e15, 16384, 3.5])
        elif change == 6 and "iscrowd" in record:
            record["iscrowd"] = 1
        elif change == 7:
            records.remove(record)
    return value


def _place(value: Any, chance: random.Random) -> tuple[Any, Any]:
    parent, key = None, None
    while isinstance(value, dict | list) and value and (parent is None or chance.random() < 0.8):
        parent = value
        key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        value = value[key]
    return parent, key


def spoil_bytes(data: bytes, chance: random.Random) -> bytes:
    """Cut, overwritten, doubled or padded."""
    at = chance.randrange(len(data))
    junk = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
    return chance.choice([data[:at], data[:at] + junk + data[at + len(junk) :], data[:at] + junk + data[at:], junk * 9])


def case(seed: int, number: int, folder: Path) -> str:
    """Run one case; how it ended."""
    chance = random.Random(f"{seed} {number}")
    name = chance.choice(NAMES)
    paths = {which: FIXTURES / f"{name}_{which}.json" for which in ("gt", "pred")}
    for which in chance.choice((["gt"], ["pred"], ["gt", "pred"])):
        data = paths[which].read_bytes()
        paths[which] = folder / f"{which}.json"
        kind = chance.random()
        if kind < 0.5:
            paths[which].write_text(json.dumps(vary(json.loads(data), chance)))
        elif kind < 0.6:
            paths[which].write_bytes(spoil_bytes(data, chance))
        else:
            paths[which].write_text(json.dumps(mutate(json.loads(data), chance)))
    quirks, agnostic = chance.random() < 0.5, chance.random() < 0.5
    stage = "gt"
    try:
        dataset = read_ytvis(paths["gt"])
        write_ytvis(folder / "copy.json", dataset)
        stage = "pred"
        results = read_ytvis_results(paths["pred"], dataset, lenient=quirks, any_category=agnostic)
        write_ytvis_results(folder / "copy.json", results)
        read_ytvis_results(paths["pred"])
        stage = "evaluate"
        for evaluate in (evaluate_ytvis, evaluate_ovis) if name == "ovis_occlusion" else (evaluate_ytvis,):
            scores = evaluate(dataset, results, class_agnostic=agnostic, official_quirks=quirks)
            wrong = [v for v in scores.stats.values() if v is not None and not 0 <= v <= 1 + 1e-9]
            if wrong:
                raise AssertionError(f"figures out of range: {scores.stats}")
        if not quirks:
            evaluate_identities(dataset, results, class_agnostic=agnostic)
            list(score_fsvos_tracks(dataset, results, fold_of=lambda _: 1))
    except FewmaskError as error:
        if "\n" in str(error):
            raise AssertionError("a message of several lines") from error
        return f"refused at {stage}"
    return "evaluated"


def fuzz(seed: int, *, cases: int | None = None, seconds: float | None = None, first: int = 0) -> Counter[str]:
    """Run cases until the number or the time is reached; how they ended."""
    ends: Counter[str] = Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        number = first
        while (cases is None or number < first + cases) and (seconds is None or time.monotonic() - started < seconds):
            signal.alarm(SECONDS_A_CASE)  # a case that hangs ends the process
            try:
                ends[case(seed, number, Path(folder))] += 1
            except BaseException:
                sys.stderr.write(f"seed {seed}, case {number}\n")
                raise
            finally:
                signal.alarm(0)
            number += 1
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    faulthandler.enable()
    ends = fuzz(options.seed, cases=options.cases, seconds=options.seconds, first=options.first)
    sys.stdout.write(f"{sum(ends.values())} cases: {dict(ends)}\n")


if __name__ == "__main__":
    main()
