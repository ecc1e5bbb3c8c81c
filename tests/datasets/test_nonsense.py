"""Half a gigabyte of nonsense, as a sparse file, in every place that a reader looks at: one line, and little memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from small_datasets import davis_tree, labelme_folder, mask_folders, vspw_tree

from fewmask.datasets.coco import read_coco
from fewmask.datasets.davis import read_davis
from fewmask.datasets.formats import detect_format
from fewmask.datasets.labelme import read_labelme
from fewmask.datasets.mask_folders import read_mask_folders
from fewmask.datasets.vspw import read_vspw
from fewmask.datasets.ytvis import read_ytvis
from fewmask.errors import DatasetError

SIZE = 500 << 20
PNG_HEADER = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"

CASES: list[tuple[str, bytes, Callable[[Path], object]]] = [
    ("x.json", b'{"images": [}', read_coco),
    ("x.json", b"", read_coco),
    ("x.json", b"[0,", read_coco),
    ("x.json", b'{"images": []} {"images": []}', read_coco),
    ("x.json", b'{"videos": [', read_ytvis),
    ("x.json", b'{"a": 1', detect_format),
    ("davis/Annotations/480p/dog/00000.png", b"", lambda folder: read_davis(folder.parents[3])),
    ("davis/Annotations/480p/dog/00000.png", PNG_HEADER, lambda path: read_davis(path.parents[3])),
    ("davis/JPEGImages/480p/dog/00000.jpg", b"\xff\xd8\xff", lambda path: read_davis(path.parents[3])),
    ("davis/ImageSets/2017/train.txt", b"dog\n", lambda path: read_davis(path.parents[2], subset="train")),
    ("vspw/data/10_b/mask/00000000.png", b"nonsense", lambda path: read_vspw(path.parents[3])),
    ("vspw/label_num_dic_final.json", b'{"a": 1}', lambda path: read_vspw(path.parent)),
    ("vspw/val.txt", b"", lambda path: read_vspw(path.parent, subset="val")),
    ("folders/masks/a/0.png", b"", lambda path: read_mask_folders(path.parents[2])),
    ("labelme/clip/0.json", b'{"shapes": []', lambda path: read_labelme(path.parents[1])),
]


@pytest.mark.parametrize(("name", "begins", "read"), CASES, ids=[f"{name} {begins[:9]!r}" for name, begins, _ in CASES])
def test_refused_in_one_line(tmp_path: Path, name: str, begins: bytes, read: Callable[[Path], object]) -> None:
    davis_tree(tmp_path / "davis")
    vspw_tree(tmp_path / "vspw")
    mask_folders(tmp_path / "folders", videos=True)
    labelme_folder(tmp_path / "labelme")
    path = tmp_path / name
    with path.open("wb") as handle:
        handle.write(begins)
        handle.truncate(SIZE)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert peak < 20 << 20


def test_limit_on_size(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"{" + b" " * 2000 + b"}")
    with pytest.raises(DatasetError, match="2002 bytes is more than the limit of 1000"):
        read_coco(path, max_bytes=1000)
