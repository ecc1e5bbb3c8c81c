"""Lists of videos: what a line may be, and what their names become."""

import pytest

from fewmask.errors import ConfigError
from fewmask.pipelines.many.manifest import ListedVideo, check_names, read_manifest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no video"),
        ("a.mp4\nx/a.mov\n", "line 2: a second video named a"),
        ("../up,a.mp4\n", "line 1"),
        ("a,b,c.mp4\n", "line 1"),
        ("..,a.mp4\n", "line 1"),
    ],
)
def test_manifests_that_cannot_be_done(tmp_path, text, said):
    path = tmp_path / "manifest.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_manifest(path)


def test_names_of_manifests(tmp_path):
    path = tmp_path / "manifest.txt"
    path.write_text("one, s3://bucket/some/a.mp4\ns3://bucket/b.mp4?region=x\nsub/c.d.mkv\n")
    assert read_manifest(path) == [
        ListedVideo("one", "s3://bucket/some/a.mp4"), ListedVideo("b", "s3://bucket/b.mp4?region=x"),
        ListedVideo("c.d", str(tmp_path / "sub/c.d.mkv")),
    ]  # fmt: skip


def test_names_of_datasets_are_told_before_anything_is_done():
    check_names([ListedVideo("one-2_a", "x.mp4")])
    with pytest.raises(ConfigError, match=r"c\.d"):
        check_names([ListedVideo("c.d", "x.mp4")])
