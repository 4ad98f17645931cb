"""Checkpoints that somebody made to do harm, through every entry point that reads one."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from hostile_checkpoints import HOSTILE, Call, mark
from trial.attempt import Attempt
from trial.judge import Ended, Outcome, last_line, one_line, sentence
from trial.place import Place
from trial.situation import DETECTOR, INFERENCER, TEST, TRAIN, faults

from .kills import keep
from .short_runs import ITERATIONS, ShortRun

kind = faults(
    'Hostile checkpoints',
    'Checkpoints that would run code, read foreign memory, or take all memory or time, are read '
    'through every entry point. Each is built around a good checkpoint, from which its weights '
    'are. None may run code, and each that is harmful by its content is refused with a sentence '
    'that names it; texts that only a parser of configs would run may be left unread.',
)
MEMORY, TIME = 8 << 30, 10  # bytes and seconds of processor time that a program may take
GROUPS = {
    'run code when they are unpickled': ('code',),
    'hold a config text that would run': ('text',),
    'read foreign memory, or take all memory or time': ('memory', 'size'),
    'hold values of a wrong kind': ('kind',),
}


def toy_config(place: Place) -> Path:
    return place.folder / 'toy.py'


def backbone(place: Place, path: Path) -> None:
    start = f"dict(_delete_=True, type='Pretrained', checkpoint={str(path)!r}, prefix='backbone.')"
    config = place.config(f'model = dict(backbone=dict(init_cfg={start}))\n')
    place.tool(TRAIN, config, '--work-dir', path.parent / 'runs')


def automatically(place: Place, path: Path) -> None:
    work = path.parent / 'runs'
    work.mkdir()
    path = path.rename(work / 'iter_2.pth')
    (work / 'last_checkpoint').write_text(str(path))
    place.tool(TRAIN, toy_config(place), '--work-dir', work, '--resume')


def convert(name: str) -> Callable:
    def act(place: Place, path: Path) -> None:
        place.tool(f'tools/model_converters/{name}.py', path, 'out.pth', '--config', place.config())

    return act


def convert_archive(place: Place, path: Path) -> None:
    convert('deeplab2_to_mmdet')(place, path.rename(path.with_suffix('.npz')))


def train(*options: str) -> Callable:
    def act(place: Place, path: Path) -> None:
        options_here = [option.format(path) for option in options]
        place.tool(TRAIN, toy_config(place), '--work-dir', path.parent / 'runs', *options_here)

    return act


def other_runner(place: Place, path: Path) -> None:
    from mmengine.config import Config
    from mmengine.runner import Runner

    cfg = Config.fromfile(str(toy_config(place)))
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=ITERATIONS)
    cfg.merge_from_dict(dict(load_from=str(path), resume=True, work_dir=str(path.parent / 'runs')))
    Runner.from_cfg(cfg).train()


def weights_alone(place: Place, path: Path) -> None:
    from mmdet.apis import DetInferencer

    DetInferencer(weights=str(path), device='cpu')


def test(place: Place, path: Path) -> None:
    place.tool(TEST, toy_config(place), path, '--work-dir', path.parent / 'runs')


def replay(place: Place, path: Path) -> None:
    place.tool('tools/analysis_tools/replay_step.py', toy_config(place), path)


def program(name: str) -> Callable:
    return lambda place, path: place.tool(name, path, path.parent / 'out')


# by route: what reads the checkpoint, and whether it is one of the toy model
ROUTES = {
    TRAIN + ' --cfg-options load_from': (train('--cfg-options', 'load_from={}'), True),
    TRAIN + ' --resume CHECKPOINT': (train('--resume', '{}'), True),
    TRAIN + ' --resume, automatically': (automatically, True),
    TRAIN + ', init_cfg of a backbone': (backbone, False),
    "mmengine's Runner with resume=True": (other_runner, True),
    TEST: (test, True),
    'kmax_pytorch_to_mmdet.py': (convert('kmax_pytorch_to_mmdet'), False),
    'deeplab2_to_mmdet.py': (convert_archive, False),
    'publish_model.py': (program('tools/model_converters/publish_model.py'), True),
    'replay_step.py': (replay, True),
    DETECTOR: (lambda place, path: place.detector(checkpoint=path), False),
    INFERENCER: (lambda place, path: place.inferencer(checkpoint=path), False),
    INFERENCER + ' without a model': (weights_alone, False),
}
ALIASES = {'publish_model.py': 'tools/model_converters', 'replay_step.py': 'tools/analysis_tools'}


def limited(act: Callable, place: Place, path: Path) -> Callable[[], None]:
    def limited_act() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (TIME, TIME))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with user_errors_end():
            act(place, path)

    return limited_act


def user_errors_end():
    from cmt_deeplab.errors import report_user_errors

    return report_user_errors()


def came_of(ended: Ended, name: str, canary: Path, may_be_right: bool) -> Outcome:
    if canary.exists():
        return Outcome('ran', name)
    if ended.exit_code is None or ended.exit_code == -24:
        return Outcome('no end', name)
    if ended.exit_code < 0:
        return Outcome('trace', f'{name}: the process died ({ended.exit_code})')
    if ended.exit_code == 0:
        return Outcome('right' if may_be_right else 'silently wrong', '' if may_be_right else name)
    if 'Traceback (most recent call last)' in ended.errors:
        return Outcome('trace', f'{name}: {last_line(ended.errors.strip().splitlines()[-1])}')
    return Outcome('told', one_line(sentence(ended)))


for route, (act, is_toy) in ROUTES.items():
    for words, harms in GROUPS.items():

        @kind(f'Checkpoints that {words}', route)
        def hostile(
            place: Place, act=act, is_toy=is_toy, harms=harms, route=route
        ) -> Iterator[Outcome]:
            folder = ALIASES.get(route)
            if folder and not (place.checkout / folder / route).is_file():
                yield Outcome('misleading', 'there is no such program')
                return
            ShortRun(place, keep(-1))
            good = place.folder / f'unbroken/iter_{ITERATIONS // 2}.pth'
            good = torch.load(good if is_toy else place.checkpoint, weights_only=False)
            for number, (name, each) in enumerate(HOSTILE.items()):
                if each.harm in harms:
                    case = place.folder / f'case{number}'
                    case.mkdir()
                    path, canary = case / 'hostile.pth', case / 'canary'
                    each.write(path, canary, good)
                    ended = Attempt(limited(act, place, path), f'case{number}').wait()
                    right = harms[0] in ('text', 'kind')
                    yield came_of(ended, name, canary, right)


@kind('An .npz holds pickled objects that run code', 'deeplab2_to_mmdet.py')
def pickled(place: Place) -> Iterator[Outcome]:
    for number, function in enumerate((exec, eval)):
        path, canary = place.folder / f'hostile{number}.npz', place.folder / 'canary'
        objects = np.empty(1, dtype=object)
        objects[0] = Call(function, mark(canary))
        np.savez(path, weights=objects)
        ended = Attempt(limited(convert('deeplab2_to_mmdet'), place, path), f'{number}').wait()
        yield came_of(ended, path.name, canary, may_be_right=False)
