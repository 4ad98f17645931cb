"""Finding the files of the truth and of the predictions that a command line names."""

from dataclasses import replace
from pathlib import Path

from cmt_deeplab.errors import MissingFileError, UserError, require_file
from cmt_deeplab.own_data.panoptic_folder import PanopticSplit


def find_predictions(path: str) -> tuple[str, str]:
    """The JSON of saved predictions and the folder of their PNGs.

    ``path`` is the JSON, the folder of the PNGs, the ``outfile_prefix`` of PanopticQualityMetric or
    the folder that ``cmt-deeplab predict`` wrote.

    Raises:
        MissingFileError: there are none.
    """
    stem = path.removesuffix('.json').rstrip('/')
    for found in (stem, f'{stem}.panoptic', f'{stem}/panoptic'):
        if Path(f'{found}.json').is_file():
            return f'{found}.json', found
    raise MissingFileError(
        f'There are no predictions at {path}: give the JSON in the COCO panoptic format that '
        '`tools/test.py CONFIG CHECKPOINT --cfg-options test_evaluator.outfile_prefix=PREFIX` or '
        '`cmt-deeplab predict` writes, or the folder beside it.'
    )


def find_truth(
    path: str, seg_prefix: str | None = None, img_prefix: str | None = None
) -> PanopticSplit:
    """The truth of an evaluation.

    ``path`` is a panoptic JSON, whose PNGs lie in the folder of the same name or in ``seg_prefix``
    and whose images lie as in COCO or in ``img_prefix``; a folder of own data, of which the
    validation split counts; or a config, by file or name.

    Raises:
        MissingFileError: there is no such file.
        UserError: the config has no panoptic truth.
    """
    if path.endswith('.json'):
        file = Path(path)
        images = file.parent.parent / file.stem.removeprefix('panoptic_')  # as in COCO
        split = PanopticSplit(file.stem, file, images, file.with_suffix(''))
    elif Path(path).is_dir():
        from cmt_deeplab.own_data import open_data

        try:
            folder = open_data(path)
        except UserError as error:
            raise type(error)(
                f'{error} After a training on these data, its config.py names the files that were '
                'made of them: give that in place of the folder.'
            ) from error
        split = folder.val or folder.train
    else:
        split = _split_of_config(path)
    require_file(
        str(split.ann_file),
        f'The annotation file {split.ann_file} does not exist: put it there or correct the path.',
    )
    prefixes = dict(img_dir=img_prefix, seg_dir=seg_prefix)
    return replace(split, **{name: Path(path) for name, path in prefixes.items() if path})


def _split_of_config(path: str) -> PanopticSplit:
    """The data that ``tools/test.py`` evaluates a config on."""
    from cmt_deeplab.analysis.config_model import load_config

    config = load_config(path)
    dataset = config.get('test_dataloader', {}).get('dataset', {})
    prefix = dataset.get('data_prefix', {})
    if not {'ann_file', 'data_prefix'} <= dataset.keys() or 'seg' not in prefix:
        raise UserError(
            f'test_dataloader.dataset of {path} has no ann_file with data_prefix.seg: give the '
            'panoptic JSON of the truth in place of the config.'
        )
    parts = dataset['ann_file'], prefix.get('img', ''), prefix['seg']
    file, images, pngs = (Path(dataset.get('data_root', ''), part) for part in parts)
    return PanopticSplit(file.stem, file, images, pngs)
