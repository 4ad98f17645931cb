"""A run that is killed, or that goes on from a foreign checkpoint, loses no checkpoint."""

import errno
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cmt_deeplab.engine.checkpoint_hook import PanopticCheckpointHook
from cmt_deeplab.engine.resuming.newest_checkpoint import newest_checkpoint
from cmt_deeplab.engine.runner_setup import build_runner, resume_from
from cmt_deeplab.errors import UserError
from mmdet.registry import HOOKS
from mmengine.fileio import FileClient, LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import CheckpointLoader
from processes import in_processes
from toy_run import toy_config, toy_runner

WITHOUT_VALIDATION = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
BEST = dict(save_best='toy/count', rule='greater')


def save(iterations=4, **hook):
    """Options of a run of a few iterations that saves each of them."""
    short = dict(train_cfg__max_iters=iterations, train_cfg__val_interval=1)
    return short | {'default_hooks__checkpoint': dict(interval=1) | hook}


def run(work_dir, load_from=None, **options):
    """Train, or resume where ``load_from`` or ``resume=True`` is given; the runner."""
    if load_from:
        options |= dict(load_from=str(load_from), resume=True)
    runner = toy_runner(work_dir, **options)
    runner.train()
    return runner


def log_of(runner):
    return Path(runner._log_dir, f'{runner.timestamp}.log').read_text()


def numbers(folder, pattern=r'iter_(\d+)\.pth'):
    """The numbers of the checkpoints in a folder, all of which are whole."""
    found = {path: re.fullmatch(pattern, path.name) for path in Path(folder).glob('*.pth')}
    for path in filter(found.get, found):
        torch.load(path, weights_only=True)
    return sorted(int(match[1]) for match in found.values() if match)


@pytest.fixture(scope='module')
def old(tmp_path_factory):
    """The work dir of a finished run, with all its checkpoints and its best one."""
    folder = tmp_path_factory.mktemp('old')
    run(folder, **save(max_keep_ckpts=-1, **BEST))
    return folder


class Moments:
    """Copies of a folder at all moments at which a kill would leave it in another state."""

    def __init__(self, folder, copies, monkeypatch):
        self.folder, self.copies, self.state = folder, copies, None
        self.taken, self.finished = [], []
        for owner, name in (
            *((os, name) for name in ('fsync', 'replace', 'remove', 'unlink')),
            *((Path, name) for name in ('write_bytes', 'write_text')),
        ):
            monkeypatch.setattr(owner, name, self.observed(name, getattr(owner, name)))

    def observed(self, name, call):
        def observing(first, *rest, **kwargs):
            self.take()
            if name.startswith('write'):
                half = rest[0][: len(rest[0]) // 2]
                with open(first, 'wb') as file:
                    file.write(half if isinstance(half, bytes) else half.encode())
                self.take()
            result = call(first, *rest, **kwargs)
            if name == 'replace' and str(rest[0]).endswith('.pth'):
                self.finished.append(Path(rest[0]).name)
            self.take()
            return result

        return observing

    def take(self):
        files = [(path, path.stat()) for path in self.folder.glob('*')]
        state = {(path.name, stat.st_mtime_ns, stat.st_size) for path, stat in files}
        if self.folder.is_dir() and state != self.state:
            self.state, copy = state, self.copies / str(len(self.taken))
            shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns('2*'))
            self.taken.append((copy, [*self.finished]))


@pytest.mark.parametrize('keep', [1, 3, -1])
def test_a_kill_at_any_moment_loses_no_checkpoint(tmp_path, monkeypatch, keep):
    options = save(max_keep_ckpts=keep, save_best='toy/mean', rule='greater')
    with monkeypatch.context() as patch:
        moments = Moments(tmp_path / 'work', tmp_path / 'copies', patch)
        whole = run(tmp_path / 'work', **options)
    hooks = [PanopticCheckpointHook(by_epoch=False)]
    assert len(moments.taken) > 30
    for folder, finished in moments.taken:
        iterations = [name for name in finished if name.startswith('iter')]
        newest = newest_checkpoint(str(folder), hooks, whole.logger)
        assert newest == (str(folder / iterations[-1]) if iterations else None)
        kept, once = numbers(folder), {*iterations}
        assert len(kept) in ((len(once),) if keep < 0 else (min(keep, len(once)), keep + 1))
        best = [name for name in finished if name.startswith('best')]
        assert not best or best[-1] in os.listdir(folder)
        numbers(folder, r'best_toy_mean_iter_(\d+)\.pth')  # whole too
    assert not [*folder.glob('*.part')] and len([*folder.glob('best*')]) == 1
    for folder, _ in moments.taken[1::30]:
        resumed = run(folder, resume=True, **options)
        expected = whole.model.state_dict()
        assert all(torch.equal(expected[k], v) for k, v in resumed.model.state_dict().items())
        assert numbers(folder) == numbers(tmp_path / 'work') and not [*folder.glob('*.part')]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit(path):
    weight = torch.load(path, weights_only=True)['state_dict']['backbone.weight']
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes())] ^= 1
    path.write_bytes(content)


def spoil_a_weight(path):
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['state_dict']['backbone.bias'][0] = torch.nan
    torch.save(checkpoint, path)


@pytest.mark.parametrize('damage', [Path.unlink, truncate, flip_a_bit, spoil_a_weight])
def test_a_broken_newest_checkpoint_falls_back_to_the_last_good_one(old, tmp_path, damage):
    work = tmp_path / 'work'
    shutil.copytree(old, work)
    (work / 'last_checkpoint').write_text(str(work / 'iter_4.pth'))
    damage(work / 'iter_4.pth')
    runner = run(work, resume=True, **save())
    assert runner._load_from == str(work / 'iter_3.pth') and numbers(work)[-1] == 4
    told = r'iter_4.pth.*: this run goes on from .*iter_3.pth, the newest that is whole.'
    assert re.search(told, log_of(runner))


def test_where_no_checkpoint_is_whole_training_does_not_begin(old, tmp_path):
    for number in 2, 3:
        (tmp_path / f'iter_{number}.pth').write_bytes(b'')
    with pytest.raises(UserError, match='iter_3.pth .*no other that is whole: resume another'):
        run(tmp_path, resume=True)


@pytest.mark.parametrize(
    ('pointer', 'expected', 'words'),
    [
        (None, 'iter_4.pth', 'last_checkpoint names no checkpoint: this run goes on from'),
        ('', 'iter_4.pth', 'last_checkpoint names no checkpoint: this run goes on from'),
        ('gone/iter_9.pth', 'iter_4.pth', 'iter_9.pth, which does not exist: this run goes on'),
        ('gone/iter_3.pth', 'iter_3.pth', 'resumed epoch: 0, iter: 3'),  # of a folder that moved
        ('../iter_5.pth', '../iter_5.pth', 'names a file of another folder: this run goes on from'),
    ],
)
def test_what_last_checkpoint_may_say(old, tmp_path, pointer, expected, words):
    work = tmp_path / 'work'
    shutil.copytree(old, work)
    shutil.copy(old / 'iter_2.pth', tmp_path / 'iter_5.pth')
    (work / 'last_checkpoint').unlink()
    if pointer is not None:
        (work / 'last_checkpoint').write_text(pointer and str(work / pointer))
    runner = run(work, resume=True, **save(5))
    assert runner._load_from == str(work / expected) and words in log_of(runner)


def fill_the_disk(monkeypatch, at, number):
    """The operating system fails at its ``at``-th call of ``os.fsync``."""
    real, calls = os.fsync, []

    def fsync(file):
        calls.append(file)
        if len(calls) == at:
            raise OSError(number, os.strerror(number))
        return real(file)

    monkeypatch.setattr(os, 'fsync', fsync)


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize(('at', 'left'), [(5, [1]), (7, [1, 2])])
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, number, at, left):
    fill_the_disk(monkeypatch, at, number)
    with pytest.raises(UserError, match='cannot be written .*, and what was there stays'):
        run(tmp_path, **WITHOUT_VALIDATION, **save(max_keep_ckpts=1))
    assert numbers(tmp_path) == left and not [*tmp_path.glob('*.part')]
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_1.pth')


def test_a_checkpoint_that_cannot_be_removed_ends_no_training(tmp_path, monkeypatch):
    def remove(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(os, 'remove', remove)
    runner = run(tmp_path, **WITHOUT_VALIDATION, **save(max_keep_ckpts=1))
    assert numbers(tmp_path) == [1, 2, 3, 4]
    assert f'{tmp_path / "iter_3.pth"} cannot be removed' in log_of(runner)


class SpoilHook(Hook):
    """Makes a tensor not finite in the third iteration: a weight, a buffer, or one average."""

    def __init__(self, name):
        self.name = name

    def before_run(self, runner):
        runner.model.register_buffer('seen', torch.zeros(2))

    def after_train_iter(self, runner, **kwargs):
        averages = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
        model = averages[0] if self.name.startswith('average') else runner.model
        if runner.iter == 2:
            model.state_dict()[self.name.removeprefix('average.')][0] = torch.inf


@pytest.mark.parametrize('name', ['backbone.bias', 'seen', 'average.backbone.bias'])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, name):
    runner = toy_runner(tmp_path, **WITHOUT_VALIDATION, **save(max_keep_ckpts=1))
    runner.register_hook(SpoilHook(name), priority='HIGHEST')
    runner.register_hook(EMAHook(momentum=1e-6) if 'average' in name else Hook())
    told = re.escape(name.removeprefix('average.'))
    with pytest.raises(UserError, match=f"not finite \\('(module.)?{told}' has .* are not saved"):
        runner.train()
    assert numbers(tmp_path) == [2] and not [*tmp_path.glob('*.part')]


def _train_three_times(folder):
    """What one of several processes is told: not finite, a second training, a broken newest one."""
    spoiled = toy_runner(folder / 'a', **WITHOUT_VALIDATION, **save(max_keep_ckpts=1))
    spoiled.register_hook(SpoilHook('backbone.bias'), priority='HIGHEST')
    told = []
    for work in spoiled.train, lambda: run(folder / 'a', **save()):
        with pytest.raises(UserError) as caught:
            work()
        told.append(str(caught.value))
    again = run(folder / 'a', resume=True, **WITHOUT_VALIDATION, **save(max_keep_ckpts=1))
    return [*told, Path(again._load_from).name]


def test_all_processes_end_and_begin_alike(tmp_path):
    first, second = in_processes(2, _train_three_times, tmp_path)
    assert first == second and first[2] == 'iter_2.pth' and numbers(tmp_path / 'a') == [4]
    assert 'are not saved' in first[0] and 'of an earlier training' in first[1]


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


TWO_BEST = dict(save_best=['toy/mean', 'toy/count'], rule='greater')


@pytest.mark.parametrize('best', [dict(save_best='toy/mean', rule='greater'), TWO_BEST])
def test_a_run_resumed_elsewhere_removes_nothing_where_it_came_from(tmp_path, best):
    first, again = tmp_path / 'first', tmp_path / 'again'
    run(first, **save(max_keep_ckpts=2, **best))
    before = listing(first)
    (again / 'kept').mkdir(parents=True)
    options = save(7, max_keep_ckpts=2, published_keys=['state_dict'], **best)
    run(again, first / 'iter_4.pth', **options)
    assert listing(first) == before and numbers(again) == [6, 7]
    assert len(listing(again / 'kept')) == 0


def test_a_run_resumed_where_it_was_goes_on_counting(tmp_path):
    best = dict(save_best='toy/mean', rule='greater')
    run(tmp_path, **save(max_keep_ckpts=3, **best))
    assert numbers(tmp_path) == [2, 3, 4]
    run(tmp_path, resume=True, **save(6, max_keep_ckpts=2, **best))
    assert numbers(tmp_path) == [5, 6] and len([*tmp_path.glob('best*')]) == 1


@pytest.mark.parametrize(
    'best', ['precious', 'precious/best_toy_mean_iter_1.pth', 'work/notes.pth', 'work/20261126']
)
def test_no_path_in_a_checkpoint_is_removed(old, tmp_path, best):
    work = tmp_path / 'work'
    shutil.copytree(old, work)
    for path in ('precious/best_toy_mean_iter_1.pth', 'work/notes.pth', 'work/20261126/log'):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    before = listing(tmp_path)
    checkpoint = torch.load(work / 'iter_2.pth', weights_only=True)
    told = dict(best_score=-9.0, best_ckpt=str(tmp_path / best), keep_ckpt_ids=[-1, 1, 2, 4])
    checkpoint['message_hub']['runtime_info'] |= told
    torch.save(checkpoint, work / 'iter_2.pth')
    options = save(max_keep_ckpts=2, save_best='toy/mean', rule='greater')
    run(work, work / 'iter_2.pth', **options)
    assert {*before} - {*listing(tmp_path)} == {'work/iter_1.pth', 'work/iter_2.pth'}


def test_what_a_run_cannot_have_written_is_no_number_of_a_checkpoint(tmp_path):
    hook, hub = PanopticCheckpointHook(by_epoch=False, max_keep_ckpts=1), MessageHub('hub')
    (tmp_path / 'iter_3.pth').touch()
    (tmp_path / 'x.pth').touch()
    hub.update_info('keep_ckpt_ids', ['../x', '3', None, [1], 10**12, 3])
    runner = SimpleNamespace(
        work_dir=str(tmp_path / 'work'),
        iter=4,
        message_hub=hub,
        _resume=True,
        _load_from=str(tmp_path / 'work' / 'iter_3.pth'),
        logger=MMLogger('x'),
    )
    hook.before_train(runner)
    assert hook.keep_ckpt_ids == [3] and listing(tmp_path) == ['iter_3.pth', 'x.pth']


@pytest.mark.parametrize(
    'left', ['iter_4.pth', 'iter_9.pth', 'best_toy_count_iter_1.pth', 'epoch_2.pth']
)
def test_a_second_training_does_not_overwrite_the_first(old, tmp_path, left):
    shutil.copy(old / 'iter_4.pth', tmp_path / left)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / left))
    before = listing(tmp_path)
    with pytest.raises(UserError, match='of an earlier training.*--resume .*another --work-dir'):
        run(tmp_path, **save())
    assert {*before} == {name for name in listing(tmp_path) if '/' not in name} - {'toy_config.py'}


@pytest.mark.parametrize('left', ['last_checkpoint', 'a.pth', 'iter_4.pth.0af.part', '2026/x.log'])
def test_a_training_begins_where_none_has_saved(tmp_path, left):
    path = tmp_path / left
    path.parent.mkdir(exist_ok=True)
    path.write_text(str(tmp_path / 'iter_4.pth'))
    run(tmp_path, **save())
    assert numbers(tmp_path) == [1, 2, 3, 4] and not [*tmp_path.glob('*.part')]


def test_a_run_that_always_resumes_begins_with_the_weights_of_load_from(old, tmp_path):
    starts = []
    for iterations in 2, 4:
        options = WITHOUT_VALIDATION | save(iterations)
        config = toy_config(tmp_path, load_from=str(old / 'iter_4.pth'), **options)
        resume_from(config, 'auto')
        runner = build_runner(config)
        runner.train()
        starts.append((runner._load_from, runner._resume))
    assert starts == [(str(old / 'iter_4.pth'), False), (str(tmp_path / 'iter_2.pth'), True)]
    assert numbers(tmp_path) == [1, 2, 3, 4]


def test_reading_a_checkpoint_warns_of_nothing(old, recwarn):
    torch.storage._reset_warn_typed_storage_removal()
    CheckpointLoader.load_checkpoint(str(old / 'iter_4.pth'), 'cpu')
    assert not [*recwarn]


def test_resuming_elsewhere_overwrites_no_other_training_either(old, tmp_path):
    shutil.copy(old / 'iter_4.pth', tmp_path)
    with pytest.raises(UserError, match='holds iter_4.pth of an earlier .* with --resume alone'):
        run(tmp_path, old / 'iter_2.pth', **save())
    assert 'iter_3.pth' not in listing(tmp_path)


def test_a_copied_folder_of_epochs_goes_on_from_the_last(tmp_path):
    epochs = dict(
        WITHOUT_VALIDATION,
        train_cfg=dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2),
        train_dataloader__sampler=dict(type='DefaultSampler', shuffle=True),
        train_dataloader__dataset__length=2,
        default_hooks__checkpoint=dict(by_epoch=True, interval=1),
        log_processor__by_epoch=True,
    )
    run(tmp_path, **epochs)
    for time, name in enumerate(['epoch_2.pth', 'last_checkpoint', 'epoch_1.pth']):
        os.utime(tmp_path / name, (time, time))  # a copy has other times of writing
    assert run(tmp_path, resume=True, **epochs)._load_from == str(tmp_path / 'epoch_2.pth')


def test_an_earlier_checkpoint_is_resumed_and_later_ones_are_replaced(old, tmp_path):
    work = tmp_path / 'work'
    shutil.copytree(old, work)
    runner = run(
        work, work / 'iter_2.pth', **save(max_keep_ckpts=-1) | dict(train_cfg__max_iters=3)
    )
    assert 'iter_4.pth is later than the start of this run' in log_of(runner)
    assert numbers(work) == [1, 2, 3, 4]
    assert (work / 'last_checkpoint').read_text() == str(work / 'iter_3.pth')


@pytest.mark.parametrize(
    'given',
    [
        dict(type='CheckpointHook'),
        dict(type='mmengine.CheckpointHook'),
        dict(type='mmengine.hooks.CheckpointHook'),
        dict(type=CheckpointHook),
        CheckpointHook(),
    ],
)
def test_the_hook_of_mmengine_becomes_ours(tmp_path, given):
    for options in (dict(default_hooks__checkpoint=None), {}):
        runner = toy_runner(tmp_path, **options)
        runner.register_hook(given)
        types = [type(hook) for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        assert {*types} == {PanopticCheckpointHook} and len(types) == 2 - bool(options)


@HOOKS.register_module()
class DerivedCheckpointHook(CheckpointHook):
    """One of a user, which says what it does."""

    def before_train(self, runner):
        super().before_train(runner)
        runner.logger.info('derived')


def test_a_hook_that_is_derived_from_that_of_mmengine_loses_nothing_either(tmp_path, monkeypatch):
    options = WITHOUT_VALIDATION | save(type='DerivedCheckpointHook', max_keep_ckpts=1)
    assert 'derived' in log_of(run(tmp_path, **options))
    with pytest.raises(UserError, match='of an earlier training'):
        run(tmp_path, **options)
    fill_the_disk(monkeypatch, 1, errno.ENOSPC)
    with pytest.raises(UserError, match='cannot be written'):
        run(tmp_path, resume=True, **options | dict(train_cfg__max_iters=6))
    assert numbers(tmp_path) == [4]


class ForeignHook(Hook):
    """Puts something into the checkpoints that no loading allows."""

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint['mine'] = ForeignHook()


def test_what_cannot_be_resumed_is_told_when_the_first_checkpoint_is_saved(tmp_path):
    runner = toy_runner(tmp_path, **WITHOUT_VALIDATION, **save())
    runner.register_hook(ForeignHook())
    runner.train()
    told = (
        'What this run saves cannot be resumed: .*iter_1.pth .* holds the Python object .*Foreign'
    )
    assert len(re.findall(told, log_of(runner))) == 1


@pytest.mark.parametrize(
    ('hook', 'expected'),
    [
        (dict(filename_tmpl='{}.pth'), ['3.pth', '4.pth']),
        (dict(filename_tmpl='at_{}/it.pth'), ['at_3/it.pth', 'at_4/it.pth']),
        (dict(filename_tmpl='at_{:03d}.pth'), ['at_003.pth', 'at_004.pth']),
        (dict(filename_tmpl='newest.pth', max_keep_ckpts=1), ['newest.pth']),
        (dict(filename_tmpl='sub/iter_{}.pth'), ['sub/iter_3.pth', 'sub/iter_4.pth']),
        (dict(interval=3), ['iter_3.pth', 'iter_4.pth']),
        (dict(interval=3, save_last=False), ['iter_3.pth']),
        (dict(save_begin=4), ['iter_4.pth']),
    ],
)
def test_arguments_of_the_hook(tmp_path, hook, expected):
    run(tmp_path, **WITHOUT_VALIDATION, **save(**dict(max_keep_ckpts=2) | hook))
    assert [name for name in listing(tmp_path) if name.endswith('.pth')] == expected
    assert not [*tmp_path.glob('*{*')]
    resumed = run(tmp_path, resume=True, **WITHOUT_VALIDATION, **save(5, **hook))
    assert resumed._load_from == str(tmp_path / expected[-1])


def test_another_folder_for_checkpoints(tmp_path):
    options = save(max_keep_ckpts=1, out_dir=str(tmp_path / 'out'), **BEST)
    run(tmp_path / 'work', **options)
    assert listing(tmp_path / 'out') == ['work/best_toy_count_iter_1.pth', 'work/iter_4.pth']
    with pytest.raises(UserError, match='of an earlier training'):
        run(tmp_path / 'work', **options)
    run(tmp_path / 'work', resume=True, **options | dict(train_cfg__max_iters=6))
    assert listing(tmp_path / 'out') == ['work/best_toy_count_iter_1.pth', 'work/iter_6.pth']


class MemoryBackend(LocalBackend):
    """Files of another machine."""

    files = {}

    def join_path(self, folder, *names):
        return '/'.join([folder, *names])

    def put(self, content, path):
        self.files[path] = content

    def get(self, path):
        return self.files[path]

    def isfile(self, path):
        return path in self.files

    def remove(self, path):
        del self.files[path]


def test_files_of_another_machine_are_written_as_mmengine_writes_them(tmp_path):
    for register in register_backend, FileClient.register_backend:
        register('memory', MemoryBackend, prefixes='memory', force=True)
    options = save(max_keep_ckpts=1, out_dir='memory://bucket', **BEST)
    run(tmp_path / 'work', **options)
    names = ['best_toy_count_iter_1.pth', 'iter_4.pth']
    assert sorted(MemoryBackend.files) == [f'memory://bucket/work/{name}' for name in names]
    assert not [*Path().glob('memory*')]


def test_no_config_keeps_one_checkpoint_alone():
    configs = [*Path(__file__).parents[2].glob('configs/**/*.py')]
    alone = [path for path in configs if re.search(r'max_keep_ckpts=1\b', path.read_text())]
    assert configs and not alone
