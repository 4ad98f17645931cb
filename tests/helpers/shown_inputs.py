"""What the longer commands of README and docs name, beside what ``shown_commands`` makes."""

import contextlib
from pathlib import Path

import numpy as np
import timm
import torch
from cmt_deeplab.datasets import write_shapes
from deeplab2_reference import Variables, kmax_deeplab, max_deeplab_s
from kmax_pytorch_backbones import ResNet50
from kmax_pytorch_reference import KMaXDeepLab
from layout_writers import class_values, save, scenes_of, write_images
from public_layouts import write_ade20k, write_cityscapes, write_coconut
from run_tool import ROOT
from shown_commands import run

# srun: two of the processes that it is asked for, on this machine
SRUN = """#!/usr/bin/env bash
while [[ $1 == -* ]]; do
    [ "$1" = -p ] && shift
    shift
done
export SLURM_NTASKS=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$PORT
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" &
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" && wait $!
"""
KMAX = 'configs/kmax_deeplab/kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
KMAX_TF = KMAX.replace('r50', 'r50-tf')
PLAN = f"""\
config = '{ROOT}/configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
scenes = dict(preset='quick', num_train=8, num_val=1)
iterations, seeds, baseline = 1, 1, 'CMT'
rows = [dict(name='CMT')]
"""
STUFF = 'sky', 'road'  # names of the first two classes of stuff


def make_inputs(folder: Path) -> None:
    """Write them into a folder that ``make_folder`` has filled; for a fork, as programs run."""
    torch.set_num_threads(1)
    (folder / 'bin').mkdir()
    (folder / 'bin/srun').write_text(SRUN)
    (folder / 'bin/srun').chmod(0o755)
    write_shapes(folder / 'data/shapes', preset='quick', num_train=8, num_val=2, size=64)
    write_class_masks(folder / 'MASKS', folder / 'data/shapes')
    write_ade20k(folder / 'data/ADEChallengeData2016')
    write_cityscapes(folder / 'data/cityscapes')
    write_coconut(folder)
    weights = timm.create_model('tf_efficientnet_lite0').state_dict()
    torch.save(weights, folder / 'tf_efficientnet_lite0.pth')
    (folder / 'PLAN.py').write_text(PLAN)
    write_sources(folder)
    write_failed_step(folder)
    export = ['cmt-deeplab', 'export', 'CHECKPOINT.pth', 'OUT.onnx']
    with contextlib.suppress(SystemExit):
        run(export, folder)


def write_class_masks(data: Path, shapes: Path) -> None:
    """Images with a map of classes each, and the names of the classes."""
    scenes = scenes_of(shapes)
    kinds = {name: thing for scene in scenes for name, thing, *_ in scene.segments}
    classes = sorted(kinds, key=kinds.get)  # stuff before things
    write_images(data / 'images', scenes)
    for scene in scenes:
        save(data / f'masks/{scene.name}.png', class_values(scene, classes))
    (data / 'classes.txt').write_text('\n'.join(['void', *STUFF, *classes[len(STUFF) :]]))


@torch.no_grad()
def write_sources(folder: Path) -> None:
    """Weights of other code bases; the folder, which is copied, has links to these large files."""
    sources, image = folder.with_name('sources'), torch.rand(1, 65, 65, 3, dtype=torch.float64)
    sources.mkdir()
    for number, network, options in (
        (100000, max_deeplab_s, {}),
        (150000, kmax_deeplab, dict(backbone='r50')),
    ):
        variables = Variables()
        network(variables, image, **options)
        np.savez(sources / f'ckpt-{number}.npz', **variables)
    torch.save(KMaXDeepLab(ResNet50()).state_dict(), sources / 'SRC.pth')
    for path in sources.iterdir():
        (folder / path.name).symlink_to(path)


def write_failed_step(folder: Path) -> None:
    """WORK: a run whose loss is not finite in an iteration, at an absurd learning rate."""
    options = ('optim_wrapper.optimizer.lr=1e30', 'optim_wrapper.clip_grad=None')
    with contextlib.suppress(SystemExit):
        run(
            ['tools/train.py', 'CONFIG.py', '--work-dir', 'WORK', '--cfg-options', *options], folder
        )
    next(folder.glob('WORK/not_finite_iter_*')).rename(folder / 'WORK/not_finite_iter_4_rank0.pth')
