"""Pictures and predictions of mmdet: none takes the place of another or lies over a turned image.

mmdet names them by the last part of an image's path alone, and turns what it draws on by its EXIF
data, whatever the pipeline did. Its hook and its inferencer are changed in place, since configs and
scripts name them.
"""

import os.path as osp
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from inspect import signature
from typing import Any

import mmcv
from mmcv.transforms import LoadImageFromFile
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


@contextmanager
def reading_as(transforms: Iterable) -> Iterator[None]:
    """Let mmdet read what it draws on as these transforms of a pipeline read it."""
    loaders, read = [getattr(step, 'from_file', step) for step in transforms], mmcv.imfrombytes
    kinds = {each.color_type for each in loaders if isinstance(each, LoadImageFromFile)}
    if kinds - {'color', 'grayscale'}:
        mmcv.imfrombytes = partial(read, flag='color_ignore_orientation')
    try:
        yield
    finally:
        mmcv.imfrombytes = read


def reading_as_data_set(dataset: Any) -> AbstractContextManager:
    """Let mmdet read what it draws on as this data set, or its first part, does."""
    dataset = getattr(dataset, 'datasets', [dataset])[0]
    return reading_as(getattr(getattr(dataset, 'pipeline', None), 'transforms', ()))


def visualize(self: DetInferencer, *args: Any, **kwargs: Any) -> Any:
    with reading_as(self.pipeline.transforms):
        return _visualize(self, *args, **kwargs)


def _drawing_as_read(draw: Callable, part: str) -> Callable:
    """``draw`` over images that are read as by the data set of the loader ``part``."""

    def draw_as_read(self: DetVisualizationHook, runner: Runner, *args: Any, **kwargs: Any) -> None:
        with reading_as_data_set(getattr(runner, part).dataset if self.draw else None):
            draw(self, runner, *args, **kwargs)

    return draw_as_read


_call, _draw = DetInferencer.__call__, DetVisualizationHook.after_test_iter
_visualize, DetInferencer.visualize = DetInferencer.visualize, visualize
DetInferencer.__call__ = call
DetVisualizationHook.before_test = find_common_folder
DetVisualizationHook.after_test_iter = _drawing_as_read(draw_below_it, 'test_dataloader')
DetVisualizationHook.after_val_iter = _drawing_as_read(
    DetVisualizationHook.after_val_iter, 'val_dataloader'
)
