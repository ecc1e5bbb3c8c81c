from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fewmask.errors import CheckpointError, ConfigError, VideoError
from fewmask.media import rle
from fewmask.media.frame_source import Frame
from fewmask.vipmt.instances import InstanceLinker
from fewmask.vipmt.memory import CAPACITY, ReliableMemory
from fewmask.vipmt.model import VIPMT
from fewmask.vipmt.stream import ClipStream, fit_support
from fewmask.vipmt.support import SupportPicture, SupportSet, read_support


def pictures(count, seed=0, size=(60, 70)):
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        inside = np.zeros(size, dtype=bool)
        inside[10 : 40 + i, 10:50] = True
        found.append((rng.integers(0, 256, (*size, 3), dtype=np.uint8), inside))
    return found


def named(count, seed):
    return tuple(SupportPicture(f"{seed}/{i}", *pair) for i, pair in enumerate(pictures(count, seed)))


def frames(count, size=(54, 96)):
    rng = np.random.default_rng(9)
    return [Frame(i, i / 10, rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for i in range(count)]


@pytest.fixture
def folder(tmp_path):
    for frame in frames(7):
        Image.fromarray(frame.rgb).save(tmp_path / f"{frame.index:03}.png")
    return tmp_path


def test_segments_a_folder_with_frame_results_at_native_size(tiny_network, folder):
    model = VIPMT(tiny_network).fit(pictures(2))
    results = list(model.stream(folder))
    assert [result.index for result in results] == list(range(7))
    assert all(result.size == (54, 96) and 0 < result.scores[0] < 1 for result in results)
    video = model.segment(folder)
    assert (video.length, video.categories) == (7, {1: "object"})


def test_the_same_seed_gives_the_same_masks_and_another_does_not_fail(tiny_network, folder):
    model = VIPMT(tiny_network).fit(pictures(2))
    assert model.segment(folder, seed=3) == model.segment(folder, seed=3)
    model.segment(folder, seed=4)


def test_first_clip_equals_the_network_without_memory(tiny_network, tiny_config):
    support = pictures(2, size=tiny_config.input_size)
    clip = frames(3, tiny_config.input_size)
    stream = ClipStream(tiny_network, fit_support(tiny_network, read_support(support)))
    results = stream.step(clip)
    from fewmask.vipmt.letterbox import normalise

    with torch.no_grad():
        direct = tiny_network(
            normalise(np.stack([f.rgb for f in clip])),
            normalise(np.stack([rgb for rgb, _ in support])),
            torch.from_numpy(np.stack([inside for _, inside in support])),
        )
    for t, result in enumerate(results):
        mask = result.masks[0]
        assert np.array_equal(rle.decode(mask) if mask else np.zeros(clip[t].rgb.shape[:2], bool), direct.masks[t])
        assert result.scores[0] == pytest.approx(float(direct.iou_scores[t]), abs=1e-6)


def test_second_clip_uses_memory(tiny_network):
    support = fit_support(tiny_network, read_support(pictures(2)))
    clips = frames(6)
    with_memory = ClipStream(tiny_network, support)
    with_memory.step(clips[:3])
    fresh = ClipStream(tiny_network, support)
    assert with_memory.step(clips[3:]) != fresh.step(clips[3:])


def test_classes_share_no_pixel_and_negatives_only_take_away(tiny_network):
    both = SupportSet({"a": named(2, 1), "b": named(1, 2)})
    clip = frames(3)
    for result in ClipStream(tiny_network, fit_support(tiny_network, both)).step(clip):
        assert result.category_ids == (1, 2)
        if all(result.masks):
            assert rle.area(rle.intersection(list(result.masks))) == 0
    alone = SupportSet({"a": named(2, 1)})
    without = SupportSet({"a": named(2, 1)}, negatives=named(2, 5))
    for free, bounded in zip(
        ClipStream(tiny_network, fit_support(tiny_network, alone)).step(clip),
        ClipStream(tiny_network, fit_support(tiny_network, without)).step(clip),
        strict=True,
    ):
        assert len(bounded.masks) == 1
        if bounded.masks[0] is not None:
            assert rle.area(bounded.masks[0]) == rle.area(rle.intersection([free.masks[0], bounded.masks[0]]))


def test_a_broken_frame_loses_nothing_before_it(tiny_network, folder):
    (folder / "004.png").write_bytes(b"broken")
    seen = []

    def watch():
        for result in VIPMT(tiny_network).fit(pictures(1)).stream(folder):
            seen.append(result.index)  # noqa: PERF401 - what came before the error is kept

    with pytest.raises(VideoError):
        watch()
    assert seen == [0, 1, 2, 3]


def test_memory_is_bounded_reproducible_and_reaches_back():
    def remember():
        memory = ReliableMemory(seed=1, class_name="a")
        for index in range(400):
            memory.add(index, None)  # type: ignore[arg-type]
        return memory

    first, second = remember(), remember()
    assert len(first.frames) == CAPACITY
    assert list(first.frames) == list(second.frames)
    assert min(first.frames) < 200 < max(first.frames)
    assert first.chosen(80, 5) == sorted(first.chosen(80, 5))
    assert len({tuple(first.chosen(clip, 5)) for clip in range(20)}) > 10
    assert ReliableMemory(0, "a").recall(0, 5) is None


def test_instances_keep_their_ids_while_they_move():
    linker = InstanceLinker()
    ids = []
    for t in range(4):
        mask = np.zeros((40, 60), dtype=bool)
        mask[5:15, 5 + t : 20 + t] = True
        mask[25:33, 40 - t : 50 - t] = True
        ids.append([key for key, _ in linker.step(mask)])
    assert ids == [[1, 2]] * 4
    assert linker.step(np.zeros((40, 60), dtype=bool)) == []
    assert [key for key, _ in linker.step(mask)] == [3, 4]


def test_instances_of_a_video_have_unique_ids(tiny_network, folder):
    video = VIPMT(tiny_network).fit(SupportSet({"a": named(1, 1), "b": named(1, 2)})).segment(folder, instances=True)
    assert len({track.track_id for track in video.tracks}) == len(video.tracks)


def test_weights_survive_saving_and_compat_changes_only_the_prior(tiny_network, tmp_path, folder):
    saved = VIPMT(tiny_network).save_pretrained(tmp_path / "weights")
    loaded = VIPMT.from_pretrained(saved, device="cpu")
    assert loaded.fit(pictures(2)).segment(folder) == VIPMT(tiny_network).fit(pictures(2)).segment(folder)
    official = VIPMT.from_pretrained(saved, compat="official", device="cpu")
    assert official.network.config == replace(tiny_network.config, prior="running")


def test_weights_saved_in_half_precision_are_half_the_size_and_rounded_only(tiny_network, tmp_path):
    whole = VIPMT(tiny_network).save_pretrained(tmp_path / "whole") / "model.safetensors"
    half = VIPMT(tiny_network).save_pretrained(tmp_path / "half", half=True) / "model.safetensors"
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    loaded = VIPMT.from_pretrained(half.parent, device="cpu").network.state_dict()
    for key, value in tiny_network.state_dict().items():
        assert loaded[key].dtype == value.dtype
        torch.testing.assert_close(loaded[key], value, rtol=1e-3, atol=1e-6)


def test_missing_weights_are_told_in_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="convert vipmt"):
        VIPMT.from_pretrained(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        VIPMT.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="paper"):
        VIPMT.from_pretrained(tmp_path, compat="new")  # type: ignore[arg-type]
