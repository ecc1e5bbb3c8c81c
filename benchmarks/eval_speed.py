"""Evaluation speed: fewmask beside TrackEval and beside plain loops over pycocotools, on the same files, in one run.

    python benchmarks/eval_speed.py                       everything: 300 videos of 30 frames at 720p, 1,400 frames at
    480p python benchmarks/eval_speed.py --videos 20 --frames 100 --no-trackeval

Times are processor times of single-threaded processes, the median of the repetitions; each contender runs in a process
of its own, so that its peak memory can be told. TrackEval is installed from PyPI into a virtual environment below
``--cache`` (once). The plain loops are the published definitions written down call by call: two merges and two areas
for every pair of tracks in every frame, one IoU threshold and one area range after the other.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT, WIDTH, LENGTH, CLASSES, OBJECTS, DETECTIONS = 720, 1280, 30, 40, 3, 100
DAVIS_HEIGHT, DAVIS_WIDTH = 480, 854


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--frames", type=int, default=1400, help="frames of the DAVIS-sized case")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-trackeval", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "fewmask-bench")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        print(json.dumps(ROLES[options.role](options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        found = {"make": run("make", options), "ours": run("ours", options), "plain": run("plain", options)}
        if not options.no_trackeval:
            found["trackeval"] = run("trackeval", options, python=trackeval_python(options.cache))
        found["davis"] = run("davis", options)
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def run(role: str, options: argparse.Namespace, python: str = sys.executable) -> dict[str, Any]:
    command = [python, __file__, "--role", role, "--folder", str(options.folder), "--videos", str(options.videos)]
    command += ["--frames", str(options.frames), "--repeats", str(options.repeats)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads, check=False)
    if done.returncode:
        sys.exit(f"{role} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def report(found: dict[str, Any]) -> None:
    ours, plain, trackeval, davis = (found.get(name) for name in ("ours", "plain", "trackeval", "davis"))
    videos = ours["videos"]
    print(f"YouTube-VIS-sized: {videos} videos of {LENGTH} frames {WIDTH}x{HEIGHT}, {CLASSES} classes, ", end="")
    print(f"{DETECTIONS} detections a video; result file {ours['file_mb']:.0f} MB")
    print(f"  {'':12}{'evaluate':>12}{'a video':>12}{'ratio':>8}{'peak memory':>14}{'AP':>14}")
    for name, row in (("fewmask", ours), ("plain loops", plain), ("TrackEval", trackeval)):
        if row is not None:
            ratio = row["evaluate_s"] / ours["evaluate_s"]
            line = f"  {name:12}{row['evaluate_s']:10.2f} s{1000 * row['evaluate_s'] / videos:9.2f} ms{ratio:7.1f}x"
            print(f"{line}{row['peak_mb']:11.0f} MB{row['AP']:14.10f}")
    print(f"  loading: fewmask {ours['load_s']:.2f} s, values checked; ", end="")
    print(f"parsing the JSON twice {ours['parse_twice_s']:.2f} s")
    print(f"DAVIS-sized: {davis['frames']} frames {DAVIS_WIDTH}x{DAVIS_HEIGHT}, J and F")
    for name in ("ours", "plain"):
        row = davis[name]
        line = f"  {name:6} J {row['J_ms']:6.2f} ms  F {row['F_ms']:6.2f} ms a frame"
        print(f"{line}, means {row['J']:.10f} {row['F']:.10f}")
    both = [davis[name]["J_ms"] + davis[name]["F_ms"] for name in ("ours", "plain")]
    print(f"  ratio {both[1] / both[0]:.1f}x, peak memory {davis['peak_mb']:.0f} MB")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(call: Any, repeats: int) -> tuple[float, Any]:
    """Median processor seconds, and the last result."""
    times, value = [], None
    for _ in range(repeats):
        value = None
        start = time.process_time()
        value = call()
        times.append(time.process_time() - start)
    return statistics.median(times), value


# ---------------------------------------------------------------- the files


def ellipse(centre: Any, axes: Any, angle: float, height: int, width: int) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    turn = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    # A wavy outline: runs of real masks are not those of an ellipse.
    radius = 1 + 0.08 * np.sin(5 * turn + angle) + 0.04 * np.sin(11 * turn)
    x, y = radius * axes[0] * np.cos(turn), radius * axes[1] * np.sin(turn)
    points = np.stack(
        [centre[0] + x * math.cos(angle) - y * math.sin(angle), centre[1] + x * math.sin(angle) + y * math.cos(angle)],
        1,
    )
    found = coco_mask.frPyObjects([points.ravel().tolist()], height, width)[0]
    return {"size": [height, width], "counts": found["counts"].decode()}


def runs_of(rle: dict[str, Any]) -> dict[str, Any]:
    """Plain run lengths: TrackEval takes its ground truth in no other form."""
    from pycocotools import mask as coco_mask

    columns = np.concatenate([[0], coco_mask.decode(rle).ravel(order="F"), [255]])
    changes = np.flatnonzero(np.diff(columns.astype(np.int16))).tolist()
    edges = [0, *changes] if changes[0] != 0 else [0, 0, *changes[1:]]
    return {"size": rle["size"], "counts": np.diff(edges).tolist()}


def make(options: argparse.Namespace) -> dict[str, Any]:
    """Moving objects; every detection follows one of them, well or badly, mostly under another class."""
    from pycocotools import mask as coco_mask

    generator = np.random.default_rng(0)
    videos, annotations = [], []
    with (options.folder / "pred.json").open("w") as handle:
        for video in range(1, options.videos + 1):
            names = [f"v{video:04d}/{frame:05d}.jpg" for frame in range(LENGTH)]
            videos.append({"id": video, "width": WIDTH, "height": HEIGHT, "length": LENGTH, "file_names": names})
            tracks, classes = [], generator.integers(1, CLASSES + 1, OBJECTS).tolist()
            for category in classes:
                centre, axes = generator.uniform([250, 180], [1030, 540]), generator.uniform(40, 150, 2)
                step, angle = generator.uniform(-6, 6, 2), generator.uniform(0, math.pi)
                variants = [
                    [
                        ellipse(
                            centre + step * frame + generator.normal(0, error * 60, 2),
                            axes * np.clip(1 + generator.normal(0, error, 2), 0.4, 1.8),
                            angle + 0.02 * frame,
                            HEIGHT,
                            WIDTH,
                        )
                        for frame in range(LENGTH)
                    ]
                    for error in (0.0, 0.02, 0.06, 0.15)
                ]
                tracks.append(variants[1:])
                areas = [int(coco_mask.area(mask)) for mask in variants[0]]
                annotations.append(
                    {
                        "id": len(annotations) + 1, "video_id": video, "category_id": category, "iscrowd": 0,
                        "height": HEIGHT, "width": WIDTH, "length": LENGTH, "areas": areas,
                        "bboxes": [coco_mask.toBbox(mask).tolist() for mask in variants[0]],
                        "segmentations": [runs_of(mask) for mask in variants[0]],
                    }
                )  # fmt: skip
            for detection in range(DETECTIONS):
                which = int(generator.integers(OBJECTS))
                category = classes[which] if 0 < detection <= OBJECTS else int(generator.integers(1, CLASSES + 1))
                result = {
                    "video_id": video, "category_id": category, "score": round(float(generator.random()), 6),
                    "segmentations": tracks[which][int(generator.integers(3))],
                }  # fmt: skip
                handle.write(("[" if video == 1 and detection == 0 else ",") + json.dumps(result))
        handle.write("]")
    categories = [{"id": index, "name": f"class{index}"} for index in range(1, CLASSES + 1)]
    truth = {"videos": videos, "categories": categories, "annotations": annotations}
    (options.folder / "gt.json").write_text(json.dumps(truth))
    return {}


# ---------------------------------------------------------------- contenders on the tracks


def ours(options: argparse.Namespace) -> dict[str, Any]:
    from fewmask.datasets.ytvis import read_ytvis, read_ytvis_results
    from fewmask.metrics.ytvis import evaluate_ytvis

    gt, pred = options.folder / "gt.json", options.folder / "pred.json"

    def load() -> Any:
        dataset = read_ytvis(gt)
        return dataset, read_ytvis_results(pred, dataset)

    load_s, loaded = timed(load, options.repeats)
    evaluate_s, scores = timed(lambda: evaluate_ytvis(*loaded), options.repeats)
    peak = peak_mb()
    loaded = None
    parse_s, _ = timed(lambda: [json.loads(path.read_bytes()) for path in (gt, pred)], options.repeats)
    return {
        "videos": options.videos, "file_mb": pred.stat().st_size / 1e6, "load_s": load_s, "parse_twice_s": 2 * parse_s,
        "evaluate_s": evaluate_s, "AP": scores.stats["AP"], "stats": scores.stats, "peak_mb": peak,
    }  # fmt: skip


def plain(options: argparse.Namespace) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    truth = json.loads((options.folder / "gt.json").read_bytes())
    results = json.loads((options.folder / "pred.json").read_bytes())
    for annotation in truth["annotations"]:
        annotation["segmentations"] = [
            coco_mask.frPyObjects(mask, HEIGHT, WIDTH) for mask in annotation["segmentations"]
        ]
    evaluate_s, stats = timed(lambda: plain_ytvis(truth, results), options.repeats)
    return {"evaluate_s": evaluate_s, "AP": stats["AP"], "stats": stats, "peak_mb": peak_mb()}


def plain_ytvis(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """AP and AR100 by the definition, loop by loop."""
    from pycocotools import mask as coco_mask

    thresholds, grid = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)
    ranges = [(0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10)]

    def mean_area(areas: list[Any]) -> float:
        present = [area for area in areas if area]
        return float(np.mean(present)) if present else 0.0

    truths: dict[Any, list[Any]] = {}
    for number, annotation in enumerate(truth["annotations"], start=1):
        entry = {"id": number, "masks": annotation["segmentations"], "crowd": annotation["iscrowd"]}
        entry["area"] = mean_area(annotation["areas"])
        truths.setdefault((annotation["video_id"], annotation["category_id"]), []).append(entry)
    detections: dict[Any, list[Any]] = {}
    for number, result in enumerate(results, start=1):
        areas = [None if mask is None else int(coco_mask.area(mask)) for mask in result["segmentations"]]
        entry = {"id": number, "masks": result["segmentations"], "score": result["score"], "area": mean_area(areas)}
        detections.setdefault((result["video_id"], result["category_id"]), []).append(entry)

    def track_iou(first: list[Any], second: list[Any]) -> float:
        shared = covered = 0.0
        for a, b in zip(first, second, strict=True):
            if a is not None and b is not None:
                shared += coco_mask.area(coco_mask.merge([a, b], True))
                covered += coco_mask.area(coco_mask.merge([a, b], False))
            elif a is not None or b is not None:
                covered += coco_mask.area(a if a is not None else b)
        return shared / covered if covered else 0.0

    def evaluate_video(key: Any, low: float, high: float, ious: Any) -> Any:
        group, found = truths.get(key, []), sorted_detections.get(key, [])
        if not group and not found:
            return None
        ignore = [bool(g["crowd"]) or g["area"] < low or g["area"] > high for g in group]
        order = np.argsort(ignore, kind="mergesort")
        shape = (len(thresholds), len(found))
        matched, ignored = np.zeros(shape), np.zeros(shape)
        taken = np.zeros((len(thresholds), len(group)))
        for t, threshold in enumerate(thresholds):
            for d, detection in enumerate(found):
                best, held = min(threshold, 1 - 1e-10), -1
                for g in order:
                    if taken[t, g] > 0 and not group[g]["crowd"]:
                        continue
                    if held > -1 and not ignore[held] and ignore[g]:
                        break
                    if ious[d][g] < best:
                        continue
                    best, held = ious[d][g], g
                if held > -1:
                    ignored[t, d] = ignore[held]
                    matched[t, d] = group[held]["id"]
                    taken[t, held] = detection["id"]
        outside = np.array([d["area"] < low or d["area"] > high for d in found], dtype=bool)
        ignored = np.logical_or(ignored, (matched == 0) & outside)
        return [d["score"] for d in found], matched, ignored, ignore

    videos = sorted(video["id"] for video in truth["videos"])
    classes = sorted(category["id"] for category in truth["categories"])
    sorted_detections = {
        key: [group[i] for i in np.argsort([-d["score"] for d in group], kind="mergesort")[:100]]
        for key, group in detections.items()
    }
    all_ious = {
        (video, k): [
            [track_iou(d["masks"], g["masks"]) for g in truths.get((video, k), [])]
            for d in sorted_detections.get((video, k), [])
        ]
        for video in videos
        for k in classes
    }
    precision = -np.ones((len(thresholds), len(grid), len(classes), len(ranges), 3))
    recall = -np.ones((len(thresholds), len(classes), len(ranges), 3))
    for k, category in enumerate(classes):
        for a, (low, high) in enumerate(ranges):
            rows = [evaluate_video((v, category), low, high, all_ious[v, category]) for v in videos]
            rows = [row for row in rows if row is not None]
            positives = sum(not flag for row in rows for flag in row[3])
            if not rows or not positives:
                continue
            for m, most in enumerate((1, 10, 100)):
                scores = np.concatenate([row[0][:most] for row in rows])
                order = np.argsort(-scores, kind="mergesort")
                matched = np.concatenate([row[1][:, :most] for row in rows], axis=1)[:, order]
                ignored = np.concatenate([row[2][:, :most] for row in rows], axis=1)[:, order]
                true = np.cumsum(np.logical_and(matched, ~ignored), axis=1).astype(float)
                false = np.cumsum(np.logical_and(matched == 0, ~ignored), axis=1).astype(float)
                for t in range(len(thresholds)):
                    reached = true[t] / positives
                    precise = (true[t] / (false[t] + true[t] + np.spacing(1))).tolist()
                    recall[t, k, a, m] = reached[-1] if len(reached) else 0
                    for i in range(len(precise) - 1, 0, -1):
                        precise[i - 1] = max(precise[i - 1], precise[i])
                    sampled = np.zeros(len(grid))
                    for index, at in enumerate(np.searchsorted(reached, grid, side="left")):
                        if at < len(precise):
                            sampled[index] = precise[at]
                    precision[t, :, k, a, m] = sampled
    every = precision[:, :, :, 0, 2]
    best = recall[:, :, 0, 2]
    return {"AP": float(every[every > -1].mean()), "AR100": float(best[best > -1].mean())}


def trackeval_python(cache: Path) -> str:
    """The interpreter of a virtual environment that has TrackEval."""
    folder = cache / "trackeval"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    usable = python.exists() and not subprocess.run([python, "-c", "import trackeval"], check=False).returncode
    if not usable:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "trackeval"], check=True)
    return str(python)


def trackeval(options: argparse.Namespace) -> dict[str, Any]:
    """The YouTube-VIS dataset and the TrackMAP metric of TrackEval; reading its files is not timed."""
    import trackeval as peer  # type: ignore[import-not-found]

    split = "youtube_vis_train_sub_split"
    gt, tracker = options.folder / "te" / "gt" / split, options.folder / "te" / "trackers" / split / "one" / "data"
    for source, folder in (("gt.json", gt), ("pred.json", tracker)):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / source).exists():
            (folder / source).symlink_to(options.folder / source)
    quiet = {"PRINT_CONFIG": False}
    dataset = peer.datasets.YouTubeVIS(
        quiet
        | {
            "GT_FOLDER": str(options.folder / "te" / "gt") + "/",
            "TRACKERS_FOLDER": str(options.folder / "te" / "trackers") + "/",
            "OUTPUT_FOLDER": str(options.folder / "te" / "out"),
        }
    )
    ranges = {"USE_TIME_RANGES": False, "AREA_RANGES": [[0, 128**2], [128**2, 256**2], [256**2, 1e10]]}
    metric = peer.metrics.TrackMAP(quiet | ranges | {"MAX_DETECTIONS": 100})
    evaluator = peer.Evaluator(
        quiet
        | {
            "PRINT_RESULTS": False, "TIME_PROGRESS": False, "OUTPUT_SUMMARY": False, "OUTPUT_DETAILED": False,
            "PLOT_CURVES": False, "OUTPUT_EMPTY_CLASSES": False, "LOG_ON_ERROR": None,
        }
    )  # fmt: skip
    evaluate_s, (result, _) = timed(lambda: evaluator.evaluate([dataset], [metric]), 1)
    classes = result["YouTubeVIS"]["one"]["COMBINED_SEQ"]
    values = [np.asarray(v["TrackMAP"]["AP_all"]) for name, v in classes.items() if name.startswith("class")]
    defined = [value for value in values if (value > -1).all()]
    return {"evaluate_s": evaluate_s, "AP": float(np.mean(defined)), "peak_mb": peak_mb()}


# ---------------------------------------------------------------- J and F


def davis(options: argparse.Namespace) -> dict[str, Any]:
    import cv2
    from pycocotools import mask as coco_mask

    from fewmask.metrics import contour_accuracy, region_similarity

    cv2.setNumThreads(1)
    generator = np.random.default_rng(1)
    pairs = []
    for frame in range(options.frames):
        if frame % 70 == 0:  # a new sequence
            centre, axes = generator.uniform([250, 150], [600, 330]), generator.uniform(40, 170, 2)
            step, angle = generator.uniform(-2, 2, 2), generator.uniform(0, math.pi)
        places = [centre + step * (frame % 70), centre + step * (frame % 70) + generator.normal(0, 3, 2)]
        sizes = [axes, axes * (1 + generator.normal(0, 0.04, 2))]
        pairs.append([ellipse(p, s, angle, DAVIS_HEIGHT, DAVIS_WIDTH) for p, s in zip(places, sizes, strict=True)])
    radius = math.ceil(0.008 * math.hypot(DAVIS_HEIGHT, DAVIS_WIDTH))
    y, x = np.indices((2 * radius + 1, 2 * radius + 1)) - radius
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)

    def plain_region(pred: Any, gt: Any) -> float:
        void = np.zeros_like(gt)
        shared = np.sum((gt & pred) & np.logical_not(void))
        covered = np.sum((gt | pred) & np.logical_not(void))
        return float(shared / covered) if covered else 1.0

    def plain_outline(mask: Any) -> Any:
        right, lower, both = (np.zeros_like(mask) for _ in range(3))
        right[:, :-1], lower[:-1], both[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
        edge = mask ^ right | mask ^ lower | mask ^ both
        edge[-1], edge[:, -1] = mask[-1] ^ right[-1], mask[:, -1] ^ lower[:, -1]
        edge[-1, -1] = 0
        return edge

    def plain_contour(pred: Any, gt: Any) -> float:
        a, b = plain_outline(pred), plain_outline(gt)
        a_grown, b_grown = cv2.dilate(a.astype(np.uint8), disk), cv2.dilate(b.astype(np.uint8), disk)
        a_count, b_count = np.sum(a), np.sum(b)
        if a_count == 0 or b_count == 0:
            return float(a_count == b_count)
        precision, recall = np.sum(a * b_grown) / float(a_count), np.sum(b * a_grown) / float(b_count)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    metrics = {"ours": (region_similarity, contour_accuracy), "plain": (plain_region, plain_contour)}
    times: dict[str, Any] = {name: ([], []) for name in metrics}
    values: dict[str, Any] = {name: ([], []) for name in metrics}
    for encoded in pairs:
        gt, pred = (coco_mask.decode(mask).astype(bool) for mask in encoded)
        for name, functions in metrics.items():
            for index, function in enumerate(functions):
                start = time.process_time()
                value = function(pred, gt)
                times[name][index].append(time.process_time() - start)
                values[name][index].append(value)
    found: dict[str, Any] = {
        name: {
            "J_ms": 1000 * statistics.median(times[name][0]), "F_ms": 1000 * statistics.median(times[name][1]),
            "J": float(np.mean(values[name][0])), "F": float(np.mean(values[name][1])),
        }
        for name in metrics
    }  # fmt: skip
    return found | {"frames": options.frames, "peak_mb": peak_mb()}


ROLES = {"make": make, "ours": ours, "plain": plain, "trackeval": trackeval, "davis": davis}

if __name__ == "__main__":
    main()
