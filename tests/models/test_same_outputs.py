"""The whole family gives the same outputs in fp64, fp32, bf16 autocast and compiled.

The networks are small here, and of full size with `-m slow`.
"""

from pathlib import Path

import pytest
import torch
from cmt_deeplab.models.transformer import kmax_layer
from mmdet.registry import MODELS
from mmengine.config import Config
from small_model import NORM, small_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
LAYER = 'panoptic_head__transformer_decoder__layer__'
AXIAL = dict(backbone=dict(type='AxialResNet', num_blocks=(1, 1, 1, 1), width=0.125, norm_cfg=NORM))
SMALL = {
    'cmt': {},
    'cmt with k-means': {LAYER + 'assignment': 'kmeans'},
    'max': {LAYER + 'type': 'MaXLayer'},
    'kmax': {LAYER + 'type': 'KMaXLayer'},
    'axial': AXIAL,
    'rfn': dict(type='CMTDeepLabRFN', feedback=dict(stage2=3, stage3=2, stage4=1), **AXIAL),
}
FULL = [
    'cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py',
    'cmt_deeplab/cmt-deeplab_axial-r50_8xb8-200k_coco-panoptic-641.py',
    'max_deeplab/max-deeplab-s_8xb8-100k_coco-panoptic-641.py',
    'kmax_deeplab/kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py',
    'kmax_deeplab/kmax-deeplab_r50-tf_8xb8-150k_coco-panoptic-641.py',
    'kmax_deeplab/kmax-deeplab_axial-r50_8xb8-150k_coco-panoptic-641.py',
]
TOLERANCE = dict(fp32=1e-4, bf16=2e-2, compiled=1e-4)


class FixedAssignments:
    """The argmax of kMaX-DeepLab may flip on a rounding error.

    So the first pass writes its assignments down, and later ones read them.
    """

    def __init__(self, monkeypatch) -> None:
        self.written, self.position, assign = [], None, kmax_layer.nearest_center

        def fixed(logits):
            if self.position is None:
                self.written.append(assign(logits))
                return self.written[-1]
            self.position += 1
            return self.written[self.position - 1].to(logits.dtype)

        monkeypatch.setattr(kmax_layer, 'nearest_center', fixed)

    def replay(self) -> None:
        self.position = 0


def outputs(network, image) -> dict:
    with torch.no_grad():
        prediction = network(image).decoder.predictions[-1]
    return {name: tensor for name, tensor in vars(prediction).items() if tensor is not None}


def check(config: dict, side: int, monkeypatch, backend: str) -> None:
    torch.manual_seed(0)
    model = MODELS.build(config).eval()
    image, fixed = 2 * torch.rand(1, 3, side, side) - 1, FixedAssignments(monkeypatch)
    reference = outputs(model.double().network, image.double())
    model.float()
    with_autocast = torch.autocast('cpu', torch.bfloat16)
    for mode, tolerance in TOLERANCE.items():
        fixed.replay()
        if mode == 'compiled':
            torch._dynamo.reset()
            ours = outputs(torch.compile(model.network, backend=backend), image)
        elif mode == 'bf16':
            with with_autocast:
                ours = outputs(model.network, image)
        else:
            ours = outputs(model.network, image)
        assert ours.keys() == reference.keys()
        for name, expected in reference.items():
            error = (ours[name].double() - expected).norm() / expected.norm()
            assert error <= tolerance, f'{mode} {name}: {error:.1e}'


@pytest.mark.parametrize('name', SMALL)
def test_small(name, monkeypatch):
    check(small_config(**SMALL[name]), 65, monkeypatch, 'aot_eager')


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['aot_eager', 'inductor'])
@pytest.mark.parametrize('path', FULL)
def test_full_size(path, backend, monkeypatch):
    config = Config.fromfile(str(CONFIGS / path)).model
    config.backbone.init_cfg = None
    check(config, 129, monkeypatch, backend)
