"""Hostile checkpoints run no code and do no harm, through any entry point that reads one."""

import contextlib
import io
import resource
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from cmt_deeplab.checkpoints.recipe import add_recipe
from cmt_deeplab.datasets import ShapesPanopticDataset
from cmt_deeplab.errors import UserError
from cmt_deeplab.inference import PanopticInferencer
from forks import in_forks
from hostile_checkpoints import BASE, HOSTILE
from mmdet.apis import DetInferencer, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from run_tool import ROOT, run_tool
from toy_run import toy_config, toy_runner

CONFIGS = ROOT / 'configs'
TINY = CONFIGS / 'cmt_deeplab/cmt-deeplab_tiny_shapes.py'
KMAX = CONFIGS / 'kmax_deeplab/kmax-deeplab_tiny_shapes.py'
KMAX_TF = CONFIGS / 'kmax_deeplab/kmax-deeplab_r50-tf_8xb8-150k_coco-panoptic-641.py'
MEMORY, SECONDS = 4 << 30, 60  # that an entry point may take in addition
# foreign objects that torch hands out without protection, but does not call
ONLY_HANDED_OUT = ('TorchScript', 'a method', 'tofile', 'register_statistics')
AT_RESUMING = ('resume', 'resume_the_newest')


def load(path: Path) -> None:
    CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


def train(path: Path) -> None:
    toy_runner(path.parent / 'work', load_from=str(path)).train()


def resume(path: Path) -> None:
    toy_runner(path.parent / 'work', load_from=str(path), resume=True).train()


def resume_the_newest(path: Path) -> None:
    work = path.parent / 'work'
    work.mkdir()
    path = path.rename(work / 'iter_2.pth')
    (work / 'last_checkpoint').write_text(str(path))
    toy_runner(work, resume=True).train()


def resume_by_mmengine(path: Path) -> None:
    plain_runner(path.parent / 'work', load_from=str(path), resume=True, max_iters=4).train()


def evaluate(path: Path) -> None:
    toy_runner(path.parent / 'work', load_from=str(path)).test()


def backbone(path: Path, kind: str = 'PanopticResNet') -> None:
    start = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    MODELS.build(dict(type=kind, depth=18, init_cfg=start)).init_weights()


def backbone_of_mmdet(path: Path) -> None:
    backbone(path, 'mmdet.ResNet')


def detector(path: Path) -> None:
    init_detector(str(TINY), str(path), device='cpu')


def inferencer(path: Path) -> None:
    DetInferencer(str(TINY), str(path), device='cpu', show_progress=False)


def inferencer_without_config(path: Path) -> None:
    DetInferencer(weights=str(path), device='cpu', show_progress=False)


def panoptic_inferencer(path: Path) -> None:
    PanopticInferencer(str(path), device='cpu')(np.zeros((20, 30, 3), np.uint8))


def tool(name: str, *arguments: object) -> None:
    finished = run_tool(f'model_converters/{name}.py', *arguments)
    if finished.returncode:
        assert finished.stderr.startswith('Error: ')
        raise UserError(finished.stderr.rstrip())


def convert_kmax(path: Path) -> None:
    tool('kmax_pytorch_to_mmdet', path, path.with_name('out.pth'), '--config', KMAX)


def convert_deeplab2(path: Path) -> None:
    tool('deeplab2_to_mmdet', path, path.with_name('out.pth'), '--config', KMAX_TF)


def publish(path: Path) -> None:
    tool('publish_model', path)


ENTRIES = {
    entry.__name__: entry
    for entry in (
        *(train, resume, resume_the_newest, resume_by_mmengine, evaluate, backbone),
        *(backbone_of_mmdet, detector, inferencer, inferencer_without_config, panoptic_inferencer),
        *(convert_kmax, convert_deeplab2, publish),
    )
}


def plain_runner(work_dir: Path, *, max_iters: int, **options) -> Runner:
    """mmengine's own runner, with its own loop and its own optimizer."""
    config = toy_config(work_dir, **options)
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
    config.optim_wrapper.pop('constructor')
    return Runner.from_cfg(config)


@pytest.fixture(scope='module')
def good(tmp_path_factory) -> Callable[[str], dict]:
    """For the name of an entry point: the content of a checkpoint that it takes."""
    folder = tmp_path_factory.mktemp('good')
    toy_runner(folder / 'toy', train_cfg__max_iters=2).train()
    plain_runner(folder / 'plain', max_iters=2).train()
    weights = MODELS.build(Config.fromfile(str(TINY)).model).state_dict()
    tiny = dict(state_dict=weights, meta=dict(dataset_meta=ShapesPanopticDataset.METAINFO))
    add_recipe(tiny['meta'], Config.fromfile(str(TINY)), None)
    resnet = MODELS.build(dict(type='mmdet.ResNet', depth=18)).state_dict()
    kinds = {
        'load': BASE,
        'resume_by_mmengine': torch.load(folder / 'plain/iter_2.pth', weights_only=True),
        'backbone': dict(state_dict={f'backbone.{name}': each for name, each in resnet.items()}),
    }
    toy = torch.load(folder / 'toy/iter_2.pth', weights_only=True)
    kinds |= dict.fromkeys(('train', 'resume', 'resume_the_newest', 'evaluate'), toy)
    kinds['backbone_of_mmdet'] = kinds['backbone']
    return lambda name: deepcopy(kinds.get(name, tiny))


def attempts(pairs: list, good: Callable, folder: Path, together: int = 1) -> dict:
    """For each entry point and checkpoint: the sentence that refuses it, '' where it is read.

    It is None where the process broke, took too long, ran code, or ended with another error; that
    of others is too where several are tried ``together`` in one process.
    """

    def attempt(sender, several: list[tuple[str, str]]) -> None:
        used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        found = {}
        for entry, name in several:
            here = folder / f'{list(HOSTILE).index(name)}_{entry}'
            here.mkdir()
            HOSTILE[name].write(here / 'given.pth', here / 'canary', good(entry))
            output, said = io.StringIO(), ''
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                try:
                    ENTRIES.get(entry, load)(here / 'given.pth')
                except UserError as error:
                    said = str(error)
            ran = (here / 'canary').exists()
            found[entry, name] = None if ran or '\n' in said else said
            shutil.rmtree(here)
        sender.send(found)

    found = dict.fromkeys(pairs)
    chunks = [pairs[begin : begin + together] for begin in range(0, len(pairs), together)]
    for _, sent, *_ in in_forks(attempt, chunks, jobs=2, longest=SECONDS):
        found |= sent or {}
    return found


def is_right(pair: tuple[str, str], said: str | None) -> bool:
    """Whether a checkpoint was treated as it should be."""
    harm = HOSTILE[pair[1]].harm
    if harm == 'recipe' and pair[0] == 'panoptic_inferencer':
        return bool(said) and 'TypeError' not in said  # by a rule, not by its own failure
    if said is None or harm in ('text', 'resume', 'recipe'):
        return said is not None  # a text or value that nothing looks at does no harm
    return said != ''


def judge(found: dict) -> None:
    assert not {pair: said for pair, said in found.items() if not is_right(pair, said)}


def test_each_is_refused_in_one_sentence(good, tmp_path):
    pairs = [
        ('panoptic_inferencer' if each.harm == 'recipe' else 'load', name)
        for name, each in HOSTILE.items()
        if each.harm != 'resume'
    ]
    found = attempts(pairs, good, tmp_path, together=8)
    judge(found)
    assert all('given.pth' in said for (_, name), said in found.items() if said)
    assert sum(each.harm in ('code', 'text', 'memory') for each in HOSTILE.values()) >= 20


def test_numbers_that_are_not_in_the_file_are_no_memory_as_it_was_left(tmp_path):
    kept = [torch.full((50,), 7.0) for _ in range(1000)]
    content = dict(state_dict={f'weight{number}': each for number, each in enumerate(kept)})
    HOSTILE['tensors without numbers'].write(tmp_path / 'given.pth', tmp_path, content)
    del kept, content
    read = CheckpointLoader.load_checkpoint(str(tmp_path / 'given.pth'))['state_dict']
    assert len(read) == 1000 and not any(each.any() for each in read.values())


def test_no_attribute_hides_the_text_of_a_config(tmp_path):
    for name in ('hidden text', 'counted text'):
        HOSTILE[name].write(tmp_path / 'given.pth', tmp_path / 'canary')
        read = CheckpointLoader.load_checkpoint(str(tmp_path / 'given.pth'))
        assert read['meta'] == {} and read['message_hub'] == dict(runtime_info={})


def test_the_harm_is_real(tmp_path):
    """Without protection, what is said to run code does."""

    def attempt(sender, names: list[str]) -> None:
        harmless = []
        for number, name in enumerate(names):
            path, canary = tmp_path / 'given.pth', tmp_path / f'canary{number}'
            HOSTILE[name].write(path, canary)
            with contextlib.suppress(Exception):
                torch.load(path, weights_only=False)
            harmless += [name] * (not canary.exists())
        sender.send(harmless)

    names = [name for name, each in HOSTILE.items() if each.harm == 'code']
    names = [name for name in names if name not in ONLY_HANDED_OUT]
    ((_, harmless, *_),) = in_forks(attempt, [names], jobs=1, longest=SECONDS)
    assert len(names) > 10 and harmless == []


def test_no_text_of_a_checkpoint_is_run(good, tmp_path):
    judge(attempts([(entry, 'every text') for entry in ENTRIES], good, tmp_path))


@pytest.mark.slow
def test_every_checkpoint_through_every_entry_point(good, tmp_path):
    pairs = [
        (entry, name)
        for entry in ENTRIES
        for name, each in HOSTILE.items()
        if each.harm != 'resume' or entry in AT_RESUMING
    ]
    judge(attempts(pairs, good, tmp_path))
