"""Pictures of what a model sees, from index planes and from mmdet's masks."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from cmt_deeplab.visualization import PanopticDrawer
from cmt_deeplab.visualization.browse import contact_sheet, panoptic_truth
from mmdet.registry import DATASETS
from run_tool import run_tool

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
PLANES = CONFIGS / 'cmt_deeplab/cmt-deeplab_tiny_shapes.py'
MASKS = CONFIGS / 'peers/maskformer_tiny_shapes.py'
TOOL = 'analysis_tools/browse_dataset.py'


def browse(config: Path, root: Path, out: Path, *flags, split: str = 'train'):
    return run_tool(
        TOOL, config, '--not-show', '--output-dir', out, '--number', 2, '--split', split, *flags,
        '--cfg-options', f'{split}_dataloader.dataset.data_root={root}/',
    )  # fmt: skip


def test_each_image_has_a_picture_and_all_stand_on_one_sheet(shapes_root, tmp_path):
    done = browse(PLANES, shapes_root, tmp_path / 'plain')
    assert done.returncode == 0 and done.stdout.endswith('contact_sheet.png\n')
    pictures = sorted(path.name for path in (tmp_path / 'plain').iterdir())
    assert [name.split('_')[0] for name in pictures] == ['0', '11', 'contact']
    height, width = cv2.imread(str(tmp_path / 'plain' / pictures[0])).shape[:2]
    assert width > 2 * 384 and height > 384  # image and truth
    browse(MASKS, shapes_root, tmp_path / 'both', '--original')
    assert cv2.imread(str(tmp_path / 'both' / pictures[0])).shape == (2 * height, width, 3)


def test_the_browser_of_mmdet_draws_the_truth_too(shapes_root, tmp_path):
    theirs = Path(find_spec('mmdet').origin).parent / '.mim' / 'tools' / TOOL
    where = f'train_dataloader.dataset.data_root={shapes_root}/'
    few = 'train_dataloader.dataset.indices=2'
    run_tool(theirs, PLANES, '--not-show', '--output-dir', tmp_path, '--cfg-options', where, few)
    drawn = [cv2.imread(str(path)) for path in sorted(tmp_path.iterdir())]
    assert [picture.shape for picture in drawn] == [(384, 384, 3)] * 2
    assert all((picture == 255).all(2).sum() > 100 for picture in drawn)  # contours and labels


def test_validation_shows_the_truth_at_the_original_size(shapes_root, tmp_path):
    assert browse(PLANES, shapes_root, tmp_path, split='val').returncode == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_masks_and_a_class_map_show_the_same_truth_as_the_plane(shapes_root):
    """And a thing in no mask, as a crowd is in mmdet's truth, is drawn as a crowd."""
    from mmengine.config import Config

    drawn = []
    for path in (PLANES, MASKS):
        config = Config.fromfile(str(path))
        dataset = DATASETS.build(dict(config.train_dataloader.dataset, data_root=str(shapes_root)))
        meta = dataset.metainfo
        drawer = PanopticDrawer(
            classes=meta['classes'], num_things_classes=len(meta['thing_classes'])
        )
        np.random.seed(0)  # the same flips
        drawn.append([panoptic_truth(dataset[i]['data_samples'], drawer) for i in range(12)])
    num_crowds = 0
    for (plane, no_crowds), (masks, crowds) in zip(*drawn):
        assert no_crowds == []  # training makes them void
        void = plane == 11
        labels = np.where(void, 11, plane % 1000)
        in_mask = ~np.isin(masks, crowds)
        assert (labels[in_mask] == masks[in_mask] % 1000).all()
        pairs = np.unique(np.stack([plane, masks])[:, in_mask], axis=1)
        assert len(pairs[0]) == len(set(pairs[0])) == len(set(pairs[1]))
        assert void[~in_mask].all()
        num_crowds += len(crowds)
    assert num_crowds > 0


def test_what_cannot_be_shown_is_told_in_one_sentence(tmp_path):
    shown = run_tool(TOOL, PLANES)
    assert shown.returncode == 1 and 'No window can be opened here' in shown.stderr
    nowhere = run_tool(TOOL, PLANES, '--not-show')
    assert nowhere.returncode == 2 and '--output-dir' in nowhere.stderr


def test_a_sheet_holds_pictures_of_any_size():
    pictures = [np.zeros((h, w, 3), np.uint8) for h, w in ((10, 2000), (900, 30), (5, 5), (40, 40))]
    sheet = contact_sheet(pictures)
    assert sheet.shape[1] == 3 * 652 and 500 < sheet.shape[0] < 700 and (sheet == 0).any()
