"""DAVIS 2016 and 2017 folder trees, semi-supervised and unsupervised, read and written.

    JPEGImages/480p/<video>/00000.jpg
    Annotations/480p/<video>/00000.png               palette PNG of object ids, or 0/255
    Annotations_unsupervised/480p/<video>/00000.png  the same for the unsupervised task
    ImageSets/2017/<subset>.txt                      one video a line (DAVIS 2016: one frame a line)

The folder of the resolution may be missing. DAVIS has no classes: every object is of one class, named by the reader.
The pixel value of each object is kept in the dataset's ``info``, so that writing gives the same label maps back.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from fewmask.datasets.json_file import relative_name
from fewmask.datasets.label_tree import FrameCopies, TreeLayout, object_values, write_label_tree
from fewmask.datasets.label_videos import LabelVideo, dataset_of, read_label_video
from fewmask.datasets.video_list import listed_videos, video_folders
from fewmask.datasets.whole_folder import whole_folder
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.errors import DatasetError
from fewmask.media.atomic import write_text

Task = Literal["semi-supervised", "unsupervised"]
LABELS: Mapping[Task, str] = {"semi-supervised": "Annotations", "unsupervised": "Annotations_unsupervised"}
_RESOLUTIONS = ("480p", "Full-Resolution", "1080p")
_LIST_FOLDERS = ("2017", "2016", "2019", "480p", "1080p", "")


def read_davis(
    root: str | Path,
    *,
    subset: str | None = None,
    task: Task | None = None,
    resolution: str | None = None,
    category: str = "object",
) -> tuple[YtvisDataset, Path]:
    """Read a DAVIS tree.

    Args:
        root: the folder that holds JPEGImages, Annotations and ImageSets. Without JPEGImages the label maps say which
            frames there are.
        subset: train, val, test-dev, ...: only the videos that this list in ImageSets names; None for all videos.
        task: which annotations; by default the semi-supervised ones where there are some.
        resolution: folder of the resolution; by default 480p where there are several.
        category: name of the one class.

    Returns:
        The dataset, and the folder that its file names are relative to.

    Raises:
        DatasetError: a folder, list, video or label map is missing or malformed.
    """
    root = Path(root)
    if task is None:
        task = "semi-supervised" if (root / "Annotations").is_dir() else "unsupervised"
    frames = _with_resolution(root / "JPEGImages", resolution)
    labels = _with_resolution(root / LABELS[task], resolution)
    if not frames.is_dir() and not labels.is_dir():
        raise DatasetError(f"{root}: neither JPEGImages nor {LABELS[task]} is there; is it a DAVIS tree?")
    names = video_folders(frames if frames.is_dir() else labels) if subset is None else _listed(root, subset)
    if not names:
        raise DatasetError(f"{frames if frames.is_dir() else labels}: no videos there")
    videos = (_read_video(frames, labels, name) for name in names)
    return dataset_of(videos, category), frames


def write_davis(
    dataset: YtvisDataset,
    root: str | Path,
    *,
    frames_root: Path,
    frames: FrameCopies = "copy",
    task: Task = "semi-supervised",
    subset: str = "val",
    smaller_on_top: bool = False,
) -> None:
    """Write a DAVIS 2017 tree, whole or not at all. Classes are not part of it.

    The folder of the resolution is called 480p whatever the size is, as the official tools expect.

    Args:
        dataset: what to write; the pixel values are those of `label_tree.object_values`.
        root: folder to make.
        frames_root: folder that the dataset's file names are relative to.
        frames: copy the frames, hard-link them, or leave them out.
        task: which folder the label maps go to.
        subset: name of the list of videos in ImageSets/2017.
        smaller_on_top: where masks overlap, the smaller one wins; otherwise an overlap is refused.

    Raises:
        DatasetError: masks overlap, a frame is missing, or ``root`` exists.
    """
    layout = TreeLayout("JPEGImages/480p/{video}", LABELS[task] + "/480p/{video}")
    values = object_values(dataset)
    with whole_folder(Path(root)) as folder:
        names = write_label_tree(
            dataset, folder, layout, values, frames_root=frames_root, frames=frames, smaller_on_top=smaller_on_top
        )
        write_text(folder / "ImageSets/2017" / f"{subset}.txt", "".join(f"{name}\n" for name in names))


def _read_video(frames: Path, labels: Path, name: str) -> LabelVideo:
    pictures = frames / name if frames.is_dir() else None
    if pictures is not None and not pictures.is_dir():
        raise DatasetError(f"{pictures}: folder of frames is missing")
    maps = labels / name if (labels / name).is_dir() else None
    if pictures is None and maps is None:
        raise DatasetError(f"{labels / name}: folder of label maps is missing")
    return read_label_video(pictures, maps, f"{name}/")


def _with_resolution(folder: Path, resolution: str | None) -> Path:
    """The folder that holds the videos, below the resolution's folder where there is one."""
    if resolution is not None:
        return folder / relative_name(resolution, "resolution")
    return next((folder / name for name in _RESOLUTIONS if (folder / name).is_dir()), folder)


def _listed(root: Path, subset: str) -> list[str]:
    relative_name(subset, "subset")
    lists = [root / "ImageSets" / folder / f"{subset}.txt" for folder in _LIST_FOLDERS]
    path = next((path for path in lists if path.is_file()), None)
    if path is None:
        there = sorted({found.stem for found in (root / "ImageSets").glob("**/*.txt")})
        raise DatasetError(f"{root}: ImageSets has no list {subset!r}; it has {', '.join(there) or 'none at all'}")
    return listed_videos(path)
