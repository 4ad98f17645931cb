"""What a config on own data need not say: it stands in the annotation files.

A leaf of at most ten lines names the data and the size of the images, once::

    _base_ = '../_base_/own_data/cmt-lite0.py'
    from cmt_deeplab.own_training.data_config import own_data

    data = own_data('data/mine', image_size=(384, 384))
    model = data.model
    train_dataloader, val_dataloader = data.train_dataloader, data.val_dataloader
    test_dataloader = val_dataloader
    del data

This is done when the config is read, so that training, test and mmdet's inference API have the
numbers, and so does the full config that a run writes into its work dir. Neither torch nor mmdet is
imported.
"""

from pathlib import Path
from typing import Any

from mmengine.config import ConfigDict

from cmt_deeplab.errors import UserError
from cmt_deeplab.own_data import PanopticSplit, open_data
from cmt_deeplab.panoptic_json import read_panoptic_json


def own_data(
    root: str | Path, *, image_size: int | tuple[int, int], windows: bool = False, **opening: Any
) -> ConfigDict:
    """``model``, ``train_dataloader`` and ``val_dataloader`` of a config on the data in ``root``.

    The model has the class counts and the input size, the data loaders have files and size.

    Args:
        root: a folder in any layout that :func:`open_data` knows.
        image_size: (height, width) of the training crop and of the box that test images are fitted
            into, or the side of a square.
        windows: leave large images at their own scale: training takes crops of ``image_size``, and
            test images are predicted in overlapping windows of this size.
        opening: further arguments of :func:`open_data`, such as ``stuff``.

    Raises:
        UserError: the data cannot be read, or hold a single image.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    folder = open_data(root, **opening)
    if folder.val is None:
        raise UserError(f'{root} has no image for the validation: add images.')
    categories = read_panoptic_json(str(folder.train.ann_file), needs=('categories',))['categories']
    things = sum(bool(category['isthing']) for category in categories)
    return ConfigDict(
        model=dict(
            num_things_classes=things,
            num_stuff_classes=len(categories) - things,
            data_preprocessor=dict(size=size),
            **(dict(test_windows=dict(size=size)) if windows else {}),
        ),
        train_dataloader=loader_of(folder.train, size, own_scale=windows),
        val_dataloader=loader_of(folder.val, size, own_scale=windows),
    )


def loader_of(split: PanopticSplit, size: tuple[int, int], *, own_scale: bool) -> dict:
    """The entries of a data loader that name the files of a split."""
    return dict(
        dataset=dict(
            data_root='',
            ann_file=str(split.ann_file.absolute()),
            data_prefix=dict(img=str(split.img_dir.absolute()), seg=str(split.seg_dir.absolute())),
            image_size=size,
            own_scale=own_scale,
        )
    )
