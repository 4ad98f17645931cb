"""The models that the benchmarks predict and train-step compare, with random weights."""

import argparse
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

from cmt_deeplab.analysis.compared_model import ComparedModel, SharedData, read_model
from mmdet.registry import MODELS
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
OURS = {
    'CMT-DeepLab R50': 'cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py',
    'kMaX-DeepLab R50': 'kmax_deeplab/kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py',
}
PEERS = {
    'Mask2Former R50': 'peers/mask2former_r50_8xb2-50e_coco-panoptic.py',
    'MaskFormer R50': 'peers/maskformer_r50_16xb1-75e_coco-panoptic.py',
}
SIZE = 640  # of the images of mmdet's models; ours have one pixel more, as in their configs


def models() -> Iterator[ComparedModel]:
    for name, path in (OURS | PEERS).items():
        model = read_model(str(CONFIGS / path))
        model.name = name
        model.config.model.backbone.init_cfg = None
        if name in PEERS:
            model.config.train_dataloader.dataset.image_size = (SIZE, SIZE)
        model.network = MODELS.build(deepcopy(model.config.model))
        yield model


def shared_data(args: argparse.Namespace, config: Config) -> SharedData:
    """The data set of the arguments, for training."""
    config = deepcopy(config)
    for dataloader in (config.train_dataloader, config.val_dataloader):
        dataloader.dataset.update(
            data_root=args.data_root,
            ann_file=f'annotations/panoptic_{args.split}.json',
            data_prefix=dict(img=f'{args.split}/', seg=f'annotations/panoptic_{args.split}/'),
        )
    return SharedData(config)
