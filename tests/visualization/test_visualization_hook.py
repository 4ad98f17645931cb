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
from run_tool import run_tool
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


@pytest.fixture(scope='module')
def trained(shapes_root, tmp_path_factory) -> Path:
    """The work dir of a training of two iterations, each with a validation that draws."""
    work_dir = tmp_path_factory.mktemp('trained') / 'run'
    runner_of(shapes_root, work_dir, interval=3).train()
    return work_dir


def test_each_validation_draws_the_same_images_for_all_backends(trained):
    names = {f'val_{k:012}_{step}' for k in (1, 4) for step in (1, 2)}
    pictures = {path.stem: path for path in trained.rglob('vis_image/*.png')}
    assert pictures.keys() == names
    height, width = cv2.imread(str(pictures.popitem()[1])).shape[:2]
    assert width > 3 * 384 and height > 384  # image, truth and prediction
    events = EventAccumulator(next(iter(trained.rglob('events.*'))).as_posix())
    events.Reload()
    tags = events.Tags()['images']
    assert {f'{tag}_{e.step}' for tag in tags for e in events.Images(tag)} == names


def test_a_test_draws_the_truth_beside_each_prediction(trained, tmp_path):
    config = next(trained.glob('*/vis_data/config.py'))
    done = run_tool(
        'test.py', config, trained / 'iter_2.pth', '--work-dir', tmp_path, '--show-dir', 'shown'
    )
    assert done.returncode == 0
    pictures = list(tmp_path.rglob('shown/*'))
    assert len(pictures) == 6
    assert all(cv2.imread(str(path)).shape[1] > 3 * 384 for path in pictures)


def test_examples_show_the_layers_too(trained, tmp_path):
    config, checkpoint = next(trained.glob('*/vis_data/config.py')), trained / 'iter_2.pth'
    tool = 'analysis_tools/draw_examples.py'
    done = run_tool(
        tool, config, checkpoint, '--images', 0, 5, '--output-dir', tmp_path, '--columns', 2
    )
    assert done.returncode == 0
    shapes = {path.name: cv2.imread(str(path)).shape[:2] for path in tmp_path.iterdir()}
    assert len(shapes) == 4 and shapes['image0_layers.png'][0] > 2 * 384  # three in two columns
    assert shapes['image5_prediction.png'][1] > 3 * 384


def test_an_image_that_the_test_set_lacks_is_refused(trained, tmp_path):
    config, checkpoint = next(trained.glob('*/vis_data/config.py')), trained / 'iter_2.pth'
    tool = 'analysis_tools/draw_examples.py'
    done = run_tool(tool, config, checkpoint, '--images', 6, '--output-dir', tmp_path)
    assert done.returncode == 1 and 'has images 0 to 5' in done.stderr


def test_a_window_without_a_display_is_refused_when_the_hook_is_built():
    with pytest.raises(UserError, match='No window can be opened here.*--show-dir'):
        PanopticVisualizationHook(draw=True, show=True)
