"""The config of a training on own data: a leaf of at most ten lines, as a user would write it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config

from cmt_deeplab.errors import UserError, require_file

from .choices import COARSE, Choices

LEAF = """_base_ = {base!r}
from cmt_deeplab.own_training.data_config import own_data

data = own_data({root!r}, image_size={size}{opening})
model = dict(data.model, panoptic_head={head!r}{backbone}{merge})
train_dataloader = dict(data.train_dataloader, batch_size={batch!r})
val_dataloader = test_dataloader = data.val_dataloader
train_cfg = dict(max_iters={iterations}, val_interval={interval})
del data
"""


def leaf(
    base: Path,
    root: Path,
    choices: Choices,
    *,
    opening: Mapping[str, Any],
    iterations: int,
    batch: int | Literal['auto'],
    weights: str | Path | None,
) -> str:
    """The text of the config.

    Args:
        base: the recipe.
        root: the data, which are opened with the arguments ``opening``.
        weights: the file of the backbone's weights, 'none' to train it from scratch, or None for
            that of the recipe.

    Raises:
        UserError: the recipe has no pretrained weights.
        MissingFileError: the file does not exist.
    """
    recipe, backbone = Config.fromfile(str(base)), ''
    if weights and not recipe.model.backbone.init_cfg:
        if weights != 'none':
            raise UserError(f'{base.stem} is trained from scratch: leave out --weights {weights}.')
    elif weights == 'none':
        backbone = ', backbone=dict(init_cfg=None, frozen_stages=-1, norm_eval=False)'
    elif weights:
        file = str(Path(weights).absolute())
        require_file(file, f'The file of weights {weights} does not exist: correct --weights.')
        backbone = f', backbone=dict(init_cfg=dict(checkpoint={file!r}))'
    return LEAF.format(
        base=str(base),
        root=str(root.absolute()),
        size=choices.image_size,
        opening=''.join(f', {key}={value!r}' for key, value in opening.items()),
        head=head_of(recipe, choices),
        batch=batch,
        backbone=backbone,
        merge=', postprocess=dict(separate_parts=True)' if choices.separate_parts else '',
        iterations=iterations,
        interval=max(1, min(500, iterations // 4)),
    )


def head_of(recipe: Config, choices: Choices) -> dict:
    """What the choices change in the head of the recipe.

    A finer mask comes from one more stage of the pixel decoder, half as wide as the last one.
    """
    head = dict(transformer_decoder=dict(num_centers=choices.num_centers))
    if choices.stride < COARSE:
        decoder = recipe.model.panoptic_head.pixel_decoder
        dilations = decoder.get('dilations', [1] * len(decoder.kinds))
        head['pixel_decoder'] = dict(
            kinds=[*decoder.kinds, 'bottleneck'],
            filters=[*decoder.filters, decoder.filters[-1] // 2],
            num_blocks=[*decoder.num_blocks, 1],
            dilations=[*dilations, 1],
        )
    return head
