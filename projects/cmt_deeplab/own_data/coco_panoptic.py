"""COCO's panoptic JSONs and PNGs, which are used where they lie."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cmt_deeplab.errors import UserError
from cmt_deeplab.panoptic_json import read_panoptic_json

from .files import Files, words
from .layouts.pairing import IMAGE, role_of_words
from .panoptic_folder import PanopticSplit


def find_coco_panoptic(files: Files, jsons: list[Path]) -> dict[str, PanopticSplit]:
    """The splits by the name that their files give them, 'train' where none does.

    In COCO's own layout the folder of a JSON's name holds its PNGs, and that of its split the
    images. In others the names in the JSON are looked for.

    Raises:
        UserError: a split has two JSONs, or files that a JSON names are missing.
    """
    splits = {}
    for file in jsons:
        split = files.split_of(file, by_name=True) or 'train'
        if split in splits:
            raise UserError(
                f'{splits[split].ann_file} and {file} are both for {split}: take '
                'one of them out of the folder.'
            )
        splits[split] = _standard(file) or _anywhere(files, file, split)
    return splits


def _standard(file: Path) -> PanopticSplit | None:
    name, planes = file.stem.removeprefix('panoptic_'), file.with_suffix('')
    for base in (file.parent.parent, file.parent):
        if planes.is_dir() and (base / name).is_dir() and base / name != planes:
            return PanopticSplit(name, file, base / name, planes)
    return None


def _anywhere(files: Files, file: Path, split: str) -> PanopticSplit:
    content = read_panoptic_json(str(file), needs=('images', 'categories', 'annotations'))
    planes = _folder(
        files, file, [a['file_name'] for a in content['annotations']], split,
        lambda folder: 'panoptic' in words(folder.name) or role_of_words(folder.name) != IMAGE,
    )  # fmt: skip
    images = _folder(
        files, file, [image['file_name'] for image in content['images']], split,
        lambda folder: folder != planes and 'panoptic' not in words(folder.name),
    )  # fmt: skip
    return PanopticSplit(split, file, images, planes)


def _folder(
    files: Files, file: Path, names: Sequence[str], split: str, fits: Callable[[Path], bool]
) -> Path:
    """The folder below which all these names are found; one that ``fits`` is preferred."""
    first = names[0]
    below = [str(path) for path in files.images if str(path).endswith(f'/{first}')]
    folders = [Path(path.removesuffix(first)) for path in below]
    whole = [folder for folder in folders if all((folder / name).is_file() for name in names)]

    def rank(folder: Path) -> tuple[bool, bool, bool]:
        of_split = files.split_of(folder / first) in (split, None)
        return fits(folder), of_split, folder.name in file.stem

    if not whole:
        raise UserError(
            f'{file} names {first} and others, but no folder below {files.root} holds all of them: '
            'put them there, or correct the "file_name"s.'
        )
    return max(whole, key=rank)
