"""torch.compile makes one graph of the network, also for another size of the images."""

from copy import deepcopy

import pytest
import torch
from mmdet.registry import MODELS
from small_model import COMPLETE, build_small
from torch import Tensor, nn

LAYER = 'panoptic_head__transformer_decoder__layer'
SIZES = dict(hidden_channels=32, heads=4)
LAYERS = {each: {LAYER: dict(type=f'{each}Layer', **SIZES)} for each in ('KMaX', 'MaX')}


def graphs_of(model: nn.Module, *sides: int) -> int:
    """The graphs that are made for images of these sides; a break raises an error."""
    graphs = []

    def keep(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> nn.Module:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(model.network, backend=keep, fullgraph=True, dynamic=True)
    with torch.set_grad_enabled(model.training):
        for side in sides:
            compiled(torch.randn(2, 3, side, side))
    return len(graphs)


@pytest.mark.parametrize('training', [False, True])
def test_a_network_is_one_graph_for_all_sizes(training):
    model = MODELS.build(deepcopy(COMPLETE)).train(training)
    assert graphs_of(model, 65, 97) == 1


@pytest.mark.slow
@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('changes', [{}, *LAYERS.values()], ids=['CMT', *LAYERS])
def test_the_network_of_each_family_is_one_graph(changes, training):
    assert graphs_of(build_small(**changes).train(training), 65, 97) == 1
