"""Parts change by config inheritance alone, and mmdet's models run on our data and metric.

Each leaf takes a training step and predicts.
"""

import sys
from pathlib import Path

import pytest
import torch
from cmt_deeplab.compat import CompiledOpMissing
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from test_configs import parts_of, without_weights

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
SMALL_DECODER = {
    'model.panoptic_head.transformer_decoder.num_centers': 16,
    'model.panoptic_head.transformer_decoder.layers_per_stage': (1, 1, 1),
}
SMALL_AXIAL = {
    'model.panoptic_head.pixel_decoder.filters': (16, 16, 16, 16),
    'model.panoptic_head.pixel_decoder.num_blocks': (1, 1, 1, 1),
}
SMALL_DEFORMABLE = {'model.panoptic_head.pixel_decoder.decoder.encoder.num_layers': 1}
SWAPS = {
    'cmt-deeplab_r50_8xb8-150k_coco-panoptic-641': SMALL_AXIAL,
    'cmt-deeplab_swin-t_8xb8-150k_coco-panoptic-641': SMALL_AXIAL,
    'cmt-deeplab_convnext-t_8xb8-150k_coco-panoptic-641': SMALL_AXIAL,
    'cmt-deeplab_dinov2-s_8xb8-150k_coco-panoptic-641': {**SMALL_AXIAL, 'model.backbone.depth': 2},
    'cmt-deeplab_r50_msdeformattn_8xb8-150k_coco-panoptic-641': SMALL_DEFORMABLE,
}
PASTES_ALL = {
    'model.postprocess.pixel_threshold': 0.06,
    'model.postprocess.thing_threshold': 0.0,
    'model.postprocess.stuff_threshold': 0.0,
    'model.postprocess.overlap_threshold': 0.0,
    'model.postprocess.thing_area': 0,
    'model.postprocess.stuff_area': 0,
}
KEEPS_ALL = {
    'model.test_cfg.object_mask_thr': 0.0,
    'model.test_cfg.iou_thr': 0.0,
    'model.test_cfg.filter_low_score': False,
}
# num_classes is that of the box and mask heads
CLASSES = dict(
    num_things_classes=6, num_stuff_classes=5, num_classes=6, class_weight=[1.0] * 11 + [0.1]
)
R18 = {'model.backbone.depth': 18}
FEW_LAYERS = {
    'model.panoptic_head.pixel_decoder.encoder.num_layers': 1,
    'model.panoptic_head.transformer_decoder.num_layers': 2,
}
PEERS = (
    'mask2former_r50_8xb2-50e_coco-panoptic',
    'mask2former_r50_1xb8_shapes',
    'maskformer_r50_16xb1-75e_coco-panoptic',
)
CHANNELS = [64, 128, 256, 512]


def config_on_shapes(name: str, root: Path, side: int, changes: dict) -> Config:
    """A config of the repository on the generated scenes, small and with random weights."""
    config = Config.fromfile(str(next(CONFIGS.glob(f'*/{name}.py'))))
    config.merge_from_dict(
        {
            'train_dataloader.dataset.image_size': (side, side),
            'val_dataloader.dataset.image_size': (side, side),
            'train_dataloader.dataset.data_root': str(root),
            'val_dataloader.dataset.data_root': str(root),
            'val_evaluator.ann_file': str(root / 'annotations/panoptic_val2017.json'),
            'val_evaluator.seg_prefix': str(root / 'annotations/panoptic_val2017'),
            **changes,
        }
    )
    for _, part in parts_of(
        without_weights(config.model)
    ):  # the classes of the scenes, in every place where mmdet wants them
        if isinstance(part, dict):
            part.update({key: value for key, value in CLASSES.items() if key in part})
    return config


def train_step(config: Config, model: torch.nn.Module) -> None:
    """One step on two scenes: losses and gradients are finite, and the backbone learns."""
    from mmdet.registry import DATASETS

    dataset = DATASETS.build(config.train_dataloader.dataset)
    model.train()
    losses = model(
        **model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), True), mode='loss'
    )
    total, logged = model.parse_losses(losses)
    assert torch.isfinite(total) and total > 0, logged
    total.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(gradients) > 20 and all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(
        parameter.grad is not None and parameter.grad.abs().sum() > 0
        for parameter in model.backbone.parameters()
    )


def evaluate(config: Config, model: torch.nn.Module, truth_in_sample: bool) -> None:
    """Predict two scenes at their original size; the config's own evaluator counts them."""
    from mmdet.registry import DATASETS

    dataset = DATASETS.build(config.val_dataloader.dataset)
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    model.eval()
    with torch.no_grad():
        samples = model.test_step(pseudo_collate([dataset[0], dataset[1]]))
    for sample in samples:
        assert sample.pred_panoptic_seg.sem_seg.shape == (1, 96, 96)
        assert (sample.pred_panoptic_seg.sem_seg % 1000 < 11).any(), 'nothing but void'
        assert ('gt_panoptic_seg' in sample) is truth_in_sample
    evaluator.process(samples)
    assert {'coco_panoptic/PQ', 'coco_panoptic/SQ', 'coco_panoptic/RQ'} <= set(
        evaluator.evaluate(2)
    )


def is_absent(op: str) -> bool:
    """Whether mmcv came without compiled operators."""
    try:
        getattr(sys.modules['mmcv._ext'], op)()
    except CompiledOpMissing:
        return True
    except TypeError:  # the compiled one wants arguments
        return False
    return False


@pytest.mark.parametrize('name', SWAPS)
def test_cmt_deeplab_with_another_part(name, shapes_root):
    from mmdet.registry import MODELS

    if 'convnext' in name or 'dino' in name:
        pytest.importorskip('timm', reason='the optional package timm is not installed')
    changes = {
        'model.data_preprocessor.size': (97, 97),
        **SMALL_DECODER,
        **PASTES_ALL,
        **SWAPS[name],
    }
    config = config_on_shapes(name, shapes_root, 97, changes)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    train_step(config, model)
    evaluate(config, model, truth_in_sample=True)


def test_accumulation_averaged_weights_and_tensorboard(shapes_root, tmp_path):
    """Four iterations are two optimizer steps; the checkpoint holds both sets of weights."""
    pytest.importorskip('tensorboard', reason='the optional package tensorboard is not installed')
    from mmdet.registry import RUNNERS

    in_process = {
        f'{split}_dataloader.{key}': value
        for split in ('train', 'val')
        for key, value in (
            ('num_workers', 0),
            ('persistent_workers', False),
            ('dataset.type', 'ShapesPanopticDataset'),
        )
    }
    config = config_on_shapes(
        'cmt-deeplab_r50_4xb8-accum2-ema-150k_coco-panoptic-641',
        shapes_root,
        33,
        {
            'model.data_preprocessor.size': (33, 33),
            'train_dataloader.batch_size': 2,
            'train_cfg.max_iters': 4,
            'param_scheduler.0.warmup': 2,
            'log_level': 'ERROR',
            'default_hooks.logger.interval': 1,
            'work_dir': str(tmp_path),
            'visualizer.name': 'accumulation',
            **in_process,
            **SMALL_DECODER,
            **SMALL_AXIAL,
            **R18,
            'model.backbone.base_channels': 8,
            'model.backbone.stem_channels': 8,
        },
    )
    for key in (
        'val_dataloader',
        'val_evaluator',
        'val_cfg',
        'test_dataloader',
        'test_evaluator',
        'test_cfg',
    ):
        config[key] = None
    steps = []
    runner = RUNNERS.build(config)
    optim_wrapper = runner.build_optim_wrapper(config.optim_wrapper)
    optim_wrapper.optimizer.register_step_post_hook(lambda *_: steps.append(runner.iter))
    runner.optim_wrapper = optim_wrapper
    runner.train()
    assert steps == [1, 3]
    assert list(tmp_path.rglob('events.out.tfevents.*'))
    checkpoint = torch.load(tmp_path / 'iter_4.pth', weights_only=True)
    centers = 'panoptic_head.transformer_decoder.centers'
    assert not torch.equal(
        checkpoint['state_dict'][centers], checkpoint['ema_state_dict'][f'module.{centers}']
    )


@pytest.mark.parametrize('name', PEERS)
def test_mmdet_peer_on_our_data_and_metric(name, shapes_root):
    from mmdet.registry import MODELS

    changes = {
        'model.panoptic_head.in_channels': CHANNELS,
        'model.panoptic_head.num_queries': 20,
        **R18,
        **KEEPS_ALL,
        **FEW_LAYERS,
    }
    config = config_on_shapes(name, shapes_root, 96, changes)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    train_step(config, model)
    evaluate(config, model, truth_in_sample=False)


def test_a_peers_perfect_prediction_scores_100(shapes_root):
    """Where samples carry no truth the metric reads the PNGs: the truth itself scores 100."""
    from mmdet.registry import DATASETS

    config = config_on_shapes('mask2former_r50_1xb8_shapes', shapes_root, 96, {})
    ours = Config.fromfile(
        str(CONFIGS / '_base_/datasets/shapes_panoptic.py')
    ).val_dataloader.dataset
    with_truth, without = (
        DATASETS.build({**ours, 'data_root': str(shapes_root)}),
        DATASETS.build(config.val_dataloader.dataset),
    )
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = without.metainfo
    for i in range(len(without)):
        sample = without[i]['data_samples']
        sample.pred_panoptic_seg = PixelData(
            sem_seg=torch.as_tensor(with_truth[i]['data_samples'].gt_panoptic_seg.sem_seg)
        )
        evaluator.process([sample])
    assert evaluator.evaluate(len(without))['coco_panoptic/PQ'] == pytest.approx(100)


def test_panoptic_fpn_runs_or_names_the_absent_operator(shapes_root):
    from mmdet.registry import MODELS

    changes = {'model.neck.in_channels': CHANNELS, 'model.backbone.frozen_stages': -1, **R18}
    config = config_on_shapes('panoptic-fpn_r50_8xb2-1x_coco-panoptic', shapes_root, 96, changes)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    if not is_absent('nms'):
        train_step(config, model)
        evaluate(config, model, truth_in_sample=False)
        return
    with pytest.raises(
        CompiledOpMissing,
        match=r"'nms'.*without operators; build them with `pip .*MMCV|'nms'.*`pip install",
    ):
        train_step(config, model)
    with pytest.raises(CompiledOpMissing, match="'nms'"):
        evaluate(config, model, truth_in_sample=False)
