"""The whole detector: gradients for any number of segments, precisions, modes, padding."""

import pytest
import torch
from cmt_deeplab.errors import UserError
from mmdet.structures import DetDataSample
from mmengine.runner import Runner, load_checkpoint
from mmengine.structures import InstanceData, PixelData
from small_model import build_small

LABELS = 5


def make_batch(numbers, side: int = 65, seed: int = 0) -> dict:
    """Images with this many segments each, in squares of equal size, and a strip of void."""
    generator = torch.Generator().manual_seed(seed)
    inputs, samples = [], []
    for i, number in enumerate(numbers):
        inputs.append(
            torch.randint(0, 256, (3, side, side - 9), generator=generator, dtype=torch.uint8)
        )
        cell = max(int((side * (side - 9) / max(number, 1)) ** 0.5), 1)
        rows, columns = torch.meshgrid(
            torch.arange(side) // cell, torch.arange(side - 9) // cell, indexing='ij'
        )
        index = rows * (columns.max() + 1) + columns
        index[index >= number] = -1
        index[:2] = -1
        sample = DetDataSample(
            metainfo=dict(img_id=i, img_shape=(side, side - 9), ori_shape=(2 * side, 2 * side - 18))
        )
        sample.gt_panoptic_seg = PixelData(index_map=index[None].to(torch.int16))
        sample.gt_segments = InstanceData(
            labels=torch.randint(0, LABELS, (number,), generator=generator)
        )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def losses_of(model, batch) -> dict:
    data = model.data_preprocessor(batch, training=True)
    return model(data['inputs'], data['data_samples'], mode='loss')


def open_gammas(model) -> None:
    """Norms that start at gamma 0 hide what is behind them; here everything shall show."""
    for module in model.modules():
        if getattr(module, 'weight', None) is not None and hasattr(module, 'running_mean'):
            torch.nn.init.ones_(module.weight)


@pytest.mark.parametrize('bf16', [False, True])
@pytest.mark.parametrize('numbers', [(0, 1), (150, 300), (0,), (1,), (12,)])
def test_every_parameter_gets_a_finite_gradient(numbers, bf16):
    model = build_small()
    open_gammas(model)
    model.train()
    with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
        losses = losses_of(model, make_batch(numbers))
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f'{name} has no gradient'
        assert torch.isfinite(parameter.grad).all(), f'{name} has a gradient that is not finite'
    if numbers == (12,):  # few enough that each stride shows some
        # Behind a norm or a softmax a constant has no effect, and the pooled branch of one image
        # is one value per channel.
        dead = [name for name, p in model.named_parameters() if p.grad.abs().max() == 0]
        allowed = (
            'aspp.pool',
            'pixel_head.2.conv.bias',
            'mask_norm.bias',
        )  # a shift of all masks leaves their softmax
        assert not [name for name in dead if not any(key in name for key in allowed)], dead


def test_maps_lie_channels_last_on_demand():
    """And weights do not; tests/models/test_several_processes.py compares what is computed."""
    model, found = build_small(channels_last=True).train(), []

    def note(convolution, inputs, output):
        if min(output.shape[2:]) > 1:  # maps
            found.append(output.is_contiguous(memory_format=torch.channels_last))

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    losses_of(model, make_batch((6, 3)))
    assert sum(found) > 0.9 * len(found) > 0
    assert all(parameter.is_contiguous() for parameter in model.parameters())


def test_at_gamma_zero_gradients_exist():
    model = build_small().train()
    sum(losses_of(model, make_batch((3, 5))).values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_prediction_does_not_depend_on_its_batch():
    model = build_small(data_preprocessor__size=(65, 65)).eval()
    batch = make_batch((3, 5))
    with torch.no_grad():
        together = model.test_step(batch)
        alone = model.test_step(make_batch((3,)))
    assert together[0].pred_panoptic_seg.sem_seg.shape == (1, 130, 112)
    torch.testing.assert_close(
        together[0].pred_panoptic_seg.sem_seg, alone[0].pred_panoptic_seg.sem_seg
    )


@pytest.mark.parametrize('align_corners, side', [(True, 65), (False, 64)])
def test_tensor_mode_gives_masks_at_stride_4(align_corners, side):
    model = build_small(align_corners=align_corners).eval()
    mask_logits, class_logits = model(torch.zeros(1, 3, side, side))
    assert mask_logits.shape == (1, 16, side // 4 + align_corners, side // 4 + align_corners)
    assert class_logits.shape == (1, 16, LABELS + 1)


@pytest.mark.parametrize('align_corners, side', [(True, 65), (False, 64)])
@pytest.mark.parametrize('with_skip', [True, False])
def test_final_stride_2(with_skip, align_corners, side):
    """With the stem's feature, and without: a backbone such as Swin has none at stride 2."""
    decoder = dict(
        type='AxialPixelDecoder',
        kinds=('axial', 'axial') + ('bottleneck',) * 3,
        filters=(8,) * 5,
        num_blocks=(1,) * 5,
        dilations=(1,) * 5,
    )
    model = build_small(
        align_corners=align_corners,
        backbone__with_stem_output=with_skip,
        panoptic_head__pixel_decoder=decoder,
    )
    expected = (1, 16, side // 2 + align_corners, side // 2 + align_corners)
    assert model.eval()(torch.zeros(1, 3, side, side))[0].shape == expected
    decoder['kinds'] += ('bottleneck', 'bottleneck')
    with pytest.raises(UserError, match='each of the . features that come in, or one more'):
        build_small(backbone__with_stem_output=with_skip, panoptic_head__pixel_decoder=decoder)


@pytest.mark.parametrize('bgr_to_rgb', [True, False])
def test_channels_are_turned_where_they_come_as_bgr(bgr_to_rgb):
    model = build_small(data_preprocessor__bgr_to_rgb=bgr_to_rgb)
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1).expand(3, 64, 64)
    pixel = model.data_preprocessor(dict(inputs=[image]))['inputs'][0, :, 0, 0]
    assert bool(pixel[0] > pixel[2]) == bgr_to_rgb


def test_a_checkpoint_of_version_0_1_0_loads_and_its_config_is_told_the_new_keys(tmp_path):
    """Tensors and keys of the centers were spelled 'centre'."""
    model, path = build_small(), str(tmp_path / 'old.pth')
    old = {name.replace('center', 'centre'): value for name, value in model.state_dict().items()}
    assert old.keys() != model.state_dict().keys()
    torch.save(dict(state_dict=old), path)
    torch.manual_seed(1)
    other = build_small()
    load_checkpoint(other, path, strict=True)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_draws_tied_to_images_repeat_whatever_the_batch():
    """Samples of the losses and drop path depend on the seed, the image and the iteration."""

    def total(numbers_seed):
        torch.manual_seed(numbers_seed)  # the global generator must not matter
        model = build_small(seed_per_image=3, panoptic_head__semantic_head=None)
        torch.manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        torch.manual_seed(numbers_seed)
        return {
            k: float(v.detach()) for k, v in losses_of(model.train(), make_batch((40, 30))).items()
        }

    assert total(1) == total(2)


class Recorder:
    """Notes, in each iteration, the seeds of the images' generators."""

    def __init__(self, model) -> None:
        self.seeds, self.draw, model.image_generators = [], model.image_generators, self.record

    def record(self, samples):
        generators = self.draw(samples)
        self.seeds.append([generator.initial_seed() for generator in generators])
        return generators


def test_draws_tied_to_images_go_on_after_a_resume(tmp_path):
    """A run that is resumed after its second iteration draws in the third what it would have."""
    batch = make_batch((3, 5))
    images = [
        dict(inputs=image, data_samples=sample)
        for image, sample in zip(batch['inputs'], batch['data_samples'])
    ]

    def train(max_iters: int, **options):
        torch.manual_seed(0)
        model = build_small(seed_per_image=3, panoptic_head__semantic_head=None)
        recorder = Recorder(model)
        runner = Runner(
            model,
            work_dir=str(tmp_path),
            train_dataloader=dict(
                dataset=images,
                batch_size=2,
                sampler=dict(type='InfiniteSampler', shuffle=False),
                collate_fn=dict(type='pseudo_collate'),
            ),
            train_cfg=dict(by_epoch=False, max_iters=max_iters),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False)),
            experiment_name=f'resume_{max_iters}_{len(options)}',
            log_level='ERROR',
            default_scope='mmdet',
            **options,
        )
        runner.train()
        return recorder.seeds, model.state_dict()

    seeds, weights = train(3)
    assert len({seed for of_images in seeds for seed in of_images}) == 6
    resumed_seeds, resumed_weights = train(3, resume=True, load_from=str(tmp_path / 'iter_2.pth'))
    assert resumed_seeds == seeds[2:]
    for name, value in weights.items():
        torch.testing.assert_close(resumed_weights[name], value)


def test_deep_supervision_off_leaves_one_stage():
    losses = losses_of(
        build_small(panoptic_head__transformer_decoder__deep_supervision=False).train(),
        make_batch((3,)),
    )
    assert not any(name.startswith('s0') for name in losses)


@pytest.mark.parametrize('kind', ['PanopticSyncBN', 'BN', 'GN', 'frozen'])
def test_one_norm_cfg_serves_every_part(kind):
    norm = (
        dict(type='PanopticSyncBN', frozen=True)
        if kind == 'frozen'
        else dict(type=kind, **({'num_groups': 32} if kind == 'GN' else {}))
    )
    model = build_small(panoptic_head__norm_cfg=norm, panoptic_head__semantic_head=None).train()
    sum(losses_of(model, make_batch((4,))).values()).backward()
    kinds = {
        type(m).__name__
        for m in model.panoptic_head.modules()
        if 'Norm' in type(m).__name__ or 'BN' in type(m).__name__
    }
    expected = {
        'PanopticSyncBN': 'PanopticSyncBN',
        'frozen': 'PanopticSyncBN',
        'BN': 'BatchNorm2d',
        'GN': 'GroupNorm',
    }[kind]
    assert expected in kinds and kinds <= {expected, 'PanopticLayerNorm', 'ConvNorm'}


def test_size_that_does_not_fit_the_corner_rule_is_refused():
    with pytest.raises(ValueError, match='32k\\+1: use \\(65, 65\\)'):
        build_small(data_preprocessor__size=(64, 64))
    with pytest.raises(ValueError, match='does not fit data_preprocessor.size'):
        build_small(data_preprocessor__size=(33, 33)).data_preprocessor(make_batch((1,)))
