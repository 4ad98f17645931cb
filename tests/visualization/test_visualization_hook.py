"""Pictures of validations and tests, in files and in TensorBoard."""

import json
from pathlib import Path

import cv2
import pytest
from cmt_deeplab.engine.runner_setup import build_runner
from cmt_deeplab.errors import UserError
from cmt_deeplab.visualization import PanopticVisualizationHook
from mmengine.config import Config
from mmengine.runner import Runner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TINY = Path(__file__).resolve().parents[2] / 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'


def runner_of(root: Path, work_dir: Path, **hook) -> Runner:
    """A runner of the tiny model on six scenes; it trains for two iterations."""
    text = json.dumps(Config.fromfile(str(TINY)).to_dict()).replace('data/shapes', str(root))
    config = Config(json.loads(text))
    for part in ('train', 'val', 'test'):
        config[f'{part}_dataloader'].update(num_workers=0, persistent_workers=False)
    config.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'train_cfg.max_iters': 2,
            'train_cfg.val_interval': 1,
            'train_dataloader.batch_size': 1,
            'val_dataloader.batch_size': 4,
            'visualizer.name': work_dir.name,
            'visualizer.vis_backends': [
                dict(type='LocalVisBackend'),
                dict(type='TensorboardVisBackend'),
            ],
            'default_hooks.visualization': dict(
                type='PanopticVisualizationHook', draw=True, **hook
            ),
        }
    )
    return build_runner(config)


def test_each_validation_draws_the_same_images_for_all_backends(shapes_root, tmp_path):
    runner = runner_of(shapes_root, tmp_path / 'run', interval=3)
    images = [runner.val_dataloader.dataset[k]['data_samples'].img_path for k in (0, 3)]
    runner.train()
    names = {f'val_{Path(path).stem}_{step}' for path in images for step in (1, 2)}
    pictures = {path.stem: path for path in (tmp_path / 'run').rglob('vis_image/*.png')}
    assert pictures.keys() == names
    height, width = cv2.imread(str(pictures.popitem()[1])).shape[:2]
    assert width > 3 * 384 and height > 384  # image, truth and prediction
    events = EventAccumulator(next(iter((tmp_path / 'run').rglob('events.*'))).as_posix())
    events.Reload()
    tags = events.Tags()['images']
    assert {f'{tag}_{e.step}' for tag in tags for e in events.Images(tag)} == names


def test_a_test_draws_the_truth_beside_each_prediction(shapes_root, tmp_path):
    runner = runner_of(shapes_root, tmp_path / 'run', test_out_dir='shown')
    runner.test()
    pictures = list((tmp_path / 'run').rglob('shown/*'))
    assert len(pictures) == 6
    assert all(cv2.imread(str(path)).shape[1] > 3 * 384 for path in pictures)


def test_a_window_without_a_display_is_refused_when_the_hook_is_built():
    with pytest.raises(UserError, match='No window can be opened here.*--show-dir'):
        PanopticVisualizationHook(draw=True, show=True)
