"""The rows, by section."""

from . import (
    backbones_of_mmdet,
    backbones_of_timm,
    criterion,
    data,
    engine,
    heads,
    models_of_mmdet,
    pixel_decoders,
)

ROWS = [
    *backbones_of_mmdet.ROWS,
    *backbones_of_timm.ROWS,
    *pixel_decoders.ROWS,
    *heads.ROWS,
    *criterion.ROWS,
    *data.ROWS,
    *engine.ROWS,
    *models_of_mmdet.ROWS,
]
