"""A checkpoint whose entries have other forms than training writes is refused before it is read."""

from math import inf, nan
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from cmt_deeplab.engine.resuming.checkpoint_form import misfit
from cmt_deeplab.errors import UserError
from cmt_deeplab.renamed import NEW_PARTS_OF_NAMES
from toy_run import toy_runner

HUGE, MANY = 10**12, torch.full((8, 4), inf)
OPTIONS = dict(
    default_hooks__checkpoint__interval=1,
    optim_wrapper__accumulative_counts=2,
    custom_hooks=[dict(type='EMAHook', momentum=0.3)],
    val_dataloader=None,
    val_cfg=None,
    val_evaluator=None,
)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """The checkpoint of iteration 5 of 8, in the middle of an accumulation."""
    folder = tmp_path_factory.mktemp('written')
    toy_runner(folder, **OPTIONS).train()
    return folder / 'iter_5.pth'


@pytest.fixture
def resume(written, tmp_path):
    """Resume from the checkpoint after ``change(content)``: the runner, and what it logged."""

    def run(change, **options):
        content = torch.load(written, weights_only=False)
        change(content)
        torch.save(content, tmp_path / 'changed.pth')
        options = dict(OPTIONS, resume=True, load_from=str(tmp_path / 'changed.pth'), **options)
        folder = Path(mkdtemp(dir=tmp_path))
        runner = toy_runner(folder, **options)
        runner.train()
        return runner, next(folder.glob('*/*.log')).read_text()

    return run


def put(place: str, value: object):
    def change(content):
        *way, last = (int(key) if key.isdigit() else key for key in place.split('/'))
        for key in way:
            content = content[key]
        if value is ...:
            del content[last]
        else:
            content[last] = value

    return change


GRADIENTS = 'train_loop/gradients'
WRONG = [
    *(('meta/iter', value) for value in (-1, 4.0, '4', True, nan, None, [4], ..., torch.tensor(4))),
    *(('meta/epoch', value) for value in (-1, 'x', nan, ...)),
    *(('meta/seed', value) for value in (-1, HUGE, 'x', nan)),
    *((f'message_hub/{part}', ...) for part in ('log_scalars', 'runtime_info', 'resumed_keys')),
    ('message_hub/runtime_info/best_score', 'x'),
    *((part, 5) for part in ('meta', 'message_hub', 'optimizer', 'train_loop', 'settings')),
    ('param_schedulers', 5),
    ('param_schedulers/1/last_step', 'x'),
    ('param_schedulers/0/base_values', [nan]),
    ('settings/parameters', [1, 2]),
    ('settings/config', {1: 2}),
    ('settings/config', {'a': torch.zeros(2)}),
    ('optimizer/param_groups/0/lr', nan),
    ('optimizer/param_groups/0/params', 'x'),
    *(('ema_state_dict/steps', value) for value in (..., torch.zeros(3))),
    ('ema_state_dict/module.head.weight', torch.zeros(3)),
    ('ema_state_dict/module.more', torch.zeros(3)),
    *(('train_loop/version', value) for value in (3, 'x')),
    *(('train_loop/sampler_seed', value) for value in (-1, 'x')),
    ('train_loop/digest', nan),
    ('train_loop/last_draw', [1]),
    *((f'{GRADIENTS}/divisor', value) for value in (0, -1, nan, ...)),
    (f'{GRADIENTS}/tensors', 5),
]
LATER = [  # compared with the parameters
    ('meta/iter', nan),
    ('optimizer/state', {}),
    *(('optimizer/state/0/exp_avg', value) for value in (..., 'x', [], torch.zeros(2, 3), MANY)),
    ('optimizer/state/0/step', -1),
    (f'{GRADIENTS}/tensors', {}),
    (f'{GRADIENTS}/tensors/head.weight', [torch.zeros(3)]),
]


@pytest.mark.parametrize(
    'place, value', WRONG, ids=[f'{place}-{str(value)[:12]}' for place, value in WRONG]
)
def test_the_entry_of_another_form_is_found(written, place, value):
    content = torch.load(written, weights_only=False)
    assert misfit(content, one_optimizer=True) is None
    put(place, value)(content)
    found = misfit(content, one_optimizer=True)
    assert found is not None and found.startswith(place.replace('/', '.'))


@pytest.mark.parametrize('place, value', LATER)
def test_it_is_refused_in_one_sentence(resume, place, value):
    with pytest.raises(UserError, match='^The checkpoint .*changed.pth .*: re[a-z]+ ') as error:
        resume(put(place, value))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('lr', [0.01, 0.02])
def test_an_iteration_beyond_the_end_repeats_nothing(resume, lr):
    runner, log = resume(put('meta/iter', HUGE), optim_wrapper__optimizer__lr=lr)
    assert runner.iter == HUGE and runner.train_loop.stream.digest == 0
    assert f'Nothing is left to train: the checkpoint {runner._load_from} is of iteration' in log


@pytest.mark.parametrize(
    'place, value',
    [
        ('param_schedulers/1/_global_step', HUGE),
        ('param_schedulers/1/last_step', -1),
        ('param_schedulers/0/optimizer', 5),
        ('param_schedulers/0/step', 5),
        ('optimizer/param_groups/0/lr', 1e12),
        ('optimizer/param_groups/0/betas', 'x'),
        ('meta/epoch', HUGE),
    ],
)
def test_schedules_stand_where_the_iteration_says(resume, place, value):
    right, wrong = (resume(put(*each))[0] for each in (('settings', {}), (place, value)))
    for groups in zip(*(each.optim_wrapper.param_groups for each in (right, wrong))):
        assert groups[0]['lr'] == groups[1]['lr'] and groups[0]['betas'] == groups[1]['betas']


def test_states_of_random_generators_are_not_read(resume):
    """numpy would read its memory at a position that is beyond the state."""
    state = dict(python='x', numpy=('MT19937', [1] * 624, 10**6, 0, 0.0), torch=torch.zeros(3))
    runner, log = resume(put('train_loop', dict(sampler_seed=1, random=state)))
    assert runner.iter == 8 and 'is of an earlier release' in log


def test_an_average_with_the_names_of_an_earlier_version_is_resumed(resume, monkeypatch):
    monkeypatch.setitem(NEW_PARTS_OF_NAMES, 'kopf', 'head')

    def rename(content):
        for part in ('state_dict', 'ema_state_dict'):
            for name in [name for name in content[part] if 'head' in name]:
                content[part][name.replace('head', 'kopf')] = content[part].pop(name)

    runners = [resume(change)[0] for change in (rename, lambda content: None)]
    averages = [runner.hooks for runner in runners]
    averages = [next(h.ema_model for h in hooks if hasattr(h, 'ema_model')) for hooks in averages]
    weights = [average.state_dict() for average in averages]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
