"""Single images of an evaluation, drawn as image | truth | prediction from the files."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from cmt_deeplab.coco_format import AS_STORED, VOID_ID, map_value, path_below, read_id_plane
from cmt_deeplab.errors import MissingFileError
from cmt_deeplab.evaluation.predicted_json import read_predictions
from cmt_deeplab.own_data.panoptic_folder import PanopticSplit
from cmt_deeplab.panoptic_json import read_panoptic_json
from cmt_deeplab.visualization.beside import draw_beside
from cmt_deeplab.visualization.drawer import PanopticDrawer

from .evaluation import SavedEvaluation
from .sources import find_predictions


class SavedPictures:
    """Draws images of an evaluation by their id."""

    def __init__(self, evaluation: SavedEvaluation, truth: PanopticSplit, predictions: str) -> None:
        self.truth, (pred_json, self.pred_folder) = truth, find_predictions(predictions)
        content = read_panoptic_json(str(truth.ann_file), needs=('images', 'annotations'))
        self.images = {image['id']: image for image in content['images']}
        self.entries = {entry['image_id']: entry for entry in content['annotations']}
        self.predicted = read_predictions(pred_json, content, str(truth.ann_file), by_name=True)
        self.labels = {category: label for label, category in enumerate(evaluation.kinds)}
        things = sum(evaluation.kinds.values())
        self.drawer = PanopticDrawer(
            classes=evaluation.names, num_things_classes=things, max_side=640
        )

    def draw(self, image_id: int | str) -> np.ndarray:
        """The three pictures in one, RGB (H, W, 3).

        Raises:
            MissingFileError: the image does not exist.
        """
        file_name = self.images[image_id]['file_name']
        path = path_below(str(self.truth.img_dir), file_name, str(self.truth.ann_file))
        image = cv2.imread(path, AS_STORED)
        if image is None:
            raise MissingFileError(
                f'The image {path} does not exist or cannot be read: give the folder of the images '
                'by --img-prefix.'
            )
        entry, guess = self.entries[image_id], self.predicted[image_id]
        truth, true_values = self._map_of(entry, str(self.truth.seg_dir))
        prediction, values = self._map_of(guess, self.pred_folder)
        return draw_beside(
            *(image[..., ::-1], truth, prediction),
            drawer=self.drawer,
            crowds=[true_values[s['id']] for s in entry['segments_info'] if s.get('iscrowd')],
            scores={values[s['id']]: s['score'] for s in guess['segments_info'] if 'score' in s},
            name=Path(file_name).name,
        )

    def _map_of(self, entry: Mapping, folder: str) -> tuple[np.ndarray, dict[int, int]]:
        """The map (H, W) of values of ``map_value``, and the value of each segment."""
        plane = read_id_plane(path_below(folder, entry['file_name'], folder))
        values = {VOID_ID: len(self.labels)}
        for number, segment in enumerate(entry['segments_info'], start=1):
            values[segment['id']] = map_value(self.labels[segment['category_id']], number)
        ids, places = np.unique(plane, return_inverse=True)
        found = np.array([values[i] for i in ids.tolist()], np.int64)
        return found[places].reshape(plane.shape), values
