"""Devices without 64-bit floats, absent devices, weights that are not finite."""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from trial.place import Place
from trial.situation import DETECTOR, INFERENCER, TEST, TRAIN, Found, Wrong, section

from .common import must_tell, trains

kind = section(
    'Devices and weights',
    'Devices without 64-bit floats work. Weights and losses that are not finite are told, '
    'not scored.',
)

NAN = r'nan|NaN|finite'


def nan_checkpoint(place: Place, value: float = float('nan')) -> None:
    checkpoint = torch.load(place.checkpoint, weights_only=False)
    name = next(n for n in checkpoint['state_dict'] if n.startswith('backbone') and 'weight' in n)
    checkpoint['state_dict'][name].flatten()[0] = value
    place.checkpoint = place.folder / 'nan.pth'
    torch.save(checkpoint, place.checkpoint)


@kind('A weight of the checkpoint is NaN', TEST, told=NAN)
def nan_tested(place: Place) -> Wrong:
    nan_checkpoint(place)
    return Wrong(f'PQ {place.test()["PQ"]} without a word')


@kind('A weight of the checkpoint is infinite', TEST, told=NAN)
def infinite_tested(place: Place) -> Wrong:
    nan_checkpoint(place, float('inf'))
    return Wrong(f'PQ {place.test()["PQ"]} without a word')


@kind('A weight of the checkpoint is NaN', DETECTOR, told=NAN)
def nan_detector(place: Place) -> Wrong:
    from mmdet.apis import inference_detector

    nan_checkpoint(place)
    inference_detector(place.detector(), str(place.images('val')[0]))
    return Wrong('predicts nothing but void without a word')


@kind('A weight of the checkpoint is NaN', INFERENCER, told=NAN)
def nan_inferencer(place: Place) -> Wrong:
    nan_checkpoint(place)
    place.inferencer()(str(place.images('val')[0]))
    return Wrong('predicts nothing but void without a word')


@kind('load_from names weights that are NaN', TRAIN, told=NAN)
def nan_loaded(place: Place) -> Wrong:
    nan_checkpoint(place)
    return must_tell(place, f"load_from = '{place.checkpoint}'\n")


@kind(
    'The learning rate is so large that the loss is not finite',
    TRAIN,
    told=NAN,
    late=True,
    report='https://github.com/open-mmlab/mmdetection/issues/8155',
)
def diverges(place: Place) -> Wrong:
    text = 'optim_wrapper = dict(optimizer=dict(lr=1e30))\nparam_scheduler = None\n'
    return must_tell(place, text, iterations=6)


@kind('CUDA is asked for where there is none', DETECTOR, told='cuda|CUDA')
def cuda(place: Place) -> Wrong:
    from mmdet.apis import init_detector

    init_detector(str(place.config()), str(place.checkpoint), device='cuda:0')
    return Wrong('goes on elsewhere')


class Without64BitFloats(TorchDispatchMode):
    """Raises what Apple's MPS raises where an operation gives a tensor of 64-bit floats.

    What numpy made on the CPU passes, as it does there.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64:
                raise TypeError(
                    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't "
                    'support float64. Please use float32 instead.'
                )
        return result


MPS = 'https://github.com/open-mmlab/mmdetection/issues/9411'


@contextmanager
def simulated_mps():
    from cmt_deeplab.models.detectors import CMTDeepLab

    loss, predict = CMTDeepLab.loss, CMTDeepLab.predict

    def limited(method):
        def call(*args, **kwargs):
            with Without64BitFloats():
                return method(*args, **kwargs)

        return call

    CMTDeepLab.loss, CMTDeepLab.predict = limited(loss), limited(predict)
    yield


@kind(
    'Inference on a device without 64-bit floats, such as Apple MPS (simulated)',
    DETECTOR,
    report=MPS,
)
def mps_inference(place: Place) -> Found:
    from .arrays import detect, share

    right = detect(place, place.image())
    with simulated_mps():
        return Found(share(detect(place, place.image()), right), 100.0, 'same pixels in percent:')


@kind(
    'Training on a device without 64-bit floats, such as Apple MPS (simulated)', TRAIN, report=MPS
)
def mps_training(place: Place) -> Found:
    with simulated_mps():
        return trains(place)
