"""Files of predictions: overlays, videos, and the COCO panoptic format."""

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from cmt_deeplab.errors import UserError, make_folder_of
from cmt_deeplab.panoptic_json import PREDICTED, PREDICTIONS, is_prediction
from cmt_deeplab.whole_file import write_json

from .inputs import Item, image_id
from .network import Network
from .result import PanopticResult

CODEC = 'mp4v'  # that every build of OpenCV writes


class PredictionFolder:
    """``panoptic.json`` with the PNGs in ``panoptic/``, pictures in ``overlay/``, and videos.

    The JSON is written at the end, also after an error. Ids of categories are those of the training
    data, or label + 1 if a checkpoint does not tell them; the JSON names the categories. An image
    whose name is a number, as in COCO, has this number as its id. Only earlier predictions and
    videos are written over.

    Raises:
        UserError: the folder cannot be written to, or holds other files of these names.
    """

    def __init__(self, folder: str | Path, network: Network, *, overlay: bool) -> None:
        self.folder, self.overlay, self.network = Path(folder), overlay, network
        self.json_file = self.folder / PREDICTED
        make_folder_of(str(self.json_file))
        self.again = self.json_file.exists()  # predictions are there
        if self.again and not is_prediction(self.json_file):
            raise _of_others(self.json_file)
        self.images: dict[str, dict] = {}
        self.annotations: dict[str, dict] = {}
        self._video: tuple[str, cv2.VideoWriter] | None = None
        self.category_ids = network.category_ids or [*range(1, len(network.classes) + 1)]

    def __enter__(self) -> 'PredictionFolder':
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_video()
        if self.images:
            self._write_json()

    def _write_json(self) -> None:
        kinds = enumerate(zip(self.category_ids, self.network.classes))
        content = dict(
            info=PREDICTIONS,
            images=[*self.images.values()],
            annotations=[*self.annotations.values()],
            categories=[
                dict(id=number, name=name, isthing=int(k < self.network.num_things_classes))
                for k, (number, name) in kinds
            ],
        )
        write_json(self.json_file, content)

    def write(self, item: Item, result: PanopticResult) -> Path | None:
        """Write the result of one image, and return the path of its picture, or else of its PNG."""
        if item.frame is not None:
            return self._write_frame(item, result) if self.overlay else None
        png = self.folder / 'panoptic' / f'{item.name}.png'
        picture = self.folder / 'overlay' / f'{item.name}.jpg'
        for path in () if self.again else (png, picture):
            if path.exists() and item.name not in self.images:
                raise _of_others(path)
        if not self.images:
            self._write_json()  # a run that is killed can be repeated
        result.save_ids(png)
        number, (height, width) = image_id(item.name), result.id_map.shape
        file = item.path or f'{item.name}.png'
        self.images[item.name] = dict(
            id=number, file_name=Path(file).name, height=height, width=width
        )
        self.annotations[item.name] = dict(
            image_id=number,
            file_name=f'{item.name}.png',
            segments_info=[
                dict(
                    id=info['id'],
                    category_id=self.category_ids[info['label_id']],
                    iscrowd=0,
                    area=info['area'],
                    bbox=info['bbox'],
                    **({} if info['score'] is None else dict(score=info['score'])),
                )
                for info in result.segments_info
            ],
        )
        if not self.overlay:
            return png
        result.save(picture)
        return picture

    def _write_frame(self, item: Item, result: PanopticResult) -> Path:
        path = self.folder / f'{item.name}.mp4'
        picture = np.ascontiguousarray(result.draw()[..., ::-1])
        if self._video is None or self._video[0] != item.path:
            self._end_video()
            make_folder_of(str(path))
            if path.exists() and path.parent.samefile(Path(item.path).parent):
                raise UserError(
                    f'{path} is there, beside the video that is read: name another folder to write '
                    'to.'
                )
            code, size = cv2.VideoWriter.fourcc(*CODEC), picture.shape[1::-1]
            writer = cv2.VideoWriter(str(path), code, item.frames_per_second, size)
            if not writer.isOpened():
                raise UserError(f'{path} cannot be written: OpenCV here has no codec for MP4.')
            self._video = item.path, writer
        self._video[1].write(picture)
        return path

    def _end_video(self) -> None:
        if self._video is not None:
            self._video[1].release()
        self._video = None


def _of_others(path: Path) -> UserError:
    return UserError(
        f'{path} was not written by this version of cmt-deeplab predict: name another folder to '
        'write to.'
    )
