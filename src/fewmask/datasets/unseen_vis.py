"""Unseen-VIS (Bayesian mask selection, section 4): the sixteen YouTube-VIS 2019 classes COCO lacks.

The paper draws 595 training and 200 test videos of 795 and does not publish which. Ours is seeded: the videos whose
objects all are of unseen classes (mixed ones are dropped, the only reading under which the paper's counts add up),
ranked by a hash of their names; the first 200 of 795, or the same share of another number, are the test videos. Its
labelled frames are the test images; masks of training videos are not to be used.
"""

from fewmask.datasets.class_names import ids_of
from fewmask.datasets.draws import ranked
from fewmask.datasets.presence import video_names
from fewmask.datasets.video_subset import keep_videos
from fewmask.datasets.ytvis_types import YtvisDataset
from fewmask.errors import DatasetError

_UNSEEN = """
giant_panda lizard earless_seal shark mouse frog tiger leopard fox deer ape snake monkey rabbit fish turtle
"""
UNSEEN = tuple(_UNSEEN.split())
_TEST_SHARE = 200 / 795


def split(dataset: YtvisDataset, *, seed: int = 0) -> tuple[YtvisDataset, YtvisDataset]:
    """(training, test) videos of Unseen-VIS.

    Raises:
        DatasetError: the dataset lacks one of the unseen classes.
    """
    unseen, missing = ids_of(UNSEEN, {category.id: category.name for category in dataset.categories})
    if missing:
        raise DatasetError(
            f"{dataset.path or 'dataset'}: categories lack {', '.join(missing)}; "
            "Unseen-VIS needs the YouTube-VIS 2019 classes"
        )
    classes: dict[int, set[int]] = {}
    for annotation in dataset.annotations:
        classes.setdefault(annotation.video_id, set()).add(annotation.category_id)
    names = video_names(dataset)
    videos = {names[video]: video for video, found in classes.items() if found <= set(unseen)}
    order = [videos[name] for name in ranked(sorted(videos), "unseen-vis", seed)]
    tests = round(len(order) * _TEST_SHARE)
    return keep_videos(dataset, order[tests:]), keep_videos(dataset, order[:tests])
