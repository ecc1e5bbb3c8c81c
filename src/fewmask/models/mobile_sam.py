"""MobileSAM from its own file: our TinyViT as encoder, transformers' prompt encoder and mask decoder.

It has seen masks of everything (SA-1B): a teacher and a tool to draw with, never part of a claim about few masks.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import SamLayerNorm

from fewmask.errors import CheckpointError
from fewmask.media.frame_source import RgbImage
from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.models.tiny_vit import TinyViT

_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_STD = np.array([58.395, 57.12, 57.375], np.float32)
_PLACES = "shared_image_embedding.positional_embedding"
_PREFIX = "image_encoder."


class MobileSam(nn.Module):
    """Masks for points and boxes.

    Args:
        state: MobileSAM's tensors under their original names.
        side: pixels of the longer side of what the network sees, a multiple of 16; the weights were trained at 1024.

    Raises:
        CheckpointError: the tensors are not MobileSAM's.
    """

    def __init__(self, state: Mapping[str, Tensor], *, side: int = 1024) -> None:
        super().__init__()
        config = SamConfig()
        config.vision_config.num_hidden_layers = 1
        config.vision_config.image_size = side
        config.prompt_encoder_config.image_size = side
        config.prompt_encoder_config.image_embedding_size = side // 16
        self.side = side
        self.sam = SamModel(config)
        self.sam.vision_encoder = nn.Identity()
        self.encoder = TinyViT()
        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, 1, bias=False),
            SamLayerNorm(256, data_format="channels_first"),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            SamLayerNorm(256, data_format="channels_first"),
        )
        neck = {
            name.removeprefix(f"{_PREFIX}neck."): value.float()
            for name, value in state.items()
            if name.startswith(f"{_PREFIX}neck.")
        }
        try:
            missing = self.sam.load_state_dict(decoder_weights(state), strict=False).missing_keys
            self.encoder.load_mobile_sam(dict(state))
            self.neck.load_state_dict(neck)
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(f"these are not MobileSAM's weights ({str(error).splitlines()[0]})") from error
        if missing:
            raise CheckpointError(f"these are not MobileSAM's weights ({missing[0]} is missing)")
        self.eval()

    @classmethod
    def from_file(cls, path: Path, *, side: int = 1024) -> "MobileSam":
        """MobileSAM's file, as safetensors or a checkpoint.

        Raises:
            CheckpointError: missing, damaged or of another network.
        """
        try:
            return cls(read_checkpoint(path), side=side)
        except CheckpointError as error:
            raise CheckpointError(error.args[0] if str(path) in str(error) else f"{path}: {error}") from error

    @torch.no_grad()
    def embed(self, rgb: RgbImage) -> Tensor:
        """What the decoder needs of a picture uint8 [H, W, 3]: float32 [1, 256, side / 16, side / 16]."""
        rows, columns = self.seen_size(rgb.shape[:2])
        square = np.zeros((self.side, self.side, 3), np.float32)
        square[:rows, :columns] = (cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA) - _MEAN) / _STD
        pixels = torch.from_numpy(square).permute(2, 0, 1)[None].to(next(self.parameters()).device)
        embedding: Tensor = self.neck(self.encoder(pixels)[-1])
        return embedding

    def seen_size(self, size: Sequence[int]) -> tuple[int, int]:
        """(rows, columns) that a picture (height, width) takes of the square that the network sees."""
        scale = self.side / max(size)
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

    @torch.no_grad()
    def mask(
        self,
        embedding: Tensor,
        size: tuple[int, int],
        *,
        points: Sequence[tuple[float, float, bool]] = (),
        box: tuple[float, float, float, float] | None = None,
    ) -> npt.NDArray[np.bool_]:
        """The object that points and a box speak of, bool [H, W].

        Args:
            embedding: from `embed`.
            size: (height, width) of the picture.
            points: (x, y, inside) in pixels of the picture; False says that it is not the object.
            box: (left, top, right, bottom) in pixels of the picture.
        """
        scale = self.side / max(size)
        prompts: dict[str, Tensor] = {}
        if points:
            prompts["input_points"] = torch.tensor([[[[x * scale, y * scale] for x, y, _ in points]]])
            prompts["input_labels"] = torch.tensor([[[int(inside) for _, _, inside in points]]])
        if box is not None:
            prompts["input_boxes"] = torch.tensor([[[edge * scale for edge in box]]])
        single = box is not None or len(points) > 1  # one point may mean a part or the whole: take the surest
        found = self.sam(image_embeddings=embedding, multimask_output=not single, **prompts)
        best = int(found.iou_scores[0, 0].argmax())
        rows, columns = self.seen_size(size)
        logits = found.pred_masks[0, 0, best][None, None]
        whole = nn.functional.interpolate(logits, (self.side, self.side), mode="bilinear", align_corners=False)
        sized = nn.functional.interpolate(whole[:, :, :rows, :columns], size, mode="bilinear", align_corners=False)
        return np.asarray((sized[0, 0] > 0).numpy())


def decoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Prompt encoder and mask decoder under transformers' names."""
    rules = [
        (r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix", _PLACES),
        (r"point_embeddings", "point_embed"),
        (r"mask_downscaling\.0", "mask_embed.conv1"), (r"mask_downscaling\.1", "mask_embed.layer_norm1"),
        (r"mask_downscaling\.3", "mask_embed.conv2"), (r"mask_downscaling\.4", "mask_embed.layer_norm2"),
        (r"mask_downscaling\.6", "mask_embed.conv3"),
        (r"output_upscaling\.0", "upscale_conv1"), (r"output_upscaling\.1", "upscale_layer_norm"),
        (r"output_upscaling\.3", "upscale_conv2"),
        (r"norm_final_attn", "layer_norm_final_attn"), (r"\.norm(\d)", r".layer_norm\1"),
        (r"(iou_prediction_head|output_hypernetworks_mlps\.\d)\.layers\.0", r"\1.proj_in"),
        (r"(iou_prediction_head|output_hypernetworks_mlps\.\d)\.layers\.1", r"\1.layers.0"),
        (r"(iou_prediction_head|output_hypernetworks_mlps\.\d)\.layers\.2", r"\1.proj_out"),
    ]  # fmt: skip
    renamed = {}
    for key, value in state.items():
        if key.startswith(_PREFIX):
            continue
        name = key
        for old, new in rules:
            name = re.sub(old, new, name)
        renamed[name] = value.float()
    if _PLACES not in renamed:
        raise CheckpointError("these are not MobileSAM's weights (no prompt encoder)")
    renamed["prompt_encoder.shared_embedding.positional_embedding"] = renamed[_PLACES]
    return renamed
