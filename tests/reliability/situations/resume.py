"""A resume compares the settings, not only the tensors of the model."""

import json
from pathlib import Path

import torch
from trial.place import Place
from trial.situation import Found, Wrong, section

kind = section(
    'Resuming',
    'A resume continues a run. What the config changes since the checkpoint either applies, '
    'and the log says so, or is refused with the remedy; `load_from` starts a new run from '
    'the weights alone.',
)
EVERY_TWO = 'default_hooks = dict(checkpoint=dict(interval=2))\n'
ROUTE = 'tools/train.py --resume'


def first_run(place: Place) -> None:
    """Four iterations, with a checkpoint after the second; their steps do not count."""
    place.train('default_hooks = dict(checkpoint=dict(interval=2))\n', iterations=4, work='first')
    Place.steps = 0


def values_of(place: Place, work: str, key: str) -> dict[int, float]:
    """A logged value by iteration, in the newest run of a work dir."""
    run = sorted(path for path in (place.folder / work).iterdir() if path.is_dir())[-1]
    lines = (run / 'vis_data/scalars.json').read_text().splitlines()
    return {v['step']: v[key] for v in map(json.loads, lines) if key in v}


def resume(place: Place, text: str, *arguments, iterations: int = 4, **short) -> None:
    first_run(place)
    checkpoint = place.folder / 'first/iter_2.pth'
    text = 'default_hooks = dict(checkpoint=dict(interval=2))\n' + text
    place.train(text, '--resume', checkpoint, *arguments, iterations=iterations, **short)


def same_rate(place: Place, text: str, iterations: int = 4) -> Found:
    """The learning rate of the last resumed iteration against that of a run from the start."""
    resume(place, text, iterations=iterations)
    place.train(text, iterations=iterations, work='unbroken')
    rates = [values_of(place, work, 'lr') for work in ('work', 'unbroken')]
    step = iterations - 1
    return Found(rates[0].get(step), rates[1][step], f'learning rate of iteration {step}', 1e-9)


def says(word: str) -> str:
    """A line that speaks of the resume and of a setting."""
    return rf'(resum|checkpoint).*({word})|({word}).*(resum|checkpoint)'


LR = 'https://github.com/open-mmlab/mmdetection/issues/6402'


@kind('Nothing is changed: losses and learning rates are those of an unbroken run', ROUTE)
def unchanged(place: Place) -> Found:
    resume(place, '')
    losses = [values_of(place, work, 'loss')[4] for work in ('work', 'first')]
    return Found(losses[0], losses[1], 'loss of iteration 4', 1e-9)


@kind(
    'The learning rate is changed',
    ROUTE,
    report=LR,
    told=says('lr|learning rate'),
    word=says('lr|learning rate'),
)
def rate(place: Place) -> Found:
    return same_rate(place, 'optim_wrapper = dict(optimizer=dict(lr=1e-4))\n')


@kind(
    'The learning rate is changed by command line',
    ROUTE + ' --cfg-options',
    report=LR,
    told=says('lr|learning rate'),
    word=says('lr|learning rate'),
)
def rate_option(place: Place) -> Found:
    resume(place, '', '--cfg-options', 'optim_wrapper.optimizer.lr=1e-4')
    place.train('optim_wrapper = dict(optimizer=dict(lr=1e-4))\n', iterations=4, work='unbroken')
    rates = [values_of(place, work, 'lr')[3] for work in ('work', 'unbroken')]
    return Found(*rates, 'learning rate of iteration 3', 1e-9)


@kind(
    'max_iters is larger, and the schedule with it',
    ROUTE,
    report='https://github.com/open-mmlab/mmengine/issues/1565',
    told=says('max_iters|param_scheduler|schedul'),
    word=says('max_iters|param_scheduler|schedul'),
)
def longer(place: Place) -> Found:
    return same_rate(place, '', iterations=8)


@kind(
    'The batch size is changed',
    ROUTE,
    told=says('batch'),
    word=says('batch'),
    report='https://github.com/open-mmlab/mmdetection/issues/3800',
)
def batch(place: Place) -> Found:
    resume(place, '', batch=3)
    return Found(max(values_of(place, 'work', 'loss')), 4, 'iterations trained:', 0)


@kind('The weight decay is changed', ROUTE, told=says('weight_decay'), word=says('weight_decay'))
def decay(place: Place) -> Found:
    resume(place, 'optim_wrapper = dict(optimizer=dict(weight_decay=0.3))\n')
    saved = torch.load(place.folder / 'work/iter_4.pth', weights_only=False)['optimizer']
    return Found(max(g['weight_decay'] for g in saved['param_groups']), 0.3, 'weight decay', 1e-9)


GROUPS = r'load_from'
MISMATCH = 'https://github.com/open-mmlab/mmaction2/issues/1803'
for name, text in (
    ('The backbone is frozen', 'model = dict(backbone=dict(frozen_stages=2))\n'),
    (
        'The optimizer is SGD',
        "optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01, momentum=0.9))\n",
    ),
    (
        'The model has another number of centers',
        'model = dict(panoptic_head=dict(transformer_decoder=dict(num_centers=20)))\n',
    ),
    (
        'The transformer decoder is deeper',
        'model = dict(panoptic_head=dict(transformer_decoder=dict(layers_per_stage=(2, 2))))\n',
    ),
):

    @kind(f'{name} since the checkpoint', ROUTE, told=GROUPS, report=MISMATCH)
    def changed(place: Place, text: str = text) -> Wrong:
        resume(place, text.replace('num_centers', place.centers))
        return Wrong('resumes without a word')


for name, factors in (
    ('The learning rate decays from layer to layer', 'decay_rate=0.8'),
    ('custom_keys give the backbone another rate', "custom_keys={'backbone': dict(lr_mult=0.5)}"),
):

    @kind(
        f'{name} since the checkpoint',
        ROUTE,
        told=r'load_from',
        word=says('paramwise_cfg|decay_rate|custom_keys|lr_mult'),
        report=MISMATCH,
    )
    def groups(place: Place, factors: str = factors) -> Found:
        text = f'optim_wrapper = dict(paramwise_cfg=dict({factors}))\n'
        resume(place, text)
        place.train(EVERY_TWO + text, iterations=4, work='unbroken')
        rates = [group_rates(place.folder / work / 'iter_4.pth') for work in ('work', 'unbroken')]
        return Found(*rates, 'learning rates of the groups')


def group_rates(checkpoint: Path) -> list[str]:
    """The learning rates of the optimizer's parameter groups, from the largest to the smallest."""
    groups = torch.load(checkpoint, weights_only=False)['optimizer']['param_groups']
    return [f'{rate:.3g}' for rate in sorted({group['initial_lr'] for group in groups})[::-1]]


@kind(
    'The schedule is another one',
    ROUTE,
    told=says('param_scheduler|schedul'),
    word=says('param_scheduler|schedul'),
)
def schedule(place: Place) -> Found:
    text = "param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[3])]\n"
    return same_rate(place, text)


@kind('The seed is another one', ROUTE, told=says('seed'), word=says('seed'))
def seed(place: Place) -> Found:
    resume(place, 'randomness = dict(seed=2)\n')
    return Found(max(values_of(place, 'work', 'loss')), 4, 'iterations trained:', 0)


@kind('The data set has other images', ROUTE, told=says('data|image'), word=says('data|image'))
def data(place: Place) -> Found:
    first_run(place)
    place.edit(lambda content: (content['images'].pop(), content['annotations'].pop()), 'train')
    text = 'default_hooks = dict(checkpoint=dict(interval=2))\n'
    place.train(text, '--resume', place.folder / 'first/iter_2.pth', iterations=4)
    return Found(max(values_of(place, 'work', 'loss')), 4, 'iterations trained:', 0)


@kind('EMAHook is new in the config', ROUTE)
def ema(place: Place) -> Found:
    resume(place, "custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA')]\n")
    return Found(max(values_of(place, 'work', 'loss')), 4, 'iterations trained:', 0)


@kind('Mixed precision is new (--amp)', ROUTE)
def amp(place: Place) -> Found:
    resume(place, '', '--amp')
    return Found(max(values_of(place, 'work', 'loss')), 4, 'iterations trained:', 0)


@kind('The checkpoint holds nothing but weights', ROUTE, told='load_from')
def weights_only(place: Place) -> Wrong:
    weights = place.folder / 'weights.pth'
    torch.save(torch.load(place.checkpoint, weights_only=False)['state_dict'], weights)
    place.train('', '--resume', weights, iterations=4)
    return Wrong('resumes without a word')


@kind(
    'The checkpoint is of the last iteration already',
    ROUTE,
    told='max_iters',
    word='[Nn]othing.*max_iters|max_iters.*reached',
)
def ended(place: Place) -> Found:
    first_run(place)
    place.train('', '--resume', place.folder / 'first/iter_4.pth', iterations=4)
    return Found((place.folder / 'work').is_dir(), True, 'ends at once:')


@kind('The checkpoint does not exist', ROUTE, told=r'absent\.pth')
def absent(place: Place) -> Wrong:
    place.train('', '--resume', 'absent.pth')
    return Wrong('starts from the beginning')


@kind('The checkpoint file is damaged', ROUTE, told=r'damaged\.pth')
def damaged(place: Place) -> Wrong:
    path = place.folder / 'damaged.pth'
    path.write_bytes(place.checkpoint.read_bytes()[:50000])
    place.train('', '--resume', path)
    return Wrong('starts from the beginning')


@kind('The checkpoint is an HTML page, as failed downloads are', 'tools/test.py', told=r'page\.pth')
def page(place: Place) -> Wrong:
    path = place.folder / 'page.pth'
    path.write_text('<html>404</html>')
    place.test(checkpoint=path)
    return Wrong('scores random weights')


@kind(
    'A checkpoint is saved and resumed with torch >= 2.6',
    ROUTE,
    report='https://github.com/open-mmlab/mmengine/issues/1655',
)
def safe(place: Place) -> Found:
    resume(place, '')
    return Found(max(values_of(place, 'work', 'loss')), 4, 'iterations trained:', 0)
