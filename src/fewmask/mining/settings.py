"""What `mine` can be told about selection and output; the defaults are the paper's where it states them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt


class MiningSettings(BaseModel):
    """Settings of one mining run; a run can only be resumed with the same ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    proposals: PositiveInt = Field(default=15, description="N: masks kept per frame, the best by score")
    score_threshold: float = Field(
        default=0.0, description="masks scored below are dropped; the paper keeps all, `fewmask mine` with MinVIS not"
    )
    candidates: PositiveInt = Field(default=10, description="K: combinations per frame that stage 1 hands to stage 2")
    disjoint: bool = Field(default=True, description="the non-overlapping constraint")
    tolerance: NonNegativeInt = Field(default=0, description="pixels that two selected masks may share all the same")
    reduction: Literal["mean", "sum"] = Field(
        default="mean", description="of L_I and L_F over pixels; the paper prints sums"
    )
    weight_background: NonNegativeFloat = Field(default=1.0, description="λ_I")
    weight_flow: NonNegativeFloat = Field(default=1.0, description="λ_F; 0 computes no flow")
    weight_consistency: NonNegativeFloat = Field(default=0.5, description="λ_p")
    background_prior: float = Field(
        default=0.0,
        description="added to the log-odds of background everywhere: above 0 fewer and surer masks are kept",
    )
    weight_score: NonNegativeFloat = Field(
        default=0.0,
        description="what a mask's score, less score_centre, takes off L_I where it is selected; ours, the paper looks "
        "at scores only to choose the N. Needs disjoint masks and tolerance 0",
    )
    score_centre: float = Field(default=0.85, ge=0, le=1, description="a score that speaks neither for nor against")
    flow_short_side: int = Field(
        default=144, ge=32, description="frames are reduced to this shorter side for flow, in whose pixels L_F counts"
    )
    flow_search: Literal["forecast", "bounds"] = Field(
        default="forecast",
        description="which pairs get a synthetic flow: those that others of the same frames do not rule out, or all "
        "that lower bounds cannot rule out, which is certain to find the best path and takes several times as long",
    )
    link_iou: float = Field(default=0.3, gt=0, le=1, description="least IoU of masks that carry one track id")
    link_gap: PositiveInt = Field(
        default=5, description="a track unseen for this many frames has ended; 1 allows no hole"
    )
    frame_step: PositiveInt = Field(
        default=1, description="one frame in so many is looked at, for long videos of high rate; the paper takes all"
    )
    keep_every: PositiveInt = Field(
        default=5, description="of the frames looked at, one in so many enters the dataset; all take part in selection"
    )
