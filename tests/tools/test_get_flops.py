"""get_flops.py: products counted by hand, what only trains left out, the command line."""

import json

import pytest
import torch
from cmt_deeplab.analysis.flops import config_cost, network_cost, part_of
from cmt_deeplab.config_loading import read_config
from mmengine.analysis import parameter_count
from mmengine.config import ConfigDict
from run_tool import ROOT, run_tool
from small_model import small_config
from torch import nn

TOOL = 'analysis_tools/get_flops.py'


class Toy(nn.Module):
    """mmdet's 'tensor' mode, with a part of every kind that has to be counted or left out."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.neck = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)
        self.predictor = nn.MultiheadAttention(8, 2, batch_first=True)
        self.centers = nn.Parameter(torch.zeros(1, 5, 8))
        self.semantic_head = nn.Conv2d(8, 100, 1)
        self.frozen = nn.Linear(8, 8, bias=False).requires_grad_(False)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'tensor' and not self.training
        pixels = self.neck(self.backbone(inputs).relu()).flatten(2).transpose(1, 2)
        if self.training:
            self.semantic_head(pixels)
        heard, _ = self.predictor(self.centers, pixels, pixels)
        return torch.einsum('bnd,bpd->bnp', self.frozen(heard), pixels)


class Selecting(Toy):
    """Reads values: cannot run on shapes alone."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        result = super().forward(inputs, data_samples, mode)
        return result if bool(result.sum() < 1e9) else -result


def expected_macs(height: int, width: int) -> dict:
    positions = (height // 2) * (width // 2)
    attention = (
        (5 + 2 * positions) * 8 * 8 + 2 * 5 * positions * 8 + 5 * 8 * 8
    )  # in and out projections, two products
    return dict(
        backbone=positions * 8 * 27,
        neck=positions * 8 * 18,
        predictor=attention,
        frozen=5 * 8 * 8,
        other=5 * positions * 8,
    )


@pytest.mark.parametrize('kind', [Toy, Selecting])
def test_counts_by_hand(kind):
    model = kind().train()
    cost = network_cost(model, (32, 48))
    macs, params = (
        expected_macs(32, 48),
        dict(backbone=224, neck=144, predictor=4 * 64 + 32, centers=40),
    )
    assert {name: part.macs for name, part in cost.parts.items() if part.macs} == macs
    assert {name: part.params for name, part in cost.parts.items() if part.params} == params
    assert cost.macs == sum(macs.values()) and cost.params == sum(params.values())
    assert (
        model.training
        and model.backbone.weight.requires_grad
        and not model.frozen.weight.requires_grad
    ), 'the model is left as it was'
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_only_trains_and_what_is_frozen_make_up_the_rest():
    model = Toy()
    cost = network_cost(model, (32, 48))
    assert cost.training_only == {'semantic_head': 900} and cost.frozen == 64
    assert cost.all_params == parameter_count(model)['']


def test_the_tiny_model_counts_up_to_the_number_of_mmdets_tool():
    config = read_config('cmt-deeplab_tiny_shapes').model
    cost = config_cost(config, (96, 96))
    assert cost.params == 1_341_634 and cost.all_params == 1_591_018
    assert cost.training_only == {
        'panoptic_head.semantic_head': 208_204,
        'panoptic_head.transformer_decoder.stages.*.*.predictor': 41_180,
    }


def test_panoptic_fpn_needs_no_compiled_operator():
    """Its heads for regions count once for the most regions that an image can have."""
    config = read_config('mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py').model
    config.backbone.init_cfg = None
    cost = config_cost(config, (64, 96))
    assert cost.all_params == 46_027_110 and cost.params + cost.frozen == cost.all_params
    box_head = 1000 * (256 * 49 * 1024 + 1024 * 1024 + 1024 * (81 + 320))
    mask_head = 100 * (4 * 256 * 256 * 9 * 14**2 + 256 * 256 * 28**2 + 256 * 80 * 28**2)
    assert cost.parts['roi_head'].macs == box_head + mask_head
    assert cost.parts['semantic_head'].macs > 0


def test_the_same_without_memory():
    with torch.device('meta'):
        model = Toy()
    assert network_cost(model, (32, 48)) == network_cost(Toy(), (32, 48))


def test_fused_attention_is_counted():
    class Fused(Toy):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            pixels = self.backbone(inputs).flatten(2).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(self.centers, pixels, pixels)

    assert network_cost(Fused(), (32, 48)).parts['other'].macs == 2 * 5 * 384 * 8


def test_a_network_that_needs_values_is_run():
    """mmdet's deformable decoder reads feature sizes off tensors."""
    decoder = ConfigDict(
        type='MSDeformAttnPixelDecoder',
        in_channels=[8, 16, 32, 64],
        strides=[4, 8, 16, 32],
        feat_channels=16,
        out_channels=16,
        num_outs=3,
        norm_cfg=dict(type='GN', num_groups=2),
        encoder=dict(
            num_layers=1,
            layer_cfg=dict(
                self_attn_cfg=dict(embed_dims=16, num_heads=2, num_levels=3, num_points=2),
                ffn_cfg=dict(embed_dims=16, feedforward_channels=16),
            ),
        ),
        positional_encoding=dict(num_feats=8, normalize=True),
    )
    model = small_config(
        panoptic_head__pixel_decoder=dict(type='AllStridesPixelDecoder', decoder=decoder)
    )
    parts = config_cost(model, (65, 65)).parts
    assert parts['pixel_decoder'].macs > 0 and parts['backbone'].macs > 0


def test_an_error_of_the_network_comes_through():
    class Broken(Toy):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            return self.neck(inputs)

    with pytest.raises(RuntimeError, match='channels'):
        network_cost(Broken(), (32, 48))


@pytest.mark.parametrize(
    'path, part',
    [
        ('backbone.layer1.0.conv1.weight', 'backbone'),
        ('panoptic_head.pixel_decoder.blocks.0', 'pixel_decoder'),
        ('panoptic_head.transformer_decoder.stages.0.0.predictor.mask_head', 'layers'),
        ('panoptic_head.transformer_decoder.centers', 'centers'),
        ('panoptic_head.transformer_decoder.layers.3.ffn', 'layers'),
        ('panoptic_head.transformer_decoder.predictor', 'predictor'),
        ('panoptic_head.query_embed.weight', 'panoptic_head'),
        ('neck.convs.0', 'neck'),
        ('', 'other'),
    ],
)
def test_part_of(path, part):
    assert part_of(path) == part


@pytest.mark.parametrize('layer, at_inference', [('CMTLayer', False), ('KMaXLayer', True)])
def test_own_predictors_count_only_where_they_are_consumed(layer, at_inference):
    from mmdet.registry import MODELS

    config = small_config(panoptic_head__transformer_decoder__layer__type=layer)
    stages = MODELS.build(config).panoptic_head.transformer_decoder.stages
    own = sum(
        parameter.numel() for name, parameter in stages.named_parameters() if '.predictor.' in name
    )
    every = sum(parameter.numel() for parameter in stages.parameters())
    cost = config_cost(config, (65, 65))
    assert own > 0 and cost.parts['layers'].params == (every if at_inference else every - own)
    only = cost.training_only.get('panoptic_head.transformer_decoder.stages.*.*.predictor', 0)
    assert only == (0 if at_inference else own)


def test_inference_does_not_depend_on_the_deep_supervision():
    config = small_config()
    alone = small_config(panoptic_head__transformer_decoder__deep_supervision=False)
    assert config_cost(alone, (65, 65)).parts == config_cost(config, (65, 65)).parts


def test_command_line_writes_the_figures(tmp_path):
    out = tmp_path / 'made' / 'cost.json'
    done = run_tool(
        TOOL,
        ROOT / 'configs/max_deeplab/max-deeplab-s_8xb8-100k_coco-panoptic-641.py',
        '--shape',
        '641',
        '641',
        '--json',
        str(out),
    )
    assert done.returncode == 0, done.stderr
    written = json.loads(out.read_text())
    assert set(written) == {'params', 'macs', 'parts', 'training_only', 'frozen'} and all(
        set(part) == {'params', 'macs'} for part in written['parts'].values()
    )
    assert (
        written['params'] == 61_900_200 == sum(part['params'] for part in written['parts'].values())
    )
    assert '61,900,200' in done.stdout and '127.7' in done.stdout


def test_command_line_names_a_config_that_is_not_there():
    done = run_tool(TOOL, 'configs/nothing.py', '--shape', '65', '65')
    assert (
        done.returncode == 1
        and 'configs/nothing.py does not exist' in done.stderr
        and 'Traceback' not in done.stderr
    )


@pytest.mark.parametrize(
    ('config', 'options', 'sentence'),
    [
        ('_base_/default_runtime.py', ['--shape', 9, 9], 'The config has no model: add it'),
        ('cmt_deeplab/cmt-deeplab_tiny_shapes.py', ['--shape', 0, 9], '0 is not a whole number'),
        (
            'cmt_deeplab/cmt-deeplab_tiny_shapes.py',
            ['--shape', 9, 9, '--json', '/proc/no/figures.json'],
            '/proc/no/figures.json cannot be written',
        ),
        (
            'cmt_deeplab/cmt-deeplab_tiny_shapes.py',
            ['--shape', 9, 9, '--cfg-options', 'image_size=64'],
            'image_size changes nothing',
        ),
    ],
)
def test_a_wrong_argument_is_one_sentence(config, options, sentence):
    done = run_tool(TOOL, ROOT / 'configs' / config, *options)
    assert done.returncode and sentence in done.stderr and 'Traceback' not in done.stderr


def test_the_table_is_there_though_its_file_is_not():
    config = ROOT / 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
    done = run_tool(TOOL, config, '--shape', 65, 65, '--json', '/dev/full')
    assert done.returncode == 1 and 'total' in done.stdout
    assert done.stderr.startswith('Error: ') and 'No space left' in done.stderr
