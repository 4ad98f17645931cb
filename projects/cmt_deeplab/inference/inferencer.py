"""The inferencer, which runs a trained model on images, folders, videos and arrays."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from rich.console import Console
from rich.progress import track

from cmt_deeplab.config_names import EXPORTED
from cmt_deeplab.construction import is_meant
from cmt_deeplab.errors import UserError

from . import optimized
from .exported import load_exported
from .inputs import Item, open_inputs
from .network import Network, load_network
from .output import PredictionFolder
from .result import PanopticResult, as_result


class PanopticInferencer:
    """Panoptic segmentation of images, folders, videos and arrays.

        inferencer = PanopticInferencer('work_dirs/NAME/iter_150000.pth')
        for result in inferencer('photos/', batch_size=4, out_dir='predictions'):
            print(result.name, [info['label'] for info in result.segments_info])

    The segments are those that ``tools/test.py`` evaluates, bit for bit in equal batches.

    Args:
        model: a checkpoint (.pth) or published weights (.safetensors) that carry their config; the
            work dir of a training, whose best or else last checkpoint is taken; an .onnx file of
            ``cmt-deeplab export``, which onnxruntime runs; or a config (its path, its name in this
            package, or a ``Config``), which needs ``weights``.
        weights: the checkpoint of a config.
        device: as torch names it; by default the GPU where there is one, otherwise the CPU.
        windows: (height, width) of the windows in which large images are predicted, at their own
            scale and with segments that are joined across the borders; by default as in the config
            (``model.test_windows``).
        optimize: 'fold' for a model that is faster and gives the same but for rounding; 'compile'
            for one that is also compiled, which takes a minute or more at the first image; see
            :func:`cmt_deeplab.inference.optimized.optimize`. onnxruntime does this by itself.

    Raises:
        MissingFileError: a file does not exist.
        UserError: a file cannot be used, or torch does not have the device here.
    """

    def __init__(
        self,
        model: str | Path | Config,
        *,
        weights: str | Path | None = None,
        device: str | None = None,
        windows: Sequence[int] | None = None,
        optimize: str = 'none',
    ) -> None:
        optimized.check_level(optimize)
        if weights is None and str(model).endswith(EXPORTED):
            self.network: Network = load_exported(model, device)
        else:
            self.network = load_network(model, weights, device)
            optimized.optimize(self.network.model, optimize)
        if windows is not None:
            self.network = self.network.in_windows(windows)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, things first."""
        return self.network.classes

    def __call__(self, inputs: Any, **options: Any) -> list[PanopticResult]:
        """The results of all images, in their order; see :meth:`stream` for the arguments.

        They hold the images and their id maps, 7 bytes for each pixel. For thousands of images or a
        video, take :meth:`stream`.
        """
        return list(self.stream(inputs, **options))

    def stream(
        self,
        inputs: Any,
        *,
        batch_size: int = 1,
        out_dir: str | Path | None = None,
        overlay: bool = True,
        thresholds: float | Mapping[str, float] | None = None,
        channel_order: str = 'rgb',
        progress: bool = True,
        skip: Callable[[UserError], None] | None = None,
    ) -> Iterator[PanopticResult]:
        """Yield the results one by one, each as soon as its batch is done, and keep none.

        Args:
            inputs: a path, folder, pattern (``'photos/**/*.jpg'``), video, array or PIL image, or
                a list or iterator of them.
            batch_size: how many images the model gets at a time.
            out_dir: where ``panoptic.json``, ``panoptic/NAME.png`` and ``overlay/NAME.jpg`` are
                written, and NAME.mp4 for a video.
            overlay: whether the pictures and videos are written.
            thresholds: the smallest class probability, one number or ``{'person': 0.5}``; other
                classes keep the thresholds of the model. It is applied before the segments are
                made: the pixels of a center below it go to other segments, as with
                ``thing_threshold`` of the merge.
            channel_order: of arrays, 'rgb' or 'bgr'; OpenCV reads images as 'bgr'.
            progress: whether a bar is shown on the error output, if that is a terminal.
            skip: is called with the error of each image and video that cannot be read, which is
                then left out; by default the error is raised.

        Raises:
            UserError: an image cannot be used; those before it are written.
        """
        if not (isinstance(batch_size, int) and batch_size > 0):
            raise UserError(f'batch_size is {batch_size!r}: give a whole number of at least 1.')
        limits = None if thresholds is None else self._limits(thresholds)
        items, total = open_inputs(inputs, channel_order)
        folder = nullcontext()
        if out_dir is not None:
            folder = PredictionFolder(out_dir, self.network, overlay=overlay)
        console = Console(stderr=True)
        shown = progress and console.is_terminal and total != 1
        items = track(items, 'images', total, console=console, disable=not shown)
        loaded = self._loaded(items, skip)
        return self._results(loaded, batch_size, limits, folder)

    def _loaded(
        self, items: Iterable[Item], skip: Callable[[UserError], None] | None
    ) -> Iterator[tuple[Item, dict]]:
        """Each item with its image, as the pipeline loads it."""
        for item in items:
            try:
                if item.problem is not None:
                    raise item.problem
                loaded = self.network.load(item.path if item.image is None else item.image)
            except UserError as error:
                if skip is None:
                    raise
                skip(error)
            else:
                yield item, loaded

    def _results(
        self,
        loaded: Iterator[tuple[Item, dict]],
        batch_size: int,
        limits: np.ndarray | None,
        folder: Any,
    ) -> Iterator[PanopticResult]:
        with folder as opened:
            while batch := list(islice(loaded, batch_size)):
                items, images = zip(*batch)
                for item, result in zip(items, self._predict(items, images, limits)):
                    if opened is not None:
                        opened.write(item, result)
                    yield result

    def _predict(
        self, items: Sequence[Item], loaded: Sequence[dict], limits: np.ndarray | None
    ) -> Iterator[PanopticResult]:
        network = self.network
        images = [each['img'] for each in loaded]  # transforms replace it in the dict
        for item, image, (segment_map, infos) in zip(
            items, images, network.predict(loaded, limits)
        ):
            yield as_result(
                segment_map,
                infos,
                network.classes,
                network.num_things_classes,
                palette=network.palette,
                image=np.ascontiguousarray(image[..., ::-1].astype(np.uint8, copy=False)),
                name=item.name,
                path=item.path,
                frame=item.frame,
            )

    def _limits(self, thresholds: float | Mapping[str, float]) -> np.ndarray:
        """The smallest class probability by label; nan keeps that of the model."""
        limits = np.full(len(self.classes), np.nan)
        given = (
            thresholds
            if isinstance(thresholds, Mapping)
            else dict.fromkeys(self.classes, thresholds)
        )
        for name, value in given.items():
            if name not in self.classes:
                raise UserError(
                    f'thresholds names {name!r}, which is no class of the model'
                    f'{is_meant(str(name), self.classes)}: its classes are '
                    f'{", ".join(self.classes)}.'
                )
            if not (isinstance(value, Real) and 0 <= value <= 1):
                raise UserError(f'The threshold is {value!r}: give a number from 0 to 1.')
            limits[self.classes.index(name)] = value
        return limits
