"""Where mmdet puts pictures and predictions: no image takes the place of another.

mmdet names them by the last part of an image's path alone. Its hook and its inferencer are changed
in place, since configs and scripts name them.
"""

import os.path as osp
from collections.abc import Sequence
from inspect import signature
from typing import Any

from mmdet.apis import DetInferencer
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.structures import DetDataSample
from mmengine.runner import Runner

from cmt_deeplab.datasets.file_check import paths_of_equal_names
from cmt_deeplab.errors import UserError


def find_common_folder(self: DetVisualizationHook, runner: Runner) -> None:
    """Where names come twice among the images of a test, find the folder that holds all of them."""
    self.common_folder = None
    if self.draw and self.test_out_dir is not None:
        paths = paths_of_equal_names(runner.test_dataloader.dataset)
        self.common_folder = osp.commonpath(map(osp.dirname, paths)) if paths else None


def draw_below_it(
    self: DetVisualizationHook,
    runner: Runner,
    batch_idx: int,
    data_batch: dict,
    outputs: Sequence[DetDataSample],
) -> None:
    """As in mmdet, but the pictures of such images keep the folders below the common one."""
    if getattr(self, 'common_folder', None) is None:
        _draw(self, runner, batch_idx, data_batch, outputs)
        return
    wanted = self.test_out_dir
    for sample in outputs:
        folder = osp.relpath(osp.dirname(osp.abspath(sample.img_path)), self.common_folder)
        self.test_out_dir = osp.join(wanted, folder)
        _draw(self, runner, batch_idx, data_batch, [sample])
    self.test_out_dir = wanted


def call(self: DetInferencer, inputs: Any, *args: Any, **kwargs: Any) -> dict:
    """As in mmdet, unless two images would be written to one file of ``out_dir``.

    That of an earlier call counts too.

    Raises:
        UserError: they would, and nothing has been written.
    """
    given = signature(_call).bind(self, inputs, *args, **kwargs)
    given.apply_defaults()
    options, image_of = given.arguments, dict(getattr(self, 'image_of', {}))
    for image in self._inputs_to_list(inputs) if options['out_dir'] else ():
        if isinstance(image, str):
            name, image = osp.basename(image), osp.abspath(image)
            places = [] if options['no_save_vis'] else [osp.join('vis', name)]
            if not options['no_save_pred']:
                places.append(osp.join('preds', f'{osp.splitext(name)[0]}.json'))
            for place in (osp.join(options['out_dir'], place) for place in places):
                if image_of.setdefault(place, image) != image:
                    raise UserError(
                        f'{image_of[place]} and {image} would both be written to {place}: give '
                        'each its own out_dir, in a call for each.'
                    )
    self.image_of = image_of
    return _call(self, inputs, *args, **kwargs)


_call, _draw = DetInferencer.__call__, DetVisualizationHook.after_test_iter
DetInferencer.__call__ = call
DetVisualizationHook.before_test = find_common_folder
DetVisualizationHook.after_test_iter = draw_below_it
