"""What does not exist here: a GPU, other processes, and the batch that a data loader gives."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import Mock

import torch
import torch.distributed as dist
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch.testing._internal.distributed.fake_pg import FakeStore

from cmt_deeplab.datasets.packing import PanopticIndexData
from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import Size
from cmt_deeplab.models.detectors.cmt_deeplab import CMTDeepLab
from cmt_deeplab.models.stacking import stack_images, stack_truth

from .ledger import Ledger

PRETENDED = 'pretended'  # the name of the device
_library = torch.library.Library('_', 'IMPL')


def fake_batch(model: CMTDeepLab, size: Size, batch: int, output: Size | None = None) -> dict:
    """A batch as the data loader gives it, for training, or for pictures of size ``output``."""
    number = model.panoptic_head.transformer_decoder.centers.shape[-1]
    original, samples = output or size, []
    for image in range(batch):
        sample = DetDataSample(metainfo=dict(img_id=image, img_shape=size, ori_shape=original))
        sample.gt_panoptic_seg = PanopticIndexData(
            metainfo=dict(labels=(0,) * number, num_classes=model.num_classes),
            index_map=torch.empty(1, *size, dtype=torch.int16),
        )
        sample.gt_segments = InstanceData(
            labels=torch.empty(number, dtype=torch.int64),
            is_crowd=torch.empty(number, dtype=torch.bool),
            ids=torch.empty(number, dtype=torch.int64),
        )
        samples.append(sample)
    images = [torch.empty(3, *size, dtype=torch.uint8) for _ in samples]
    if output is None:
        return {**stack_images(images, size), **stack_truth(samples, size)}
    return dict(inputs=images, data_samples=samples)


def pretended_device() -> torch.device:
    """A device that no machine has: fake tensors on it run none of torch's code for CPUs.

    It is the one backend of torch that Python may define, and stays until the process ends.
    Autocast changes nothing there.
    """
    if torch._C._get_privateuse1_backend_name() != PRETENDED:
        from torch.utils import backend_registration as backends

        if not hasattr(backends, '_setup_privateuseone_for_python_backend'):
            raise UserError(f'torch {torch.__version__} has no pretended device: take a newer one.')
        module = backends._DummyBackendModule()
        module.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
        backends._setup_privateuseone_for_python_backend(PRETENDED, backend_module=module)
        _library.fallback(torch.library.fallthrough_kernel, 'AutocastPrivateUse1')
    return torch.device(PRETENDED, 0)


def pretended_stream(ledger: Ledger) -> Mock:
    """What stands for ``torch.cuda.current_stream``; ``synchronize`` of its events is a wait."""
    stream = Mock()
    event = stream.return_value.record_event.return_value
    event.synchronize.side_effect = lambda: ledger.wait('event')
    return stream


@contextmanager
def pretended_gpus(number: int) -> Iterator[None]:
    """A context with the norms of a GPU, in which ``number`` processes seem to train together."""
    if number > 1:
        dist.init_process_group('fake', rank=0, world_size=number, store=FakeStore())
    try:
        with torch.library._scoped_library('aten', 'IMPL') as library:
            for name, shapes in NORM_KERNELS.items():
                library.impl(name, shapes, 'Meta')
            yield
    finally:
        if number > 1:
            dist.destroy_process_group()


def _rows(x: torch.Tensor, number: int) -> tuple[torch.Tensor, ...]:
    return tuple(x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(number))


# The results of the kernels of norms, for which torch has no shape functions.
NORM_KERNELS = {
    'batch_norm_stats': lambda x, eps: _rows(x, 2),
    'batch_norm_gather_stats_with_counts': lambda x, *others: _rows(x, 2),
    'batch_norm_elemt': lambda x, *others: torch.empty_like(x),
    'batch_norm_backward_reduce': lambda grad, x, *others: _rows(x, 4),
    'batch_norm_backward_elemt': lambda grad, x, *others: torch.empty_like(x),
}
