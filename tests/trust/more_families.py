"""More files that fewmask writes for itself: results and corrections, old pools, networks, supports; and films."""

import json
import shutil
from pathlib import Path

import numpy as np

from fewmask.errors import DatasetError
from fewmask.media import rle

HERE = Path(__file__).parent
changed: set[str] = set()
"""Paths of the files that the present case damaged."""


def changed_in(folder: Path) -> set[str]:
    """First parts of the names of the files that this case damaged."""
    return {Path(name).relative_to(folder).parts[0] for name in changed}


def _masks(frames: int = 6) -> list[np.ndarray]:
    masks = [np.zeros((24, 32), bool) for _ in range(frames)]
    for step, mask in enumerate(masks):
        mask[2:14, 2 + step : 9 + step] = True
    return masks


def make_results(folder: Path) -> None:
    """What `fewmask segment` leaves, but its pictures."""
    from made_runs import write_run

    masks = np.stack(_masks())
    write_run(folder, {1: masks, 2: masks[::-1], 700: masks & False}, names=("cat", "dog"))
    facts = {"name": "a", "height": 24, "width": 32, "fps": 10.0, "file_names": None,
             "categories": {"1": "cat", "2": "dog"}, "length": 6, "known_frames": None, "shown": [1, 2]}  # fmt: skip
    (folder / "video.json").write_text(json.dumps(facts))


def read_results(folder: Path) -> None:
    from fewmask.exports.video_result import VideoResult

    for video in (VideoResult.from_run(folder), VideoResult.from_file(folder / "tracks.json")):
        video.to_cvat()
        video.to_coco()
        video.to_label_studio("a.mp4")


def make_corrections(folder: Path) -> None:
    from fewmask.corrections.corrected_run import CorrectedRun
    from fewmask.corrections.edits import Confirm, Merge, Redo, SetClass, Split, Undo

    make_results(folder)
    run = CorrectedRun.open(folder, cache=folder.parent / "cache")
    edits = (
        SetClass(track=1, name="bird"), Split(track=1, frame=3), Confirm(first=0, last=2), Merge(into=2, other=701),
        Undo(), Redo(),
    )  # fmt: skip
    for edit in edits:
        run.correct(edit, run.version)


def read_corrections(folder: Path) -> None:
    from fewmask.corrections.corrected_run import CorrectedRun
    from fewmask.corrections.export import as_video

    try:
        run = CorrectedRun.open(folder, cache=folder / "cache")
        run.refresh()
        for track in run.state.tracks:
            run.presence(track)
            run.score(track)
        run.steps()
        as_video(run).to_cvat()
    finally:
        shutil.rmtree(folder / "cache", ignore_errors=True)


def make_cache(folder: Path) -> None:
    """The index by frames of a result file; it is found by the file's place, size and time."""
    from fewmask.corrections.result_index import open_index

    make_results(folder)
    case = Path(shutil.copytree(folder, folder.parent / "case"))
    open_index(case / "tracks.json", folder=folder / "cache")
    shutil.rmtree(case)
    for path in [path for path in folder.iterdir() if path.name not in ("tracks.json", "cache")]:
        path.unlink() if path.is_file() else shutil.rmtree(path)
    assert len(list((folder / "cache").iterdir())) == 1


def read_cache(folder: Path) -> None:
    from fewmask.corrections.result_index import open_index

    index = open_index(folder / "tracks.json", folder=folder / "cache")
    names = [track.track_id for track in index.tracks]
    index.stretch(0, names)
    for name in names:
        index.presence(name)


def make_grow(folder: Path) -> None:
    from small_found import found_video

    from fewmask.pipelines.grow.kinds import write_vectors
    from fewmask.pipelines.grow.stages import Stages

    found_video("walk", "walk.mp4", kinds=("dog", "cat")).write(folder / "walk.json")
    Stages(folder).run("a", {"x": [1, {"b": 2}]}, lambda _: {"y": [1, 2], "z": "w"})
    write_vectors(folder / "v.npy", np.eye(4, 8, dtype=np.float32))
    (folder / "choice.json").write_text(
        json.dumps({"merge": [[1, 2]], "pick": [1], "drop": [3], "names": {"1": "dog"}})
    )


def read_grow(folder: Path) -> None:
    from fewmask.pipelines.grow.find import FoundVideo
    from fewmask.pipelines.grow.group_choice import read_choice
    from fewmask.pipelines.grow.kinds import read_vectors
    from fewmask.pipelines.grow.stages import Stages

    found = FoundVideo.read(folder / "walk.json")
    for track in found.tracks:
        for mask in track.masks.values():
            rle.decode(mask)
    read_choice(folder / "choice.json")
    read_vectors(folder / "v.npy")
    Stages(folder).run("a", {"x": [1, {"b": 2}]}, lambda _: {"y": [1, 2], "z": "w"})


def make_many(folder: Path) -> None:
    from fewmask.pipelines.many.once import settle

    (folder / "videos.txt").write_text("one, s3://b/a.mp4\n# x\ns3://b/b.mp4?region=x\nsub/cd.mkv\n", encoding="utf-8")
    settle(str(folder / "out"), {"weights": {"path": "a", "sha256": "b"}, "top": [1, 2]})


def read_many(folder: Path) -> None:
    from fewmask.pipelines.many.manifest import check_names, read_manifest
    from fewmask.pipelines.many.once import settle

    check_names(read_manifest(folder / "videos.txt"))
    settle(str(folder / "out"), {"weights": {"path": "a", "sha256": "b"}, "top": [1, 2]})


def make_studio(folder: Path) -> None:
    from fewmask.studio.jobs import Jobs

    jobs = Jobs(folder / "jobs")
    for number in range(2):
        jobs.add(f"job {number}", ["segment", "x.mp4"], made=("run", Path("/x")), resumable=True)
    (folder / "jobs" / "0001" / "started.json").write_text(json.dumps({"pid": 4_000_000, "started": 1.5}))
    (folder / "jobs" / "0001" / "ended.json").write_text(json.dumps({"code": 0, "ended": 2.5}))
    (folder / "jobs" / "0001" / "log.txt").write_text("frames: 41/96 (0.5/s, 106 s left)\n")
    (folder / "run").mkdir()
    make_results(folder / "run")


def read_studio(folder: Path) -> None:
    from fewmask.studio.jobs import Jobs
    from fewmask.studio.library import Library, read_manifest

    jobs = Jobs(folder / "jobs")
    for job in jobs.all():
        jobs.described(job)
    read_manifest(folder / "run")
    Library().open(folder / "run")


def make_old_pools(folder: Path) -> None:
    for name in ("old_clustered", "old_compressed", "old_pool"):
        shutil.copytree(HERE.parent / "retrieval" / "fixtures" / name, folder / name)


def read_old_pools(folder: Path) -> None:
    from fewmask.retrieval.pool import Pool

    for name in ("old_clustered", "old_compressed", "old_pool"):
        if name in changed_in(folder):
            pool = Pool.open(folder / name)
            assert pool.videos is not None
            pool.index.vectors(pool.index.ids)


def make_films(folder: Path) -> None:
    """Videos and pictures in the containers that people have."""
    import av
    from PIL import Image

    pictures = [np.full((32, 48, 3), 20 * step, np.uint8) for step in range(8)]
    for step, picture in enumerate(pictures):
        picture[4:20, 4 + step : 20 + step] = (250, 30, 60)
    for name, codec in (("a.mp4", "libx264"), ("b.mkv", "libx264"), ("c.avi", "mpeg4"), ("d.webm", "libvpx")):
        with av.open(str(folder / name), "w") as target:
            stream = target.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            for picture in pictures:
                target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            target.mux(stream.encode())
    shown = [Image.fromarray(picture) for picture in pictures]
    for name in ("e.gif", "f.tif", "g.webp", "h.png"):
        shown[0].save(folder / name, save_all=True, append_images=shown[1:])
    (folder / "frames").mkdir()
    for step, picture in enumerate(shown[:3]):
        picture.save(folder / "frames" / f"{step:03d}.{('jpg', 'png', 'bmp')[step]}")


def read_films(folder: Path) -> None:
    from fewmask.media.frames import open_frames

    for name in sorted(changed_in(folder)):
        if not (folder / name).exists():
            raise DatasetError("deleted")
        with open_frames(folder / name) as frames:
            for frame in frames:
                assert frame.rgb.ndim == 3


def make_supports(folder: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for step in range(2):
            Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(folder / name / f"{step}.jpg")
            mask = Image.fromarray(_masks()[step].astype(np.uint8) * 255)
            (mask.convert("P") if step else mask).save(folder / name / f"{step}.png")


def read_supports(folder: Path) -> None:
    from fewmask.vipmt.support import read_support

    read_support(folder)


def make_vipmt(folder: Path) -> None:
    import tomllib

    from scenes import RECIPES

    from fewmask.vipmt.config import VIPMTConfig
    from fewmask.vipmt.convert import save_network
    from fewmask.vipmt.network import VIPMTNetwork

    given = tomllib.loads(RECIPES["vipmt"])["network"]
    config = VIPMTConfig(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})
    save_network(VIPMTNetwork(config).state_dict(), config, folder / "vipmt")


def read_vipmt(folder: Path) -> None:
    from fewmask.vipmt.convert import load_network

    load_network(folder / "vipmt")
