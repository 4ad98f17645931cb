"""Train a model on own data by one call, what stands behind ``cmt-deeplab train DATA``."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any


def train(
    data: str | Path,
    *,
    model: str = 'cmt-lite0',
    work_dir: str | Path | None = None,
    stuff: Collection[str] = (),
    image_size: tuple[int, int] | int | None = None,
    iters: int | None = None,
    minutes: float | None = None,
    batch: int | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    resume: bool = False,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> Path:
    """Train ``model`` on the data in the folder ``data``; the work dir with all that came of it."""
    raise NotImplementedError
