"""The models that own data can be trained with, by name."""

from dataclasses import dataclass
from pathlib import Path

from cmt_deeplab.config_names import project_folder
from cmt_deeplab.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """A model with its recipe, ``configs/_base_/own_data/NAME.py``."""

    side: int  # of the images, where these are as large
    iterations: int
    says: str


RECIPES = {
    'cmt-lite0': Recipe(320, 3000, 'EfficientNet-Lite0, pretrained; for a CPU or a small GPU'),
    'kmax-lite0': Recipe(320, 3000, 'the same with k-means layers, a seventh faster on a CPU'),
    'cmt-tiny': Recipe(256, 2500, 'a small ResNet-18 from scratch; simple images, in minutes'),
    'cmt-r50': Recipe(641, 10000, 'ResNet-50, pretrained; for a GPU'),
    'kmax-r50': Recipe(641, 10000, 'ResNet-50 with k-means layers, pretrained; for a GPU'),
}


def recipe(name: str) -> tuple[Recipe, Path]:
    """The recipe of a model and its config file.

    Raises:
        UserError: there is no such model.
    """
    if name not in RECIPES:
        known = ''.join(f'\n  {key}: {one.says}' for key, one in RECIPES.items())
        raise UserError(f'There is no model {name!r} for own data: take one of{known}')
    return RECIPES[name], project_folder() / 'configs' / '_base_' / 'own_data' / f'{name}.py'
