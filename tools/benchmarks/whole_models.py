"""Whole models beside each other: the network, the network with its merge, and a training step.

Used by tools/analysis_tools/compare_models.py, which says what the figures are, and by the
benchmark train-step.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from cmt_deeplab.analysis.compared_model import ComparedModel, SharedData, batch_of
from harness import Form, Subject, measure
from mmengine.optim import OptimWrapper, build_optim_wrapper


def inference_form(model: ComparedModel, data: SharedData, mode: str) -> Form:
    """One image through mmdet's mode 'tensor' (the network alone) or 'predict' (with the merge).

    Run i is of image i of the validation data; loading and preprocessing are not timed.
    """
    dataset, network = data.dataset(model, 'val'), model.network

    def form(run: int) -> Callable[[], Any]:
        prepared = network.eval().data_preprocessor(batch_of(dataset, [run]), False)

        def work() -> Any:
            with torch.no_grad():
                return network(**prepared, mode=mode)

        return work

    return form


def training_form(model: ComparedModel, data: SharedData, batch: int) -> Form:
    """One training step of a batch: preprocessing, losses, gradients and the optimizer's step.

    The first one also notes the memory that the model holds after it.
    """
    dataset = data.dataset(model, 'train')
    optimizer = build_optim_wrapper(model.network, deepcopy(model.config.optim_wrapper))

    def form(run: int) -> Callable[[], Any]:
        samples = batch_of(dataset, range(run * batch, (run + 1) * batch))
        model.network.train()

        def work() -> None:
            model.network.train_step(samples, optimizer)

        return work

    form(0)()
    model.figures['held_mib'] = mebibytes_held(model.network, optimizer)
    return form


def mebibytes_held(network: torch.nn.Module, optimizer: OptimWrapper) -> float:
    """Weights, buffers and the state of the optimizer: the gradients are gone after a step."""
    tensors = [*network.parameters(), *network.buffers()]
    states = optimizer.optimizer.state.values()
    tensors += [value for state in states for value in state.values() if torch.is_tensor(value)]
    return sum(tensor.nbytes for tensor in tensors) / 2**20


def measure_in_turn(
    models: Sequence[ComparedModel],
    make_form: Callable[..., Form],
    *arguments: Any,
    name: str,
    runs: int,
    device: str,
    with_memory: bool = False,
) -> None:
    """Put the times of one kind of work into the figures of the models, which run it in turn.

    The ratios are the times relative to the first model. A model whose work fails at a first try is
    left out.
    """

    def tried(model: ComparedModel) -> Form:
        form = make_form(model, *arguments)
        form(0)()
        return form

    # The harness compares with the last form.
    forms = {model.name: model.attempt(tried) for model in reversed(models)}
    forms = {key: form for key, form in forms.items() if form is not None}
    if not forms:
        return
    by_name = {model.name: model for model in models}
    for row in measure(Subject(forms, with_memory=with_memory), runs=runs, device=device)['rows']:
        figures = by_name[row.pop('form')].figures
        (ratio,) = row.pop('ratios').values()
        row.update(ratio=1 / ratio['median'], per_second=1e3 / row['median_ms'])
        figures.update({f'{name}.{key}': value for key, value in row.items()})


def measure_models(
    models: Sequence[ComparedModel], data: SharedData, *, runs: int, batch: int, device: str
) -> None:
    """Times and memory of all models that have a network, in turn; the weights change."""
    ready = [model for model in models if model.network is not None]
    options = dict(runs=runs, device=device)
    measure_in_turn(ready, inference_form, data, 'tensor', name='network', **options)
    measure_in_turn(ready, inference_form, data, 'predict', name='merged', **options)
    measure_in_turn(ready, training_form, data, batch, name='step', with_memory=True, **options)
