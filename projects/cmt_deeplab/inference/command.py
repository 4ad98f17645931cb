"""The command ``cmt-deeplab predict``, which writes predictions into a folder."""

import os
import sys
from collections.abc import Sequence
from itertools import groupby

import cv2

from cmt_deeplab.errors import UserError

from .inferencer import PanopticInferencer
from .result import PanopticResult

NO_WINDOW = (
    'No window can be opened (there is no display, or OpenCV is built without one): leave out '
    '--show, and look at the files.'
)
DISPLAYS = {'DISPLAY', 'WAYLAND_DISPLAY', 'QT_QPA_PLATFORM'}


def predict(
    model: str,
    inputs: Sequence[str],
    *,
    weights: str | None = None,
    out: str = 'predictions',
    batch_size: int = 1,
    device: str | None = None,
    windows: Sequence[int] | None = None,
    optimize: str = 'fold',
    threshold: float | None = None,
    overlay: bool = True,
    show: bool = False,
) -> None:
    """Predict images, folders, patterns and videos, and print one line for each file.

    The arguments are those of :class:`PanopticInferencer` and its ``stream``. ``show`` opens a
    window with each picture; after an image it waits until a key is pressed.

    Raises:
        UserError: at once, if nothing can be predicted; at the end, if some images or videos could
            not be read. The error output then has a line for each, and the others are written.
    """
    if show and sys.platform == 'linux' and not DISPLAYS & {*os.environ}:
        raise UserError(NO_WINDOW)  # Qt would end the process
    inferencer = PanopticInferencer(
        model, weights=weights, device=device, windows=windows, optimize=optimize
    )
    left_out: list[UserError] = []

    def skip(error: UserError) -> None:
        left_out.append(error)
        print(f'Left out: {error}', file=sys.stderr)

    results = inferencer.stream(
        list(inputs),
        batch_size=batch_size,
        out_dir=out,
        overlay=overlay,
        thresholds=threshold,
        progress=sys.stdout.isatty(),  # the bar would take the lines to the error output
        skip=skip,
    )
    images = 0
    for path, of_one_file in groupby(results, lambda result: result.path):
        frames = 0
        for result in of_one_file:
            if result.frame is None:
                print(f'{path}: {_summary(result)}')
                images += 1
            else:
                frames += 1
            if show:
                _show(result)
        if frames:
            print(f'{path}: {frames} frames' + f', drawn in {out}/{result.name}.mp4' * overlay)
    if images:
        pictures = f'; drawn in {out}/overlay/' if overlay else ''
        counted = f'{images} image' + 's' * (images != 1)
        print(f'{counted}: {out}/panoptic.json and {out}/panoptic/{pictures}')
    if left_out:
        raise UserError(f'{len(left_out)} of the inputs could not be read, for the reasons above.')


def _summary(result: PanopticResult) -> str:
    labels = [info['label'] for info in result.segments_info]
    counts = {label: labels.count(label) for label in labels}
    return ', '.join(f'{count} {label}' for label, count in counts.items()) or 'nothing found'


def _show(result: PanopticResult) -> None:
    try:
        cv2.imshow('cmt-deeplab predict', result.draw()[..., ::-1])
        cv2.waitKey(1 if result.frame is not None else 0)
    except cv2.error as error:
        raise UserError(NO_WINDOW) from error
