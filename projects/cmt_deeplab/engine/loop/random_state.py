"""The random generators of a process: keep, set and seed them."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def random_state(*, gpu: bool = True) -> dict:
    """The states of the random generators of this process: Python, numpy, torch, current GPU.

    They are of types that a checkpoint read as weights only may hold.
    """
    kind, keys, *rest = np.random.get_state()
    state = dict(
        python=random.getstate(), numpy=(kind, keys.tolist(), *rest), torch=torch.get_rng_state()
    )
    if gpu and torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Set what :func:`random_state` returned, also after a checkpoint moved it to a GPU."""
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state['numpy']
    np.random.set_state((kind, [int(key) for key in keys], *rest))  # version 0.1.0 kept a tensor
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def seed_cpu(*numbers: int) -> None:
    """Seed the generators of the CPU with one number that depends on all ``numbers``."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.random.default_generator.manual_seed(seed)


@contextmanager
def own_random_state(state: dict) -> Iterator[None]:
    """Let what runs inside draw from generators of its own, whose state is kept in ``state``.

    It finds them as it left them the last time. The numbers that the rest of the process draws do
    not depend on it. The generator of the GPU is shared.
    """
    outside = random_state(gpu=False)
    if state:
        set_random_state(state)
    try:
        yield
    finally:
        state.update(random_state(gpu=False))
        set_random_state(outside)
