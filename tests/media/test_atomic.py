"""Files that appear whole or not at all."""

import pytest
import torch
from safetensors.torch import save_file

from fewmask.errors import FewmaskError
from fewmask.media.atomic import whole_file, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_half() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_whoever_may_read_a_file_here_may_read_weights_too(tmp_path):
    (tmp_path / "plain").write_text("")
    with whole_file(tmp_path / "w.safetensors") as temporary:
        save_file({"w": torch.zeros(1)}, temporary)
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FewmaskError, match=r"a\.txt: cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "")
