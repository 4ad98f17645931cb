"""Pictures of predictions beside the truth, while a model trains."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.fileio import get
from mmengine.runner import Runner

from .local_visualizer import require_window
from .picture_files import reading_as_data_set


@HOOKS.register_module()
class PanopticVisualizationHook(DetVisualizationHook):
    """mmdet's hook, whose pictures of a validation show how the same images come along.

    With ``draw`` each validation sends a picture of every ``interval``-th image, under the name of
    the image and with the iteration as its step, to all backends of the visualizer: files,
    TensorBoard, Weights & Biases. mmdet draws other images each time, all under one name. Tests are
    drawn as by mmdet. Of several processes the first draws, from its share of the images.

    Raises:
        UserError: ``show`` is set, and no window can be opened.
    """

    def __init__(self, draw: bool = False, interval: int = 50, **options: Any) -> None:
        if draw and options.get('show'):
            require_window()
        super().__init__(draw, interval, **options)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]
    ) -> None:
        loader = runner.val_dataloader
        first = batch_idx * (loader.batch_size or 1)
        chosen = outputs[-first % self.interval :: self.interval] if self.draw else ()
        for sample in chosen:
            with reading_as_data_set(loader.dataset):
                content = get(sample.img_path, backend_args=self.backend_args)
                image = mmcv.imfrombytes(content, channel_order='rgb')
            self._visualizer.add_datasample(
                f'val_{Path(sample.img_path).stem}',
                image,
                sample,
                show=self.show,
                wait_time=self.wait_time,
                pred_score_thr=self.score_thr,
                step=runner.iter,
            )
