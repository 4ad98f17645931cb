"""What mmengine, mmdet or torch raise on purpose is a user's mistake too."""

from trial.place import Place
from trial.situation import OPTIONS, TEST, TRAIN, Found, Wrong, section

from .common import must_tell, trains

kind = section(
    'Deliberate errors of the libraries',
    'mmengine, mmdet and torch raise many errors on purpose. For a mistake of the user '
    'their text becomes one sentence with the key of the config; errors of the program keep '
    'their stack trace.',
)

RULE = 'https://github.com/open-mmlab/mmaction2/issues/2298'
STOPPING = 'https://github.com/open-mmlab/mmdetection/issues/12302'


def best(place: Place, value: str, key: str = 'coco_panoptic_PQ') -> Found:
    place.train(f'default_hooks = dict(checkpoint=dict(save_best={value!r}))\n')
    names = [path.name for path in (place.folder / 'work').glob('best_*.pth')]
    return Found(names, [f'best_{key}_iter_2.pth'], 'saved:')


for value in ('auto', 'coco_panoptic/PQ'):

    @kind(f'save_best={value!r}', TRAIN, report=RULE)
    def save_best(place: Place, value: str = value) -> Found:
        return best(place, value)


@kind("save_best='coco_panoptic/SQ_th', another figure of PQ's", TRAIN, report=RULE)
def save_best_sq(place: Place) -> Found:
    return best(place, 'coco_panoptic/SQ_th', 'coco_panoptic_SQ_th')


for value in ('PQ', 'coco/bbox_mAP', 'coco_panoptic/pq'):

    @kind(f'save_best={value!r}, a figure that no metric gives', TRAIN, told='save_best')
    def save_best_unknown(place: Place, value: str = value) -> Wrong:
        return must_tell(place, f'default_hooks = dict(checkpoint=dict(save_best={value!r}))\n')


def stopping(monitor: str) -> str:
    return f"custom_hooks = [dict(type='EarlyStoppingHook', monitor={monitor!r})]\n"


@kind("EarlyStoppingHook with monitor='coco_panoptic/PQ'", TRAIN, report=STOPPING)
def early(place: Place) -> Found:
    return trains(place, stopping('coco_panoptic/PQ'))


@kind(
    "EarlyStoppingHook with monitor='coco/bbox_mAP', which no metric gives",
    TRAIN,
    told='monitor|EarlyStopping',
)
def early_unknown(place: Place) -> Wrong:
    return must_tell(place, stopping('coco/bbox_mAP'))


@kind(
    "EarlyStoppingHook with monitor='loss'",
    TRAIN,
    told='monitor|EarlyStopping',
    report='https://github.com/open-mmlab/mmsegmentation/issues/3063',
)
def early_loss(place: Place) -> Wrong:
    return must_tell(place, stopping('loss'))


for backend, package in (
    ('WandbVisBackend', 'wandb'),
    ('MLflowVisBackend', 'mlflow'),
    ('ClearMLVisBackend', 'clearml'),
    ('NeptuneVisBackend', 'neptune'),
    ('DVCLiveVisBackend', 'dvclive'),
    ('AimVisBackend', 'aim'),
):

    @kind(f'The visualizer has {backend}, and {package} is not installed', TRAIN, told=package)
    def visualizer(place: Place, backend: str = backend) -> Wrong:
        return must_tell(place, f'visualizer = dict(vis_backends=[dict(type={backend!r})])\n')


for option in (
    'train_dataloader.dataset.pipeline.9.prob=1.0',
    'param_scheduler.3.power=0.5',
    'visualizer.vis_backends.2.type=LocalVisBackend',
    'param_scheduler.first.power=0.5',
):

    @kind(
        f'--cfg-options {option}, a place that the list does not have',
        OPTIONS,
        told=option.partition('=')[0].replace('.', r'\.') + r'|list',
    )
    def index(place: Place, option: str = option) -> Wrong:
        return must_tell(place, '', '--cfg-options', option)


COMPILE = 'https://github.com/open-mmlab/mmengine/pull/976'


@kind("compile=dict(backend='eager')", TRAIN, report=COMPILE)
def compiled(place: Place) -> Found:
    return trains(place, "compile = dict(backend='eager')\n")


@kind("compile=dict(backend='no_such'), which torch does not know", TRAIN, told='no_such|compile')
def compiled_unknown(place: Place) -> Wrong:
    return must_tell(place, "compile = dict(backend='no_such')\n")


for name, text, told in (
    (
        'The optimizer has a type that does not exist',
        "optim_wrapper = dict(optimizer=dict(type='AdanW'))\n",
        'AdanW',
    ),
    (
        'The optimizer has a key that it does not take',
        'optim_wrapper = dict(optimizer=dict(momentum=0.9))\n',
        'momentum',
    ),
    (
        'A scheduler has a type that does not exist',
        "param_scheduler = [dict(type='PolyLRR', by_epoch=False)]\n",
        'PolyLRR',
    ),
    (
        'A hook has a type that does not exist',
        "custom_hooks = [dict(type='NoSuchHook')]\n",
        'NoSuchHook',
    ),
    (
        'A transform has a type that does not exist',
        "train_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImages')]))\n",
        'LoadImages',
    ),
    (
        'The metric has a type that does not exist',
        "val_evaluator = dict(type='PanopticMetric')\n",
        'PanopticMetric',
    ),
    ('The model has a type that does not exist', "model = dict(type='CMTDeepLap')\n", 'CMTDeepLap'),
    (
        'clip_grad has a key that torch does not take',
        'optim_wrapper = dict(clip_grad=dict(max=1.0))\n',
        'clip_grad|max',
    ),
    (
        'custom_imports names a module that does not exist',
        "custom_imports = dict(imports=['no_such_module'], allow_failed_imports=False)\n",
        'no_such_module',
    ),
    ('load_from names a file that does not exist', "load_from = 'absent.pth'\n", r'absent\.pth'),
    (
        'init_cfg names a file that does not exist',
        "model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='absent.pth')))\n",
        r'absent\.pth',
    ),
    ('val_cfg is None while val_dataloader stays', 'val_cfg = None\n', 'val_cfg|val_'),
):

    @kind(name, TRAIN, told=told)
    def config(place: Place, text: str = text) -> Wrong:
        return must_tell(place, text)


@kind('A dtype of mixed precision does not exist', 'tools/train.py --amp', told='float8')
def dtype(place: Place) -> Wrong:
    return must_tell(place, '', '--amp', '--cfg-options', 'optim_wrapper.dtype=float8')


@kind('--out has the ending .json', TEST + ' --out', told=r'\.pkl')
def out(place: Place) -> Wrong:
    place.test('', '--out', 'out.json')
    return Wrong('tests without a word')


@kind('The checkpoint does not exist', TEST, told=r'absent\.pth')
def checkpoint(place: Place) -> Wrong:
    place.test(checkpoint=place.folder / 'absent.pth')
    return Wrong('tests random weights')
