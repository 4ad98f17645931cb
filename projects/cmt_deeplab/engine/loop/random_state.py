"""The random numbers of training: they follow from the seed, the iteration and the image.

So a resumed run draws as an unbroken one does, and a checkpoint holds no state of a generator.
"""

import random
from zlib import crc32

import numpy as np
import torch


def seed_generators(*keys: object) -> None:
    """Seed the generators of this process with one number that depends on all ``keys``.

    These are those of Python, numpy, torch on the CPU and, once it is in use, on the current GPU.
    """
    seed = crc32('/'.join(map(str, keys)).encode())
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed keeps a stack trace of each call until a GPU is used
    torch.random.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
