"""MobileSAM as a proposal source, for experiments only: it has seen masks of everything (SA-1B).

The encoder is ours, prompt encoder and mask decoder are transformers'; the weights are MobileSAM's own file.
"""

import re
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import SamLayerNorm

from fewmask.models.checkpoint_file import read_checkpoint
from fewmask.models.tiny_vit import TinyViT

MEAN, STD = np.array([123.675, 116.28, 103.53], np.float32), np.array([58.395, 57.12, 57.375], np.float32)


class MobileSamProposals:
    """A proposer: a grid of points, three masks each, near-duplicates removed by IoU."""

    def __init__(self, weights: Path, *, side: int = 384, points: int = 8, overlap: float = 0.8) -> None:
        state = read_checkpoint(weights)
        config = SamConfig()
        config.vision_config.num_hidden_layers = 1
        config.vision_config.image_size = side
        config.prompt_encoder_config.image_size = side
        config.prompt_encoder_config.image_embedding_size = side // 16
        self.sam = SamModel(config)
        self.sam.load_state_dict({**self.sam.state_dict(), **decoder_weights(state)})
        self.encoder = TinyViT()
        self.encoder.load_mobile_sam(state)
        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, 1, bias=False),
            SamLayerNorm(256, data_format="channels_first"),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            SamLayerNorm(256, data_format="channels_first"),
        )
        prefix = "image_encoder.neck."
        self.neck.load_state_dict({k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)})
        for module in (self.sam, self.encoder, self.neck):
            module.eval()
        self.side, self.points, self.overlap = side, points, overlap

    @torch.no_grad()
    def propose(self, rgb):
        height, width = rgb.shape[:2]
        scale = self.side / max(height, width)
        rows, columns = round(height * scale), round(width * scale)
        square = np.zeros((self.side, self.side, 3), np.float32)
        square[:rows, :columns] = (cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA) - MEAN) / STD
        embedding = self.neck(self.encoder(torch.from_numpy(square).permute(2, 0, 1)[None])[-1])
        ys, xs = (
            (torch.arange(self.points) + 0.5) * rows / self.points,
            (torch.arange(self.points) + 0.5) * columns / self.points,
        )
        grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1).reshape(1, -1, 1, 2)
        found = self.sam(image_embeddings=embedding, input_points=grid, multimask_output=True)
        logits, scores = found.pred_masks[0].flatten(0, 1), found.iou_scores[0].flatten().numpy()
        small = (logits[:, : -(-rows // 4), : -(-columns // 4)] > 0).numpy()
        kept: list[int] = []
        for i in np.argsort(-scores, kind="stable"):
            area = small[i].sum()
            if 12 <= area <= 0.9 * small[i].size and all(
                (small[i] & small[j]).sum() < self.overlap * (small[i] | small[j]).sum() for j in kept
            ):
                kept.append(int(i))
        masks = [cv2.resize(logits[i, : rows // 4, : columns // 4].numpy(), (width, height)) > 0 for i in kept]
        return (np.stack(masks) if masks else np.zeros((0, height, width), bool)), scores[kept]


PLACES = "shared_image_embedding.positional_embedding"


def decoder_weights(state):
    """Prompt encoder and mask decoder under transformers' names."""
    rules = [
        (r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix", PLACES),
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
        if key.startswith("image_encoder."):
            continue
        name = key
        for old, new in rules:
            name = re.sub(old, new, name)
        renamed[name] = value.float()
    renamed["prompt_encoder.shared_embedding.positional_embedding"] = renamed[PLACES]
    return renamed
