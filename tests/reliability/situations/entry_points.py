"""A mistake ends in one sentence from every entry point."""

from trial.place import Place
from trial.situation import Wrong, section

kind = section(
    'One sentence from every entry point',
    'A mistake ends in one sentence and exit code 1, from every program and from Python, '
    'where it is the message of a `UserError`.',
)

ABSENT = r'absent'


def tool(name: str, program: str, *arguments: str, told: str) -> None:
    @kind(name, program, told=told)
    def act(place: Place) -> Wrong:
        if not (place.checkout / program).is_file():
            return Wrong('there is no such tool')
        filled = [
            a.format(config=place.config(), checkpoint=place.checkpoint, root=place.folder)
            for a in arguments
        ]
        place.tool(program, *filled)
        return Wrong('ends without a word')


tool(
    'The config does not exist',
    'tools/analysis_tools/get_flops.py',
    'absent.py',
    '--shape',
    '96',
    '96',
    told=ABSENT,
)
tool(
    '--shape is one number',
    'tools/analysis_tools/get_flops.py',
    '{config}',
    '--shape',
    '96',
    told='shape',
)
tool('The config does not exist', 'tools/analysis_tools/plane_ceiling.py', 'absent.py', told=ABSENT)
tool(
    'The data of the config are missing',
    'tools/analysis_tools/plane_ceiling.py',
    '{root}/missing.py',
    told=r'missing|data',
)
tool(
    'The config does not exist', 'tools/analysis_tools/compare_models.py', 'absent.py', told=ABSENT
)
tool(
    'The weights do not exist',
    'tools/model_converters/kmax_pytorch_to_mmdet.py',
    'absent.pth',
    'out.pth',
    '--config',
    '{config}',
    told=ABSENT,
)
tool(
    'The weights do not exist',
    'tools/model_converters/deeplab2_to_mmdet.py',
    'absent.npz',
    'out.pth',
    '--config',
    '{config}',
    told=ABSENT,
)
tool(
    'The weights are those of another model',
    'tools/model_converters/kmax_pytorch_to_mmdet.py',
    '{checkpoint}',
    'out.pth',
    '--config',
    '{config}',
    told='pth|weight|name',
)
tool(
    'The weights are a text file',
    'tools/model_converters/kmax_pytorch_to_mmdet.py',
    '{config}',
    'out.pth',
    '--config',
    '{config}',
    told=r'leaf\d',
)
tool('The folder cannot be written', 'tools/misc/make_shapes.py', '/proc/shapes', told='/proc')
tool(
    'The number of images is negative',
    'tools/misc/make_shapes.py',
    'out',
    '--train',
    '-3',
    told='train|-3',
)
tool(
    'The preset does not exist', 'tools/misc/make_shapes.py', 'out', '--preset', 'huge', told='huge'
)
tool(
    'The JSON of the truth does not exist',
    'tools/analysis_tools/evaluate_panoptic.py',
    'absent.json',
    'absent',
    'p.json',
    'p',
    told=ABSENT,
)
tool(
    'Two paths are given in place of four',
    'tools/analysis_tools/evaluate_panoptic.py',
    'a.json',
    'b.json',
    told='GT_JSON',
)
tool('An argument does not exist', 'tools/train.py', '{config}', '--no-such', told='no-such')
tool('The config is missing', 'tools/train.py', told='config')
tool(
    'The launcher of mpi is named outside mpirun',
    'tools/train.py',
    '{config}',
    '--launcher',
    'mpi',
    told='mpi|OMPI',
)
tool(
    'The launcher of pytorch is named outside torchrun',
    'tools/train.py',
    '{config}',
    '--launcher',
    'pytorch',
    told='launcher|RANK',
)


RUNNER = 'PanopticRunner.from_cfg'


def runner(name: str, text: str, told: str) -> None:
    @kind(name, RUNNER, told=told)
    def act(place: Place) -> Wrong:
        import cmt_deeplab  # noqa: F401
        from mmdet.registry import RUNNERS
        from mmengine.config import Config

        cfg = Config.fromfile(str(place.config(text)))
        cfg.work_dir = 'work'
        RUNNERS.get('PanopticRunner').from_cfg(cfg).train()
        return Wrong('trains to the end without a word')


runner('A key at the top has no effect', "lr_config = dict(policy='step')\n", 'lr_config')
runner(
    'The optimizer does not exist', "optim_wrapper = dict(optimizer=dict(type='AdanW'))\n", 'AdanW'
)
runner(
    'The class counts are not those of the data',
    'model = dict(num_things_classes=80, num_stuff_classes=53)\n',
    'num_things_classes',
)
runner(
    'The data set lies elsewhere',
    "train_dataloader = dict(dataset=dict(data_root='absent/'))\n",
    'absent',
)
runner('load_from names a file that does not exist', "load_from = 'absent.pth'\n", r'absent\.pth')
runner(
    'The checkpoint hook follows a figure that no metric gives',
    "default_hooks = dict(checkpoint=dict(save_best='bbox'))\n",
    'save_best',
)
runner(
    'drop_last with fewer images than a batch',
    'train_dataloader = dict(batch_size=8, drop_last=True,'
    " sampler=dict(type='DefaultSampler', shuffle=True))\n",
    'drop_last',
)


for route in ('init_detector', 'DetInferencer'):

    @kind('The checkpoint does not exist', route, told=ABSENT)
    def api(place: Place, route: str = route) -> Wrong:
        from mmdet.apis import DetInferencer, init_detector

        config = str(place.config())
        if route == 'init_detector':
            init_detector(config, 'absent.pth', device='cpu')
        else:
            DetInferencer(model=config, weights='absent.pth', device='cpu')
        return Wrong('goes on')
