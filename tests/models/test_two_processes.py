"""The whole model on two CPU processes: the gradients of one process with the double batch."""

import os
import socket
import sys
from pathlib import Path

import torch
import torch.multiprocessing

ROOT = Path(__file__).resolve().parents[2]
TIED = dict(
    seed_per_image=5,
    panoptic_head__transformer_decoder__layer__drop_path=0.3,
    panoptic_head__pixel_decoder__drop_path=0.3,
)


def seeded_model():
    from small_model import build_small

    from tests.models.test_detector import open_gammas

    torch.manual_seed(0)
    model = build_small(**TIED)
    open_gammas(model)
    return (
        model.double().train()
    )  # in fp32 the few pixels of the coarsest stride lose more digits than the comparison allows


def backward(model, numbers, first: int, whole: int):
    """Losses and their gradients for the images ``first`` .. of a batch of ``whole``."""
    from tests.models.test_detector import make_batch

    batch = make_batch(numbers)
    part = slice(first, first + whole)
    batch = {key: value[part] for key, value in batch.items()}
    module = getattr(model, 'module', model)
    data = module.data_preprocessor(batch, training=True)
    losses = model(data['inputs'].double(), data['data_samples'], mode='loss')
    sum(losses.values()).backward()
    return {name: value.detach() for name, value in losses.items()}


def one_of_two(rank: int, port: int, folder: str) -> None:
    sys.path.insert(0, str(ROOT))
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    import cmt_deeplab  # noqa: F401
    from cmt_deeplab.engine import PanopticDistributedDataParallel
    from cmt_deeplab.engine.distributed import init_process_group
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    init_process_group(launcher='pytorch', backend='nccl')
    model = PanopticDistributedDataParallel(seeded_model(), device_ids=[rank])
    losses = backward(model, (6, 9), rank, 1)
    torch.save(
        dict(
            losses=losses,
            grads={name: p.grad for name, p in model.module.named_parameters()},
            buffers=dict(model.module.named_buffers()),
        ),
        f'{folder}/{rank}.pt',
    )
    torch.distributed.destroy_process_group()


def test_gradients_of_two_processes_equal_the_double_batch(tmp_path):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(one_of_two, args=(port, str(tmp_path)), nprocs=2)
    model = seeded_model()
    losses = backward(model, (6, 9), 0, 2)
    halves = [torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in range(2)]
    for name, value in losses.items():
        torch.testing.assert_close(
            (halves[0]['losses'][name] + halves[1]['losses'][name]) / 2,
            value,
            rtol=1e-4,
            atol=1e-5,
            msg=name,
        )
    for name, parameter in model.named_parameters():
        scale = max(float(parameter.grad.abs().max()), 1.0)
        difference = float((halves[0]['grads'][name] - parameter.grad).abs().max())
        assert difference <= 1e-5 * scale, f'{name}: {difference} at a largest gradient of {scale}'
        torch.testing.assert_close(
            halves[0]['grads'][name], halves[1]['grads'][name], rtol=0, atol=0
        )
    for name, buffer in model.named_buffers():
        if 'running' in name:
            torch.testing.assert_close(
                halves[0]['buffers'][name], buffer, rtol=1e-4, atol=1e-5, msg=name
            )
