"""Miniatures of the real datasets: the same files in the same places, a few tiny videos; networks of a few weights.

python tests/pipelines/benchmarks/miniatures.py FOLDER      # write them all, to look at
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tiny_vipmt import tiny_network

from fewmask.datasets import mini_vspw
from fewmask.datasets.class_names import OVIS, YTVIS_2019, YTVIS_2021
from fewmask.media import rle
from fewmask.selfshot.pretrained import save_transformer, start_backbone
from fewmask.selfshot.transformer import CommonInstanceTransformer, TransformerConfig
from fewmask.vipmt.model import VIPMT

SIZE = (32, 48)


def colour(category):
    return tuple(int(value) for value in np.random.default_rng(category).integers(60, 250, 3))


def frames(categories, length, seed, size=SIZE):
    """Pictures and, of each object, its masks: squares of the class's colour that move; the first leaves at times."""
    random = np.random.default_rng(seed)
    background = random.integers(0, 60, (*size, 3)).astype(np.uint8)
    side, places = size[0] // 3, random.integers(0, size[1] // 2, len(categories))
    pictures, tracks = [], [[] for _ in categories]
    for t in range(length):
        rgb = background.copy()
        owner = np.full(size, -1)
        for number, category in enumerate(categories):
            if number == 0 and t % 4 == 2:
                continue
            top = (number * (side - 2)) % (size[0] - side)
            left = int(places[number] + 2 * t) % (size[1] - side)
            owner[top : top + side, left : left + side] = number
            rgb[top : top + side, left : left + side] = colour(category)
        pictures.append(rgb)
        for number, track in enumerate(tracks):
            track.append(owner == number)
    return pictures, tracks


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def video_file(path, images, names, videos, *, length=4, labelled=True, stem="{:05d}", occlusion=False, step=1):
    """A YouTube-VIS or OVIS file and its frames; ``videos`` lists the classes of each video's objects."""
    entries, annotations = [], []
    for place, categories in enumerate(videos, 1):
        pictures, tracks = frames(categories, length, place)
        files = [f"{place:010x}/{stem.format(step * t)}.jpg" for t in range(length)]
        for file, picture in zip(files, pictures, strict=True):
            save(images / file, picture)
        entry = {"id": place, "width": SIZE[1], "height": SIZE[0], "length": length, "file_names": files}
        entries.append(entry)
        for category, masks in zip(categories, tracks, strict=True):
            shown = [rle.encode(mask) if mask.any() else None for mask in masks]
            levels = [None if mask is None else "no_occlusion" for mask in shown]
            annotations.append(
                {"id": len(annotations) + 1, "video_id": place, "category_id": category, "iscrowd": 0,
                 "segmentations": shown, "areas": [m and rle.area(m) for m in shown],
                 "bboxes": [m and list(rle.bbox(m)) for m in shown]}
                | ({"occlusion": levels} if occlusion else {})
            )  # fmt: skip
    document = {
        "info": {},
        "licenses": [],
        "videos": entries,
        "categories": [{"id": key, "name": name, "supercategory": "object"} for key, name in names.items()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document | ({"annotations": annotations} if labelled else {})))


def ytvis(root, year=2019, *, labelled=True):
    """train.json, valid.json, and their JPEGImages."""
    names = YTVIS_2019 if year == 2019 else YTVIS_2021
    video_file(root / "train.json", root / "train/JPEGImages", names, [[1], [2, 3], [4], [1, 5], [6]])
    video_file(root / "valid.json", root / "valid/JPEGImages", names, [[1], [2, 3], [4]], labelled=labelled)
    return root


def ovis(root):
    """annotations_train.json, annotations_valid.json, train/ and valid/."""
    for part, labelled in (("train", True), ("valid", False)):
        video_file(root / f"annotations_{part}.json", root / part, OVIS, [[1, 2], [3, 4], [1], [2, 5], [6]],
                   labelled=labelled, stem="img_{:07d}", occlusion=True)  # fmt: skip
    return root


def fsvos(root):
    """The training part of YouTube-VIS 2019: six videos of each of the forty classes."""
    videos = [[category] for category in YTVIS_2019 for _ in range(6)]
    video_file(root / "train.json", root / "train/JPEGImages", YTVIS_2019, videos, length=10)
    return root


def vspw(root):
    """data/<video>/origin and mask, the lists, and the names: six videos of each novel class in val."""
    novel = sorted({category for five in mini_vspw.TEST_CLASSES.values() for category in five})
    listed = {"train": sorted(set(novel) | {41, 47}), "val": novel}
    for part, classes in listed.items():
        names = []
        for category in classes:
            for number in range(6):
                pictures, (track,) = frames([category], 3, 100 * category + number, (36, 48))
                names.append(f"{category}_{part}_{number}")
                for t, (picture, mask) in enumerate(zip(pictures, track, strict=True), 1):
                    save(root / f"data/{names[-1]}/origin/{t:08d}.jpg", picture)
                    save(root / f"data/{names[-1]}/mask/{t:08d}.png", (mask * category).astype(np.uint8))
        (root / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
    (root / "label_num_dic_final.json").write_text(
        json.dumps({name: key for key, name in mini_vspw.NAMES.items()} | {"others": 0, "void": 255})
    )
    return root


def davis(root, year):
    """JPEGImages, Annotations or Annotations_unsupervised, ImageSets."""
    labels = "Annotations" if year == 2016 else "Annotations_unsupervised"
    names = ["bear", "dog", "swan"]
    for number, name in enumerate(names):
        count = 1 if year == 2016 else 2
        pictures, tracks = frames(list(range(1, count + 1)), 5, number)
        for t, picture in enumerate(pictures):
            save(root / f"JPEGImages/480p/{name}/{t:05d}.jpg", picture)
            masks = np.zeros(SIZE, np.uint8)
            for value, track in enumerate(tracks, 1):
                masks[track[t]] = 255 if year == 2016 else value
            save(root / f"{labels}/480p/{name}/{t:05d}.png", masks)
    if year == 2016:
        lines = [f"/JPEGImages/480p/{name}/{t:05d}.jpg /Annotations/480p/{name}/{t:05d}.png\n"
                 for name in names for t in range(5)]  # fmt: skip
        (root / "ImageSets/480p").mkdir(parents=True)
        (root / "ImageSets/480p/val.txt").write_text("".join(lines))
    else:
        (root / "ImageSets/2017").mkdir(parents=True)
        (root / "ImageSets/2017/val.txt").write_text("".join(f"{name}\n" for name in names))
    return root


EAGLE, COW, MOTORBIKE = 38, 15, 21  # held out in Self-VIS


def self_vis(root):
    """Of YouTube-VIS 2019: eight videos of each of three held-out classes, and some to train on."""
    videos = [[category] * (1 + number % 3) for category in (EAGLE, COW, MOTORBIKE) for number in range(8)]
    videos += [[1], [1], [2], [2, 2]]
    video_file(root / "train.json", root / "train/JPEGImages", YTVIS_2019, videos)
    return root


def self_ovis(root):
    """Of OVIS: videos of one and two held-out classes, and some to train on."""
    videos = [[1, 5] if number % 3 else [1] for number in range(10)] + [[2], [2, 2], [3], [3]]
    video_file(root / "annotations_train.json", root / "train", OVIS, videos, stem="img_{:07d}", occlusion=True)
    return root


def unseen_vis(root):
    """Of YouTube-VIS 2019: eight videos of unseen classes (two become the test part), two of seen ones."""
    videos = [[2], [3], [7], [9], [10], [12], [16], [19], [1], [14]]
    video_file(root / "train.json", root / "train/JPEGImages", YTVIS_2019, videos, length=3)
    return root


MINVIS_RECIPE = """
class_agnostic = false
sizes = [[32, 32]]
points = 64
validation_short_side = 32
frozen_norms = false
[network]
backbone = "timm:mobilenetv3_small_050"
queries = 5
width = 32
encoder_layers = 1
decoder_layers = 1
feedforward = 64
[augmentation]
scale = [1.0, 1.0]
turn = 0.0
colour = 0.0
paste = 0.0
[train]
steps = 2
batch_size = 2
learning_rate = 1e-3
checkpoint_every = 1
"""


def vipmt_weights(folder):
    """An awake, untrained few-shot network, and a recipe that goes on from it."""
    network = tiny_network()
    VIPMT(network).save_pretrained(folder)
    recipe = folder.parent / "vipmt.toml"
    values = "\n".join(f"{key} = {json.dumps(value)}" for key, value in network.config.to_dict().items())
    recipe.write_text(
        "shots = 2\nclips = 2\nviews = 1\nleast_videos = 2\nheld_out = 0\nvalidation_episodes = 0\nclip_length = 2\n"
        f"[network]\n{values}\n[train]\nsteps = 1\nbatch_size = 2\n"
    )
    return folder


SELFSHOT_TINY = TransformerConfig(
    backbone="mobilenet_v2", width=24, heads=2, feed_forward=32, dropout=0.0, encoder_layers=1, fuser_layers=1,
    decoder_layers=1, slots=3, frames=4, support_frames=2, size=(32, 48), mask_levels=(16, 16, 8), mask_channels=8,
    common_map=True,
)  # fmt: skip


def selfshot_weights(folder):
    """A network that says that there is something."""
    torch.manual_seed(0)
    network = CommonInstanceTransformer(SELFSHOT_TINY)
    from importlib import resources

    from fewmask.retrieval.fixed_features import BUNDLED

    start_backbone(network.backbone, Path(str(resources.files("fewmask.retrieval") / "weights" / BUNDLED)))
    with torch.no_grad():
        network.classify.weight.mul_(0.1)
        network.classify.bias.copy_(torch.tensor([2.0, 0.0]))
        network.mask_head.over_time[-1].weight.normal_()
    save_transformer(network, folder)
    return folder


if __name__ == "__main__":
    out = Path(sys.argv[1])
    ytvis(out / "ytvis_2019"), ytvis(out / "ytvis_2021", 2021), ovis(out / "ovis"), fsvos(out / "fsvos")
    vspw(out / "vspw"), davis(out / "davis_2016", 2016), davis(out / "davis_2017", 2017)
    self_vis(out / "self_vis"), self_ovis(out / "self_ovis"), unseen_vis(out / "unseen_vis")
