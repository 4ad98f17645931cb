"""The model in the runner on two and four processes: what one process does with the whole batch."""

import pytest
import torch
from cmt_deeplab.engine import PanopticRunner
from cmt_deeplab.engine.fsdp import whole
from cmt_deeplab.errors import UserError
from mmdet.registry import MODELS
from mmengine.dist import get_world_size, is_distributed
from mmengine.hooks import Hook
from processes import in_processes
from small_model import NORM, small_config
from test_detector import make_batch, open_gammas
from torch import nn

DDP, FSDP = 'MMDistributedDataParallel', 'PanopticFullyShardedDataParallel'
SOME, NONE = (6, 0, 9, 3), (0, 0, 0, 0)  # segments of the four images of a step; the rest is void
DROP_PATH = 'panoptic_head__transformer_decoder__layer__drop_path'


class InDouble(nn.Module):
    """A data preprocessor in fp64, as fp32 loses more digits than the comparison allows."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, data: dict, training: bool = False) -> dict:
        data = self.inner(data, training)
        return dict(data, inputs=data['inputs'].double())


def build_model() -> nn.Module:
    torch.manual_seed(0)
    backbone = dict(type='PanopticResNet', depth=18, base_channels=8, stem_channels=8)
    stages = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))
    filters = dict(kinds=('bottleneck', 'axial'), filters=(8, 8), num_blocks=(1, 1))
    config = small_config(
        backbone=dict(backbone, **stages, norm_cfg=NORM),
        panoptic_head__norm_cfg=dict(type='PanopticLayerNorm'),
        panoptic_head__pixel_decoder=dict(
            type='AxialPixelDecoder', **filters, dilations=(1, 1), drop_path=0.3
        ),
        panoptic_head__transformer_decoder__layers_per_stage=(1,),
        panoptic_head__semantic_head=dict(
            type='PanopticSemanticHead', channels=8, fuse=(1,), fuse_channels=(8,), rates=None
        ),
        seed_per_image=5,
        channels_last=is_distributed(),  # which several processes show to change nothing
        **{DROP_PATH: 0.3},
    )
    model = MODELS.build(config)
    model.init_weights = lambda: open_gammas(model)
    model.data_preprocessor = InDouble(model.data_preprocessor)
    return model.double()


class Images(list):
    """Samples as a data set."""


class KeepLosses(Hook):
    """The losses of every step of this process."""

    def __init__(self) -> None:
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append({name: value.item() for name, value in outputs.items()})


def train(folder, segments, wrapper=None, **options) -> tuple:
    """The losses of three steps by name, and the tensors of the model after them."""
    batch, kept = make_batch(segments), KeepLosses()
    runner = PanopticRunner(
        model=build_model(),
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=len(segments) // get_world_size(),
            sampler=dict(type='InfiniteSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
            dataset=Images({key: batch[key][i] for key in batch} for i in range(len(segments))),
        ),
        train_cfg=dict(type='PanopticIterBasedTrainLoop', max_iters=3),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1.0)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3)),
        custom_hooks=[kept],
        launcher='pytorch' if is_distributed() else 'none',
        cfg=dict(model_wrapper_cfg=dict(type=wrapper, **options)),
        default_scope='mmdet',
        log_level='ERROR',
    )
    runner.train()
    with whole(runner.model):
        model = getattr(runner.model, 'module', runner.model)
        return kept.losses, {key: value.clone() for key, value in model.state_dict().items()}


def train_all(folder, trainings) -> list:
    return [train(folder / str(i), *each) for i, each in enumerate(trainings)]


@pytest.fixture(scope='module')
def expected(tmp_path_factory) -> dict:
    """What one process gives, by the segments of the images."""
    return {each: train(tmp_path_factory.mktemp('one'), each) for each in (SOME, NONE)}


@pytest.mark.parametrize(
    'processes, trainings', [(2, [(SOME, DDP), (SOME, FSDP), (NONE, DDP)]), (4, [(SOME, DDP)])]
)
def test_processes_together_train_as_one(tmp_path, expected, processes, trainings):
    """Losses and tensors, also where a process has no segment or nobody has one."""
    by_rank = in_processes(processes, train_all, tmp_path, trainings)
    for (segments, wrapper), *found in zip(trainings, *by_rank):
        losses, tensors = expected[segments]
        for step, step_losses in enumerate(losses):
            for name, value in step_losses.items():
                mean = sum(own[step][name] for own, _ in found) / processes
                assert mean == pytest.approx(value, rel=1e-9, abs=1e-12), (wrapper, step, name)
        for name, value in tensors.items():
            for _, own in found:
                torch.testing.assert_close(own[name], value, rtol=1e-8, atol=1e-9, msg=name)


def refused(folder) -> str:
    with pytest.raises(UserError) as error:
        train(folder, SOME, FSDP, parts=('pixel_decoder',))
    return str(error.value)


def test_a_part_that_is_not_called_is_refused(tmp_path):
    for sentence in in_processes(2, refused, tmp_path):
        assert sentence.startswith('model_wrapper_cfg.parts names a module that the model uses')
