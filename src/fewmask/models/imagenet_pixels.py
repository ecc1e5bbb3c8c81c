"""Pictures as networks want them that were taught on ImageNet by torchvision's recipe."""

import torch
from torch import Tensor

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


def normalised(pictures: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] to float32 [..., 3, H, W] with ImageNet's mean 0 and deviation 1."""
    mean = torch.tensor(PIXEL_MEAN, device=pictures.device)
    std = torch.tensor(PIXEL_STD, device=pictures.device)
    return ((pictures.float() / 255 - mean) / std).movedim(-1, -3).contiguous()
