"""The whole VIPMT network for one clip: backbone, prototype activation, iterations, heads, IoU score."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from fewmask.errors import FewmaskError
from fewmask.models.position import sine_position_2d
from fewmask.vipmt.backbone import FrameFeatures, build_backbone, encode
from fewmask.vipmt.config import VIPMTConfig
from fewmask.vipmt.exemplars import Exemplars
from fewmask.vipmt.heads import LearnedUpsampling, SegmentationHead
from fewmask.vipmt.iou_net import IoUNet
from fewmask.vipmt.iteration import IterationMaps, PrototypeTransformer
from fewmask.vipmt.prototype_activation import ActivatedQuery, PrototypeActivation
from fewmask.vipmt.similarity import compared_features, structural_similarity_maps


@dataclass(frozen=True)
class ClipSegmentation:
    """Result for a clip of T frames of H x W pixels; h = ceil(H / 8), w = ceil(W / 8)."""

    logits: Tensor
    """[T, 2, H, W]; channel 1 is foreground, the prediction is the argmax."""
    iou_scores: Tensor
    """Predicted IoU of each frame's mask, [T] in (0, 1)."""
    prior: Tensor
    """Prior maps, [T, h, w] in [0, 1]."""
    token_logits: Tensor
    """Logits before upsampling, [T, 2, h, w]."""
    initial_logits: Tensor
    """Logits of the initial head, upsampled, [T, 2, H, W]."""
    query: ActivatedQuery
    """State before the first iteration."""
    final_tokens: Tensor
    """F_L, [T, C, h, w]."""
    iterations: tuple[IterationMaps, ...]
    """Maps of the L iterations."""
    judged_maps: Tensor
    """Input of the IoU network: predicted mask and four structural similarity maps, [T, 5, h, w]."""

    @property
    def masks(self) -> Tensor:
        """Predicted masks, bool [T, H, W]."""
        return self.logits[:, 1] > self.logits[:, 0]


class VIPMTNetwork(nn.Module):
    """Segments the class that the supports show in a clip.

    >>> network = VIPMTNetwork(SMALL).eval()
    >>> clip, pictures, masks = torch.randn(5, 3, 96, 160), torch.randn(2, 3, 96, 160), torch.ones(2, 96, 160)
    >>> network(clip, pictures, masks).logits.shape
    torch.Size([5, 2, 96, 160])
    """

    def __init__(self, config: VIPMTConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        channels: tuple[int, int, int, int] = self.backbone.channels  # type: ignore[assignment]
        self.activation = PrototypeActivation(config, channels)
        self.transformer = PrototypeTransformer(config)
        self.head = SegmentationHead(config.channels, config.head_dropout)
        self.upsample = LearnedUpsampling()
        self.upsample_initial = LearnedUpsampling()
        self.iou_net = IoUNet(config, channels)
        self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As ``nn.Module.train``, but the backbone stays frozen in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights; inputs are cast to it."""
        return self.transformer.prototype.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs are moved there."""
        return self.transformer.prototype.device

    def encode(self, images: Tensor) -> FrameFeatures:
        """Backbone features of normalised images [N, 3, H, W]; they can be cached, the backbone never changes."""
        return encode(self.backbone, images.to(self.device, self.dtype))

    def exemplars(self, features: FrameFeatures, masks: Tensor) -> Exemplars:
        """Encode supports or memory frames; ``masks`` [N, H, W], non-zero = the object."""
        return self.activation.exemplars(features, masks.to(self.device))

    def segment(
        self,
        features: FrameFeatures,
        size: tuple[int, int],
        support: Exemplars,
        memory: Exemplars | None = None,
        *,
        iterated: Exemplars | None = None,
        blind: bool = False,
    ) -> ClipSegmentation:
        """Segment T encoded frames of ``size`` (H, W) pixels; memory of zero frames is the same as none.

        ``iterated``: what the iterations look at in place of the supports, to tell whether they look at all.
        ``blind``: the tokens that they start from are told nothing of the class (`PrototypeActivation`).
        """
        exemplars = support if memory is None else Exemplars.join([support, memory])
        shown = support if iterated is None else iterated
        seen = shown if memory is None else Exemplars.join([shown, memory])
        query = self.activation(features, exemplars, blind=blind)
        height, width = query.tokens.shape[-2:]
        position = sine_position_2d(height, width, self.config.channels, like=query.tokens)
        tokens, iterations = self.transformer(
            query.tokens,
            query.initial_logits.detach().argmax(1) == 1,
            seen,
            len(shown),
            position,
        )
        token_logits = self.head(tokens)
        logits = self.upsample(token_logits, size)
        judged_maps = self._judged_maps(features, token_logits, exemplars)
        return ClipSegmentation(
            logits=logits,
            iou_scores=self.iou_net(features, judged_maps),
            prior=query.prior,
            token_logits=token_logits,
            initial_logits=self.upsample_initial(query.initial_logits, size),
            query=query,
            final_tokens=tokens,
            iterations=tuple(iterations),
            judged_maps=judged_maps,
        )

    def forward(
        self,
        query: Tensor,
        support: Tensor,
        support_masks: Tensor,
        memory: Tensor | None = None,
        memory_masks: Tensor | None = None,
    ) -> ClipSegmentation:
        """Segment a clip.

        Args:
            query: normalised frames [T, 3, H, W].
            support: normalised pictures [K, 3, H', W'], K >= 1.
            support_masks: [K, H', W'], non-zero = the object.
            memory: earlier frames [M, 3, H', W'], M >= 0, of the supports' size.
            memory_masks: their masks [M, H', W'].

        Raises:
            FewmaskError: shapes that do not fit together.
        """
        _check("support", support, support_masks)
        if len(support) == 0:
            raise FewmaskError("support: no frame given; at least one picture with a mask is needed")
        exemplars = self.exemplars(self.encode(support), support_masks)
        remembered = None
        if memory is not None and len(memory):
            if memory_masks is None:
                raise FewmaskError("memory: frames given without memory_masks; give one mask per frame")
            _check("memory", memory, memory_masks)
            remembered = self.exemplars(self.encode(memory), memory_masks)
        size = (int(query.shape[-2]), int(query.shape[-1]))
        return self.segment(self.encode(query), size, exemplars, remembered)

    def _judged_maps(self, features: FrameFeatures, token_logits: Tensor, exemplars: Exemplars) -> Tensor:
        with torch.no_grad():
            inside = token_logits.argmax(1) == 1
            if self.config.structural_maps:
                pooled = compared_features(features, self.config)
                maps = structural_similarity_maps(pooled, inside, exemplars.regions)
            else:
                maps = token_logits.new_zeros(len(inside), 4, *inside.shape[-2:])
            return torch.cat((inside[:, None].to(maps.dtype), maps), dim=1)


def _check(name: str, frames: Tensor, masks: Tensor) -> None:
    if frames.ndim != 4 or masks.shape != (len(frames), *frames.shape[-2:]):
        raise FewmaskError(
            f"{name}: frames {list(frames.shape)} and masks {list(masks.shape)} do not fit; "
            "give frames [N, 3, H, W] and masks [N, H, W]"
        )
