"""Exported networks for the inferencer: ONNX files, which onnxruntime runs in place of PyTorch.

The metadata of an ONNX file of ``cmt-deeplab export`` hold the texts of :func:`texts_of` as JSON,
which is read like that of a checkpoint. So the file alone suffices, and nothing in it is executed
except for the graph, which the runtime runs.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from cmt_deeplab.checkpoints.entries import RECIPE
from cmt_deeplab.checkpoints.recipe import read_recipe, recipe_of
from cmt_deeplab.coco_format import map_value
from cmt_deeplab.devices import chosen_device
from cmt_deeplab.errors import MissingPackageError, UserError, require_file
from cmt_deeplab.models.data_preprocessor import PanopticDataPreprocessor
from cmt_deeplab.models.detectors.outputs import add_prediction, add_result
from cmt_deeplab.models.detectors.windows import PredictedInWindows
from cmt_deeplab.postprocess import PanopticResult
from cmt_deeplab.postprocess.merge_base import PanopticMerge

from .network import Network, as_network

LOGITS = ('mask_logits', 'class_logits')
SEGMENTS = ('id_map', 'labels', 'scores', 'areas')
DATA = 'dataset_meta'  # classes and palette

# Runs a graph: takes the names of the outputs (LOGITS or SEGMENTS) and the inputs by name, and
# returns these outputs.
Run = Callable[[Sequence[str], dict[str, np.ndarray]], Sequence[np.ndarray]]


class ExportedModel(PredictedInWindows, BaseModel):
    """A detector for inference only, whose network is the graph of an exported file.

    Args:
        run: runs the graph.
        path: the file, for messages.
        postprocess: the config of the merge, or None if the graph contains the merge.

    The other arguments are those of :class:`CMTDeepLab`.
    """

    semantic_on = instance_on = False

    def __init__(
        self,
        run: Run,
        *,
        path: str,
        num_things_classes: int,
        num_stuff_classes: int,
        align_corners: bool,
        data_preprocessor: Mapping,
        postprocess: Mapping | None,
        test_windows: Mapping | None = None,
    ) -> None:
        classes = dict(num_things_classes=num_things_classes, num_stuff_classes=num_stuff_classes)
        preprocessor = _built(
            PanopticDataPreprocessor, data_preprocessor, align_corners=align_corners, **classes
        )
        super().__init__(data_preprocessor=preprocessor)
        self.run, self.path, self.align_corners = run, path, align_corners
        self.num_things_classes, self.num_stuff_classes = num_things_classes, num_stuff_classes
        self.num_classes = num_things_classes + num_stuff_classes
        self.postprocess = postprocess and _built(PanopticMerge, postprocess, **classes)
        if test_windows is not None:
            self.set_test_windows(**test_windows)

    def forward(
        self, inputs: Tensor, data_samples: SampleList, mode: str = 'predict'
    ) -> SampleList:
        """Adds ``pred_panoptic_seg`` to each sample, as :meth:`CMTDeepLab.predict` does."""
        with blaming(self.path):
            for image, sample in zip(inputs, data_samples):
                self._predict(image, sample)
        return data_samples

    def _predict(self, image: Tensor, sample: DetDataSample) -> None:
        feeds, size = dict(images=image[None].cpu().numpy()), sample.input_image_shape
        if self.postprocess is not None:
            logits = (
                torch.from_numpy(each[0]).to(image.device) for each in self.run(LOGITS, feeds)
            )
            input_size = tuple(image.shape[-2:])
            add_prediction(self, sample, *logits, input_size=input_size, image_size=size)
            return
        sizes = dict(image_size=size, output_size=sample.ori_shape[:2])
        feeds |= {name: np.array(value, np.int64) for name, value in sizes.items()}
        id_map, *rows = self.run(SEGMENTS, feeds)
        result = self._result(torch.from_numpy(id_map).to(image.device), *rows)
        if result.segment_map.shape != sample.ori_shape[:2]:
            raise ValueError(f'id_map has the shape {id_map.shape}')
        add_result(self, sample, result)

    def _result(
        self, id_map: Tensor, labels: np.ndarray, scores: np.ndarray, areas: np.ndarray
    ) -> PanopticResult:
        """The result, whose map holds the values of ``coco_format.map_value``."""
        values, infos, instance = [self.num_classes], [], 0
        for label, score, area in zip(labels.tolist(), scores.tolist(), areas.tolist()):
            if not area:
                break
            if not 0 <= label < self.num_classes:
                raise ValueError(f'labels has {label}')
            thing = label < self.num_things_classes
            instance += thing
            values.append(map_value(label, instance * thing))
            info = dict(id=values[-1], category_id=label, isthing=thing, score=score, area=area)
            infos.append(info)
        return PanopticResult(id_map.new_tensor(values, dtype=torch.int32)[id_map.long()], infos)


def texts_of(network: Network, size: Sequence[int], *, merged: bool) -> dict[str, str]:
    """What an exported file carries as JSON: classes, preprocessing and settings of the merge.

    If the graph contains the merge (``merged``), it also normalizes the colors.

    Raises:
        UserError: the model has parts from outside of this package and mmdet.
    """
    config = network.recipe['model']
    kept = {key: getattr(network.model, key) for key in ('num_things_classes', 'num_stuff_classes')}
    preprocessor = dict(config.get('data_preprocessor') or dict(type='PanopticDataPreprocessor'))
    preprocessor['size'] = list(size)
    if merged:
        preprocessor.update(mean=[0, 0, 0], std=[1, 1, 1])
    model = dict(
        kept,
        align_corners=network.model.align_corners,
        data_preprocessor=preprocessor,
        postprocess=None if merged else config['postprocess'],
        test_windows=network.model.test_windows,
    )
    data = dict(pipeline=network.recipe['pipeline'], image_size=network.image_size)
    recipe = json.dumps(recipe_of(model, data, network.category_ids))
    read_recipe(recipe)
    return {
        RECIPE: recipe,
        DATA: json.dumps(dict(classes=network.classes, palette=network.palette)),
    }


def exported_network(run: Run, texts: Mapping[str, str], path: str) -> Network:
    """The network of a graph and of the texts that its file carries.

    Raises:
        Exception: of any kind, if the texts are missing or hold something else; see
            :func:`blaming`.
    """
    init_default_scope('mmdet')
    if RECIPE not in texts:
        raise UserError('it was not written by cmt-deeplab export')
    recipe = read_recipe(texts[RECIPE])
    model = ExportedModel(run, path=path, **recipe['model'])
    return as_network(model.eval(), recipe, json.loads(texts.get(DATA, '{}')), path)


def load_exported(path: str | Path, device: str | None = None) -> Network:
    """The network of an ONNX file, in onnxruntime on ``device``.

    Raises:
        MissingFileError: there is no such file.
        MissingPackageError: onnxruntime is not installed.
        UserError: the file cannot be used, or onnxruntime cannot run on the device.
    """
    path = str(path)
    require_file(path, f'The file {path} does not exist: correct the path.')
    require('onnxruntime')
    import onnxruntime

    there = 'CUDAExecutionProvider' in onnxruntime.get_available_providers()
    chosen = chosen_device(device if device or there else 'cpu')
    if chosen.startswith('cuda') and not there:
        raise UserError(
            f'onnxruntime here cannot run on {chosen}: install onnxruntime-gpu, or give '
            "device='cpu'."
        )
    providers = ['CUDAExecutionProvider'] * chosen.startswith('cuda') + ['CPUExecutionProvider']
    network = onnxruntime_network(path, providers)
    network.model.to(chosen)
    return network


def onnxruntime_network(path: str, providers: Sequence[str]) -> Network:
    """The network of an ONNX file, run by the first of the providers that can.

    Raises:
        UserError: the file cannot be used.
    """
    import onnxruntime

    with blaming(path):
        # From bytes, so that the file cannot name another one to read weights from.
        session = onnxruntime.InferenceSession(Path(path).read_bytes(), providers=[*providers])
        texts = session.get_modelmeta().custom_metadata_map
        network = exported_network(session.run, texts, path)
        taken, given = session.get_inputs()[0].shape[2:], network.model.data_preprocessor.size
        if all(isinstance(side, int) for side in taken) and tuple(taken) != given:
            raise UserError(f'it takes inputs of {taken[0]}x{taken[1]}, and carries {given}')
    return network


@contextmanager
def blaming(path: str) -> Iterator[None]:
    """Turn every error into a sentence on the file at ``path``, which may hold anything.

    Raises:
        UserError: in place of any other error.
    """
    try:
        yield
    except Exception as error:
        reason = ' '.join(f'{error}'.split())[:200].rstrip('.')
        raise UserError(
            f'{path} cannot be used ({reason}): write it again with cmt-deeplab export.'
        ) from error


def require(*packages: str) -> None:
    """Import optional packages.

    Raises:
        MissingPackageError: one is not installed.
    """
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise MissingPackageError(
                f'ONNX files need the optional package {package}: pip install '
                '"cmt-deeplab[export]".'
            ) from error


def _built(kind: type[nn.Module], config: Mapping, **arguments: object) -> nn.Module:
    found = MODELS.get(config['type'])
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise UserError(f'{config["type"]} is no {kind.__name__}')
    return MODELS.build(dict(config, **arguments))
