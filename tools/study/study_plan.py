"""A plan: the models of a study, the images and the length of their trainings, and the seeds.

A plan is a config file of mmengine with the keys of :class:`Plan`; docs/study.md shows one. The
results lie beside it, in a file with one JSON a line.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cmt_deeplab.analysis.compared_model import ComparedModel, SharedData
from cmt_deeplab.analysis.config_model import load_config
from cmt_deeplab.analysis.learning_curve import training_config
from cmt_deeplab.config_names import config_file
from cmt_deeplab.datasets import write_shapes
from cmt_deeplab.errors import UserError, require_file
from mmengine.config import Config
from quickstart.config import move_paths

PLANS = Path(__file__).resolve().parent / 'plans'


@dataclass(frozen=True)
class Row:
    """A model of a plan; what it does not set is that of the plan.

    ``options`` are entries of the config to change, nested as in a leaf config.
    """

    name: str
    config: str
    iterations: int
    options: Mapping = field(default_factory=dict, compare=False)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The keys of a plan.

    ``config`` is the model of a row that names none, and its images, metric and batch are those of
    all rows. ``options`` change the config of every row, before its own do. ``scenes`` are
    arguments of ``write_shapes``, which makes the images; without it ``data_root`` has them.
    Differences are those to the row ``baseline``.
    """

    path: Path
    config: str
    iterations: int
    rows: tuple[Row, ...]
    baseline: str
    seeds: int = 3
    validations: int = 5
    options: Mapping = field(default_factory=dict)
    scenes: Mapping | None = None
    data_root: str = 'data'

    @property
    def results_file(self) -> Path:
        return self.path.with_suffix('.jsonl')

    def results(self) -> list[dict]:
        """The finished runs; a line of which a part was never written does not count."""
        if not self.results_file.is_file():
            return []
        results = []
        for line in self.results_file.read_text(encoding='utf-8').splitlines():
            with suppress(ValueError):
                results.append(json.loads(line))
        return results

    def keep(self, result: dict) -> None:
        """Append a finished run, in a line of its own also where the last one has no end."""
        with open(self.results_file, 'a+', encoding='utf-8') as file:
            file.seek(0)
            torn = file.read()[-1:] not in ('', '\n')
            file.write('\n' * torn + json.dumps(result) + '\n')

    def row(self, name: str) -> Row:
        """The row of a name.

        Raises:
            UserError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise UserError(f'The plan {self.path} has no row {name!r}.')

    def open_runs(self) -> Iterator[tuple[Row, int]]:
        """The runs without a result: all rows with the first seed, then with the next."""
        done = {(one['row'], one['seed'], one['iterations']) for one in self.results()}
        for seed in range(self.seeds):
            for row in self.rows:
                if (row.name, seed, row.iterations) not in done:
                    yield row, seed

    def folder(self, work_dir: Path, row: Row, seed: int) -> Path:
        return (
            work_dir / self.path.stem / row.name.replace(' ', '-') / f'seed{seed}_{row.iterations}'
        )

    def make_data(self, work_dir: Path) -> Path:
        """The folder of the images, which are generated where they are missing."""
        if self.scenes is None:
            root = Path(self.data_root)
            require_file(
                next(iter(sorted(root.glob('annotations/*.json'))), root / 'annotations/*.json'),
                f'The plan {self.path.name} needs the data set {root}, which has no '
                f'annotations/*.json: make it as the plan says, or name it by --data-root.',
            )
            return root
        root = work_dir / 'data' / '_'.join(map(str, self.scenes.values()))
        write_shapes(root, **self.scenes)
        return root

    def model_config(self, row: Row) -> Config:
        """The config of a row, at its own length of training and with its own paths of data."""
        config = load_config(config_file(row.config))
        for options in (self.options, row.options):
            config.merge_from_dict(deepcopy(dict(options)))
        return config

    def training_config(self, row: Row, seed: int, *, data: Path, folder: Path) -> Config:
        """The config of one run, which goes on from the newest checkpoint in ``folder``."""
        shared = self.model_config(Row('', self.config, self.iterations))
        old = shared.data_root
        for key in list(shared):
            shared[key] = move_paths(shared[key], old, f'{data.resolve()}/')
        model = ComparedModel(f'{row.name}, seed {seed}', self.model_config(row))
        config = training_config(
            model, SharedData(shared), iterations=row.iterations, seed=seed, work_dir=folder
        )
        every = max(1, row.iterations // self.validations)
        config.train_cfg.val_interval = every
        config.default_hooks.checkpoint = dict(
            type='CheckpointHook', by_epoch=False, interval=every, max_keep_ckpts=1
        )
        config.log_level = 'INFO'
        for key in ('dataloader', 'evaluator'):  # so that tools can test what was trained
            config[f'test_{key}'] = config[f'val_{key}']
        config.test_cfg = dict(type='TestLoop')
        return config


def read_plan(path: str | Path, **changes: Any) -> Plan:
    """The plan of a file, with ``changes`` of its keys.

    Raises:
        MissingFileError: there is no such file.
        UserError: it lacks a key, has an unknown one, or names a row twice or not at all.
    """
    require_file(path, f'The plan {path} does not exist: name a file such as those of {PLANS}.')
    path = Path(path).resolve()
    content = Config.fromfile(str(path))._cfg_dict.to_dict()
    known = {each.name for each in fields(Plan)} - {'path'}
    required = {'config', 'iterations', 'rows', 'baseline'}
    for word, wrong in (('lacks', required - set(content)), ('has', set(content) - known)):
        if wrong:
            raise UserError(
                f'The plan {path} {word} the key {min(wrong)}; the keys of a plan are '
                f'{", ".join(sorted(known))}.'
            )
    inherited = {key: content[key] for key in ('config', 'iterations')}
    rows = tuple(Row(**{**inherited, **row}) for row in content.pop('rows'))
    plan = Plan(path=path, rows=rows, **content | changes)
    names = [row.name for row in rows]
    if len(set(names)) < len(names) or plan.baseline not in names:
        raise UserError(
            f'The plan {path} has the rows {names} and the baseline {plan.baseline!r}: each row '
            'needs a name of its own, and the baseline is one of them.'
        )
    return plan
