"""The CMT layer against the loops of its definition, and its switches."""

from functools import partial

import pytest
import torch
from cmt_deeplab.models.heads.predictor import CMTPredictor, unit_length
from cmt_deeplab.models.transformer import CMTLayer, MaXLayer
from cmt_deeplab.models.transformer.layer_parts import RetrievedUpdate
from cmt_deeplab.models.transformer.location import coordinate_planes
from cmt_deeplab.models.transformer.retrieval import nearest_center

B, N, H, W = 2, 5, 3, 4
COMMON = dict(norm_cfg=dict(type='PanopticSyncBN'), act_cfg=dict(type='GELU'))


def make_layer(kind: type = CMTLayer, **kwargs) -> CMTLayer:
    torch.manual_seed(0)
    args = dict(
        pixel_channels=6,
        center_channels=8,
        align_corners=True,
        predictor=partial(
            CMTPredictor, num_classes=3, hidden_channels=8, feature_channels=4, **COMMON
        ),
        **COMMON,
        hidden_channels=8,
        heads=2,
        key_channels=4,
        value_channels=8,
        ffn_channels=16,
    )
    layer = kind(**{**args, **kwargs})
    for module in layer.modules():  # no zero gammas: every term must show in the output
        if hasattr(module, 'running_mean'):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    return layer.double()


def make_inputs(scale: int = 1):
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    return draw(B, 6, H, W), draw(B, 8, N), draw(B, 2, N, H, W)


def by_loops(layer: CMTLayer, pixels, centers, previous):
    """Steps 1 to 3 pixel by pixel and center by center, from the layer's own projections."""
    _, own_pixels, located = layer.locate(pixels, centers)
    own_centers = layer.center_project(located)
    key, value = (part.flatten(1, 2) for part in layer.pixel_kv(own_pixels))
    query, center_value = (part.flatten(1, 2) for part in layer.center_qv(own_centers))
    heads, dk, dv = layer.heads, key.shape[1] // layer.heads, value.shape[1] // layer.heads
    affinity = torch.zeros(B, heads, N, H * W, dtype=torch.float64)
    for b in range(B):
        for h in range(heads):
            for n in range(N):
                for p in range(H * W):
                    affinity[b, h, n, p] = sum(
                        query[b, h * dk + i, n] * key[b, h * dk + i, p] for i in range(dk)
                    )
    logits = layer.similarity_norm(affinity) + previous.flatten(3)
    cluster, cross = (
        torch.zeros(B, heads * dv, N, dtype=torch.float64),
        torch.zeros(B, heads * dv, N, dtype=torch.float64),
    )
    heard = torch.zeros(B, heads * dv, H * W, dtype=torch.float64)
    for b in range(B):
        for c in range(heads * dv):
            h = c // dv
            for n in range(N):
                over_pixels = logits[b, h, n].exp() / logits[b, h, n].exp().sum()
                for p in range(H * W):
                    over_centers = logits[b, h, n, p].exp() / logits[b, h, :, p].exp().sum()
                    if layer.assign is nearest_center:
                        over_centers = float(logits[b, h, n, p] == logits[b, h, :, p].max())
                    cluster[b, c, n] += over_centers * value[b, c, p]
                    cross[b, c, n] += over_pixels[p] * value[b, c, p]
                    heard[b, c, p] += over_centers * center_value[b, c, n]
    updated = centers + layer.cross_update(cross) + layer.cluster_update(cluster)
    updated = layer.act(updated + layer.self_attention(own_centers))
    updated = layer.act(updated + layer.ffn(updated))
    return (
        pixels + layer.pixel_update(heard.view(B, -1, H, W)),
        updated,
        logits.view(B, heads, N, H, W),
    )


@pytest.mark.parametrize('assignment', ['softmax', 'kmeans'])
def test_layer_equals_its_definition(assignment):
    layer, inputs = make_layer(assignment=assignment).eval(), make_inputs()
    output = layer(*inputs, predict=True)
    for ours, reference in zip(output[:3], by_loops(layer, *inputs)):
        torch.testing.assert_close(ours, reference, atol=1e-9, rtol=1e-9)
    assert output.prediction.reference_points.shape == (B, N, 5, 2)
    assert output.prediction().mask_logits.shape == (B, N, H, W)


@pytest.mark.parametrize(
    'switch',
    [
        'clustering_update',
        'spatial_attention',
        'pixel_update',
        'residual_logits',
        'reference_mask',
        'coordinate_conv',
    ],
)
def test_each_ingredient_switches_off(switch):
    inputs = make_inputs()
    full, without = make_layer().eval(), make_layer(**{switch: False}).eval()
    shared = {
        name: value
        for name, value in full.state_dict().items()
        if name in without.state_dict() and value.shape == without.state_dict()[name].shape
    }
    without.load_state_dict(shared, strict=False)
    ours, theirs = full(*inputs), without(*inputs)
    if switch == 'pixel_update':
        torch.testing.assert_close(theirs.pixels, inputs[0])
    else:
        assert not torch.allclose(ours.centers, theirs.centers)
    if switch not in ('residual_logits', 'pixel_update'):
        assert sum(p.numel() for p in without.parameters()) < sum(
            p.numel() for p in full.parameters()
        )


@pytest.mark.parametrize('kind', [CMTLayer, MaXLayer])
def test_an_update_with_its_own_forward_is_called(kind):
    class Nothing(RetrievedUpdate):
        def forward(self, value):
            return 0 * super().forward(value)

    class Layer(kind):
        def build_update(self, channels):
            return Nothing(self.value_channels, channels, **self.update)

    layer, (pixels, centers, _) = make_layer(Layer), make_inputs()
    assert torch.equal(layer(pixels, centers, None).pixels, pixels)


def test_centers_are_a_set():
    """Permuting the centers permutes what they become and leaves the pixels alone."""
    layer, (pixels, centers, logits) = make_layer().eval(), make_inputs()
    order = torch.tensor([3, 0, 4, 1, 2])
    first, second = (
        layer(pixels, centers, logits),
        layer(pixels, centers[..., order], logits[:, :, order]),
    )
    torch.testing.assert_close(second.pixels, first.pixels, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(second.centers, first.centers[..., order], atol=1e-6, rtol=1e-6)


def test_residual_logits_are_resized_between_strides():
    layer, (pixels, centers, _) = make_layer().eval(), make_inputs()
    coarse = torch.randn(B, 2, N, 2, 3, dtype=torch.float64)
    fine = torch.nn.functional.interpolate(
        coarse.flatten(1, 2), (H, W), mode='bilinear', align_corners=True
    ).view(B, 2, N, H, W)
    torch.testing.assert_close(
        layer(pixels, centers, coarse).logits, layer(pixels, centers, fine).logits
    )


@pytest.mark.parametrize('align_corners, corner', [(True, 1.0), (False, 1.0 - 1.0 / 5)])
def test_coordinates_reach_the_corners_where_corners_are_aligned(align_corners, corner):
    planes = coordinate_planes(torch.zeros(1, 1, 3, 5), align_corners=align_corners)
    assert planes.shape == (1, 2, 3, 5)
    assert planes[0, 0, 0, -1] == pytest.approx(corner) and planes[0, 0, 0, 0] == pytest.approx(
        -corner
    )
    assert planes[0, 1, 1, 0] == pytest.approx(0.0)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match='CMTLayer: key_channels 4 .* multiples of heads 3'):
        make_layer(heads=3)
    with pytest.raises(ValueError, match='not updated from the pixels'):
        make_layer(clustering_update=False, spatial_attention=False)
    with pytest.raises(ValueError, match="assignment must be 'softmax' or 'kmeans'"):
        make_layer(assignment='hard')
    with pytest.raises(ValueError, match='nothing trains its logits'):
        make_layer(assignment='kmeans', spatial_attention=False)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_pixel_features_that_are_zero_stay_finite(dtype):
    x = torch.zeros(1, 4, 2, 2, dtype=dtype, requires_grad=True)
    features = unit_length(x)
    features.sum().backward()
    assert not features.any() and x.grad.isfinite().all()
