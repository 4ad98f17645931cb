"""The order of classes: ours is things, stuff, void, each in the order of the data set."""

import torch
from torch import Tensor

COCO, CITYSCAPES = 133, 19
# Cityscapes' train ids are stuff (0 to 10), then things (11 to 18): here they stand in our order.
TRAIN_IDS = (*range(11, 19), *range(11))
ABSENT = -100.0  # the logit of a class that the source does not have


def from_train_ids(channels: Tensor) -> Tensor:
    """Weight or bias (C, ...) of a Cityscapes classifier in the order of train ids, in our order.

    Void, the 20th channel, stays the last; where the source has none, one that no pixel chooses is
    added, so that the probabilities of the others stay as they are.
    """
    if len(channels) == CITYSCAPES:
        void = channels.new_full((1, *channels.shape[1:]), ABSENT if channels.dim() == 1 else 0.0)
        channels = torch.cat([channels, void])
    return channels[[*TRAIN_IDS, CITYSCAPES]]
