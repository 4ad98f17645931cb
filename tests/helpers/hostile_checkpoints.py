"""Writes checkpoints that would run code, read foreign memory, or take all memory or time.

Each is built around an otherwise good checkpoint. What runs code makes the file ``canary``.
"""

import io
import json
import os
import pickle
import pickletools
import runpy
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

multiarray = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
BASE = dict(state_dict=dict(weight=torch.ones(2)), meta={}, message_hub={})
DEEP = 400_000  # tuples in each other, whose hash breaks the stack of 8 MB


class Call:
    """Unpickling it calls ``function(*arguments)`` and gives ``state`` to what that returns."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple:
        return self.parts


@dataclass(frozen=True)
class Hostile:
    """``add(content, canary)`` changes a good checkpoint; ``save(content, path)`` writes it.

    ``harm`` is 'code', 'text' (run by a parser of configs), 'memory' (foreign memory is read, or
    the process breaks), 'size' (memory or time without end), 'kind' (a wrong kind of value),
    'recipe' (in the config for inference, which one program builds) or 'resume' (one that may be
    read, as most programs do not look at it).
    """

    harm: str
    add: Callable[[dict, Path], Any]
    save: Callable[[Any, Path], Any] = torch.save

    def write(self, path: Path, canary: Path, content: dict | None = None) -> None:
        content = deepcopy(BASE if content is None else content)
        changed = self.add(content, canary)
        self.save(content if changed is None else changed, Path(path))


def extra(make: Callable[[Path], Any]) -> Callable[[dict, Path], None]:
    """Puts what ``make(canary)`` returns beside the other entries."""

    def add(content: dict, canary: Path) -> None:
        content['extra'] = make(canary)

    return add


def value(kind: Any) -> Callable[[dict, Path], None]:
    return extra(lambda canary: kind)


def entry(place: str, make: Any) -> Callable[[dict, Path], None]:
    """Sets an entry, whose outer entries are divided by dots; 0 is the first one of a list."""

    def add(content: Any, canary: Path) -> None:
        *outer, key = place.split('.')
        for name in outer:
            content = content[0] if name == '0' else content.setdefault(name, {})
        content[key] = make(canary) if callable(make) else make

    return add


def text(canary: Path) -> str:
    """A config that makes the canary."""
    return f'model = dict()\nx = open({str(canary)!r}, "w")\n'


def every_text(content: dict, canary: Path) -> None:
    """Sets the text of a config wherever a version of mmengine looked for one."""
    for place in ('meta.config', 'meta.cfg', 'message_hub.runtime_info.cfg'):
        entry(place, text)(content, canary)


def mark(canary: Path) -> str:
    return f'open({str(canary)!r}, "w")'


def weight(make: Callable[[], Any]) -> Callable[[dict, Path], None]:
    """Adds a tensor to the weights."""

    def add(content: dict, canary: Path) -> None:
        content['state_dict'] = dict(content['state_dict'], hostile=make())

    return add


def dtype(code: str, size: int, order: str = '|') -> Call:
    """A dtype that says it has ``size`` bytes."""
    return Call(np.dtype, code, False, True, state=(3, order, None, None, None, size, 1, 0))


def array(kind: Any, shape: tuple, content: Any) -> Call:
    return Call(
        multiarray._reconstruct, np.ndarray, (0,), b'b', state=(1, shape, kind, False, content)
    )


def tensor(storage: torch.Tensor, *arguments: Any, state: Any = None) -> Call:
    rebuild, untyped = torch._utils._rebuild_tensor_v2, storage.storage()
    return Call(rebuild, untyped, *arguments, False, OrderedDict(), state=state)


def growing(code: str, size: int) -> bytes:
    """Instructions that make an array of numpy, whose dtype then says that it has ``size`` bytes.

    As the array keeps that dtype, it reads on behind its data.
    """
    made = pickle.dumps(np.array(['a'], f'{code}1'), 2)[2:-1]
    kept_at = b'h\x0e'  # the 14th that a pickle of an array keeps is its dtype
    state = pickle.dumps((3, '<', None, None, None, size, 1, 0), 2)[2:-1]
    return b']' + made + b'a' + kept_at + state + b'ba'


def nested(levels: int, width: int = 1) -> bytes:
    """Instructions that make tuples in tuples, of ``width`` times the same one."""
    more = {1: b'\x85', 2: b'q\x00h\x00\x86'}[width]
    return b')' + more * levels


def instructions(made: bytes, as_key: bool) -> Callable[[Any, Path], None]:
    """Saves a dict with what the instructions make, as a key or as a value."""

    def save(content: Any, path: Path) -> None:
        inner = made + b'K\x01' if as_key else b'X\x05\x00\x00\x00extra' + made
        write_archive(path, b'\x80\x02}' + inner + b's.')

    return save


def write_archive(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """An archive of torch around a pickle."""
    with zipfile.ZipFile(path, 'w', compression) as archive:
        archive.writestr('archive/data.pkl', content)
        archive.writestr('archive/byteorder', b'little')
        archive.writestr('archive/version', b'3\n')


def compressed(content: Any, path: Path) -> None:
    """The archive of torch.save, unpacked and packed again with compression."""
    plain = io.BytesIO()
    torch.save(content, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def overstated(numbers: int, legacy: bool) -> Callable[[Any, Path], None]:
    """Saves a tensor of two numbers before the others, whose data are said to be more."""

    def save(content: Any, path: Path) -> None:
        content = dict(first=torch.ones(2), **content)
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        parts = dict(whole=path.read_bytes())
        if not legacy:
            with zipfile.ZipFile(path) as archive:
                parts = {name: archive.read(name) for name in archive.namelist()}
        for name, data in parts.items():
            before = b'cpuq'
            at = data.find(before)
            if at >= 0:
                at += len(before) + 1
                assert data[at : at + 2] == b'K\x02'
                parts[name] = data[:at] + pickle.dumps(numbers, 2)[2:-1] + data[at + 2 :]
        if legacy:
            path.write_bytes(parts['whole'])
        else:
            with zipfile.ZipFile(path, 'w') as archive:
                for name, data in parts.items():
                    archive.writestr(name, data)

    return save


def legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def protocol_4(content: Any, path: Path) -> None:
    torch.save(content, path, pickle_protocol=4)


def plain_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def without_numbers(content: Any, path: Path) -> None:
    """The form before torch 1.6, whose list of the numbers that follow is empty."""
    legacy(content, path)
    stream = io.BytesIO(path.read_bytes())
    for _ in range(4):  # before that list
        deque(pickletools.genops(stream), maxlen=0)
    path.write_bytes(stream.getvalue()[: stream.tell()] + pickle.dumps([], 2))


def in_tar(content: Any, path: Path) -> None:
    """The format of torch before 0.1.10."""
    data = pickle.dumps(content['extra'], 2)
    with tarfile.open(path, 'w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def script(content: Any, path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


def history(**changes: Any) -> HistoryBuffer:
    """A history of logs with other attributes."""
    made = HistoryBuffer([1.0, 2.0], [1, 1])
    vars(made).update(changes)
    return made


def hidden(content: dict, canary: Path, kind: type) -> Call:
    """Hides every text behind attributes that stand for methods of a dict."""
    every_text(content, canary)
    return Call(kind, content, state=dict(get=Counter, pop=Counter, items=Counter))


def hooked(content: dict, canary: Path) -> None:
    """Gives the first weight a hook that breaks the process when it is called."""
    first = next(iter(content['state_dict']))
    storage = content['state_dict'][first].float()
    place = 0, tuple(storage.shape), storage.stride(), True, 5
    content['state_dict'] = dict(
        content['state_dict'],
        **{first: Call(torch._utils._rebuild_tensor_v2, storage.storage(), *place)},
    )


def without_versions(content: dict, canary: Path) -> None:
    state = dict(_metadata={'': 5}, load=5)
    content['state_dict'] = Call(OrderedDict, dict(content['state_dict']), state=state)


def in_each_other(levels: int) -> list:
    found: list = []
    for _ in range(levels):
        found = [found]
    return found


MODEL, STEP, TRUTH = 'recipe.model', 'recipe.pipeline.0', 'recipe.pipeline.1'


def recipe(places: dict) -> Callable[[dict, Path], None]:
    """Sets entries of the JSON text for inference, by their places; '' is the text itself."""

    def add(content: dict, canary: Path) -> None:
        meta = content.setdefault('meta', {})
        plain = dict(model=dict(type='CMTDeepLab'), pipeline=[dict(type='LoadImageFromFile')])
        plain |= dict(image_size=[96, 96], category_ids=None)
        whole = dict(recipe=json.loads(meta.get('inference', json.dumps(plain))))
        for place, made in places.items():
            made = made(canary) if callable(made) else made
            *outer, last = place.split('.')
            part = whole
            for name in outer:
                part = part[int(name)] if name.isdecimal() else part.setdefault(name, {})
            if isinstance(part, list):
                part[int(last) :] = [made]
            else:
                part[last] = made
        meta['inference'] = whole.get('', json.dumps(whole['recipe']))

    return add


def config_file(canary: Path) -> str:
    """The path of a config that makes the canary."""
    path = canary.with_name('hostile_config.py')
    path.write_text(text(canary))
    return str(path)


def module_file(canary: Path) -> str:
    """A name in a module beside the tests that makes the canary when it is imported."""
    canary.with_name('hostile_module.py').write_text(text(canary) + 'class Part: pass')
    sys.path.insert(0, str(canary.parent))
    return 'hostile_module.Part'


TEACHER = 'KnowledgeDistillationSingleStageDetector'
RECIPES = {
    'os.system as a model': {MODEL: lambda c: dict(type='os.system', command=f'touch {c}')},
    'Popen': {f'{MODEL}.backbone': lambda c: dict(type='subprocess.Popen', args=['touch', str(c)])},
    'a call without a module': {f'{MODEL}.backbone.type': 'exec'},
    'a module to import': {f'{MODEL}.backbone.type': module_file},
    'a scope to import': {f'{MODEL}.backbone._scope_': 'hostile_module'},
    'a name that is evaluated': {f'{MODEL}.test_cfg': dict(nms=dict(type='__import__("os")'))},
    'a built-in that is evaluated': {f'{MODEL}.test_cfg': dict(nms=dict(type='exec'))},
    'a word of mmcv.ops': {f'{MODEL}.roi_layer': dict(type='nms_match')},
    'imports': {'recipe.custom_imports': dict(imports=['hostile_module'])},
    'weights of a backbone': {
        f'{MODEL}.backbone.init_cfg': lambda c: dict(type='Pretrained', checkpoint=str(c))
    },
    'an old kind of weights': {f'{MODEL}.backbone.pretrained': 'torchvision://resnet50'},
    'a teacher': {MODEL: lambda c: dict(type=TEACHER, teacher_config=config_file(c))},
    'a language model': {f'{MODEL}.language_model': dict(type='BertModel', name='gpt2')},
    'a hub of timm': {f'{MODEL}.backbone': dict(type='TimmBackbone', model_name='hf-hub:a/b')},
    'a folder of timm': {f'{MODEL}.backbone': dict(type='TimmBackbone', model_name='local-dir:/')},
    'a type that is a list': {f'{MODEL}.type': ['os', 'system']},
    'a type that is a dict': {f'{MODEL}.type': dict(type='CMTDeepLab')},
    'Albu': {TRUTH: dict(type='Albu', transforms=[dict(type='from_dict')])},
    'a transform with others': {TRUTH: dict(type='Compose', transforms=['os.system'])},
    'os.system as a transform': {TRUTH: lambda c: dict(type='os.system', command=f'touch {c}')},
    'a backend of files': {f'{STEP}.backend_args': dict(backend='petrel')},
    'an old backend of files': {f'{STEP}.file_client_args': dict(backend='http')},
    'a model in a pipeline': {TRUTH: dict(type='CMTDeepLab')},
    'a path as a key': {f'{MODEL}./etc/passwd': 1},
    'terminal codes': {f'{MODEL}.backbone.style': '\x1b[2J'},
    'Python': {'': lambda c: f'dict(model=open({str(c)!r}, "w"))'},
    'bytes': {'': b'{}'},
    'a list': {'': '[]'},
    'no number': {'recipe.image_size': ['1', 2]},
    'no size': {'recipe.image_size': [96]},
    'ids of other classes': {'recipe.category_ids': [1, 2, 3]},
    'a pipeline without an end': {TRUTH: dict(type='PanopticResize')},
    'no pipeline': {'recipe.pipeline': []},
    'no model': {MODEL: None},
    'more depth': {f'{MODEL}.backbone.x': in_each_other(200)},
    'endless depth': {'': '[' * 10**6},
    'endless text': {'': '{"model": "' + 'a' * 10**7 + '"}'},
    'a number without end': {f'{MODEL}.backbone.depth': 10**30},
    'a large fraction': {f'{MODEL}.data_preprocessor.size': [1e6 + 0.5, 96]},
    'an image without end': {'recipe.image_size': [10**6, 10**6]},
    'an image of its highest size': {f'{MODEL}.data_preprocessor.size': [8192, 8192]},
    'an image of a thousand times its size': {
        'recipe.pipeline': [
            *(dict(type='LoadImageFromFile'), dict(type='Resize', scale_factor=200.0)),
            dict(type='PackPanopticInputs'),
        ],
        'recipe.image_size': None,
    },
    'weights without end': {
        f'{MODEL}.backbone': dict(
            type='TimmBackbone', model_name='convnext_xxlarge', out_indices=[0, 1, 2]
        )
    },
    'width without end': {f'{MODEL}.panoptic_head.transformer_decoder.center_channels': 16384},
    'width without end, on a device': {
        f'{MODEL}.backbone': dict(
            type='ResNet', depth=50, base_channels=8192, conv_cfg=dict(type='Conv2d', device='cpu')
        )
    },
    'layers without end': {
        f'{MODEL}.backbone': dict(
            type='SwinTransformer', depths=[16384] * 4, embed_dims=8, num_heads=[1] * 4
        )
    },
    'no image is loaded': {'recipe.pipeline': [dict(type='PackPanopticInputs')]},
    'numbers without end': {f'{MODEL}.num_things_classes': 900},
}
HOSTILE = {
    **{f'recipe: {name}': Hostile('recipe', recipe(each)) for name, each in RECIPES.items()},
    # runs code when it is unpickled
    'eval': Hostile('code', extra(lambda c: Call(eval, mark(c)))),
    'exec': Hostile('code', extra(lambda c: Call(exec, mark(c)))),
    'os.system': Hostile('code', extra(lambda c: Call(os.system, f'touch {c}'))),
    'subprocess': Hostile('code', extra(lambda c: Call(subprocess.call, ['touch', str(c)]))),
    'mkdir': Hostile('code', extra(lambda c: Call(os.mkdir, str(c)))),
    'runpy': Hostile('code', extra(lambda c: Call(runpy._run_code, mark(c), {}))),
    'inner pickle': Hostile(
        'code', extra(lambda c: Call(pickle.loads, pickle.dumps(Call(eval, mark(c)))))
    ),
    'in the weights': Hostile(
        'code', lambda content, c: entry('state_dict.hostile', Call(eval, mark(c)))(content, c)
    ),
    'as the state of a history': Hostile(
        'code', extra(lambda c: history(_statistics_methods=dict(mean=Call(eval, mark(c)))))
    ),
    'legacy format': Hostile('code', extra(lambda c: Call(eval, mark(c))), legacy),
    'protocol 4': Hostile('code', extra(lambda c: Call(eval, mark(c))), protocol_4),
    'plain pickle': Hostile('code', extra(lambda c: Call(eval, mark(c))), plain_pickle),
    'tar': Hostile('code', extra(lambda c: Call(eval, mark(c))), in_tar),
    'TorchScript': Hostile('code', value(None), script),
    'a method': Hostile('code', value(Call(getattr, HistoryBuffer, '__init__'))),
    'tofile': Hostile('code', value(Call(getattr, np.ndarray, 'tofile'))),
    'register_statistics': Hostile(
        'code', value(Call(getattr, HistoryBuffer, 'register_statistics'))
    ),
    # its text is run by a parser of configs
    'meta.config': Hostile('text', entry('meta.config', text)),
    'meta.cfg': Hostile('text', entry('meta.cfg', text)),
    'runtime_info.cfg': Hostile('text', entry('message_hub.runtime_info.cfg', text)),
    'every text': Hostile('text', every_text),
    'hidden text': Hostile('text', lambda content, c: hidden(content, c, OrderedDict)),
    'counted text': Hostile('text', lambda content, c: hidden(content, c, Counter)),
    # reads memory beyond its data, hands out memory as it was left, or breaks the process
    'growing bytes': Hostile('memory', value(None), instructions(growing('S', 6446), as_key=False)),
    'growing text': Hostile(
        'memory', value(None), instructions(growing('U', 4 * 500), as_key=False)
    ),
    'short bytes': Hostile('memory', value(Call(multiarray.scalar, dtype('S6445', 6445), b'a'))),
    'short text': Hostile('memory', value(Call(multiarray.scalar, dtype('U2000', 8000), b'a'))),
    'short record': Hostile('memory', value(Call(multiarray.scalar, dtype('V6445', 6445), b'a'))),
    'short number': Hostile('memory', value(Call(multiarray.scalar, dtype('f8', -1, '<'), b'a'))),
    'array of bytes': Hostile('memory', value(array(dtype('S1', 10**6), (4,), b'a'))),
    'array of objects': Hostile('memory', value(array(dtype('O8', 8), (1,), b'abcdefgh'))),
    'array larger than its data': Hostile('memory', value(array(dtype('f8', -1, '<'), (9,), b'a'))),
    'array as memory was left': Hostile('memory', value(Call(np.ndarray, (1000,)))),
    'tensor as memory was left': Hostile('memory', value(Call(torch.FloatTensor, 1000))),
    'tensor beyond its data': Hostile(
        'memory', weight(lambda: tensor(torch.ones(2), 0, (1000,), (1,)))
    ),
    'tensor behind its data': Hostile(
        'memory', weight(lambda: tensor(torch.ones(2), 1000, (2,), (1,)))
    ),
    'tensor before its data': Hostile(
        'memory', weight(lambda: tensor(torch.ones(2), 0, (2,), (-9,)))
    ),
    'tensor with other data': Hostile(
        'memory',
        weight(
            lambda: tensor(
                torch.ones(2), 0, (2,), (1,), state=(torch.ones(3).storage(), 0, (1000,), (1,))
            )
        ),
    ),
    'tensor without data': Hostile('memory', weight(lambda: torch.empty(3, device='meta'))),
    'more numbers than its record': Hostile('memory', value(None), overstated(1000, legacy=False)),
    'far more numbers': Hostile('memory', value(None), overstated(10**13, legacy=False)),
    'less than no numbers': Hostile('memory', value(None), overstated(-4, legacy=False)),
    'more numbers than its file': Hostile('memory', value(None), overstated(1000, legacy=True)),
    'more numbers than memory': Hostile('memory', value(None), overstated(10**13, legacy=True)),
    'sparse tensor': Hostile(
        'memory', weight(lambda: torch.sparse_coo_tensor([[0]], [1.0], (3,), check_invariants=True))
    ),
    'deep key': Hostile('memory', value(None), instructions(nested(DEEP), as_key=True)),
    'tensor class': Hostile('memory', value(torch.FloatTensor)),
    'storage as memory was left': Hostile('memory', value(Call(torch.UntypedStorage, 1000))),
    'parameter with other data': Hostile(
        'memory',
        weight(
            lambda: Call(
                torch.nn.Parameter, torch.ones(2), state=(torch.ones(3).storage(), 0, (1000,), (1,))
            )
        ),
    ),
    'tensors without numbers': Hostile('resume', lambda content, c: None, without_numbers),
    'hooks that are none': Hostile('resume', hooked),
    'versions that are none': Hostile('resume', without_versions),
    # takes memory or time without end
    'archive that unpacks': Hostile('size', weight(lambda: torch.zeros(2**24)), compressed),
    'expanded tensor': Hostile('size', weight(lambda: torch.ones(1).expand(10**6, 10**6))),
    'many views': Hostile(
        'size', lambda content, c: content.update(state_dict=dict(views(torch.ones(10**5), 2000)))
    ),
    'large bytearray': Hostile('size', value(Call(bytearray, 10**10))),
    'doubled key': Hostile('size', value(None), instructions(nested(64, 2), as_key=True)),
    'doubled value': Hostile('size', value(None), instructions(nested(64, 2), as_key=False)),
    'deep value': Hostile('size', value(None), instructions(nested(DEEP), as_key=False)),
    'deep list': Hostile('size', value(in_each_other(200))),
    # has values of a wrong kind
    'list as weights': Hostile('kind', entry('state_dict', [torch.ones(2)])),
    'numbers as names': Hostile('kind', entry('state_dict', {1: torch.ones(2)})),
    'list as meta': Hostile('kind', entry('meta', [1])),
    'None as weights': Hostile('kind', entry('state_dict', None)),
    'two lines as a name': Hostile('kind', entry('state_dict', {'a\n\x1b[2J': torch.ones(2)})),
    'numbers as logs': Hostile('kind', entry('message_hub.log_scalars', {5: history()})),
    'ragged colors': Hostile('kind', entry('meta.dataset_meta', dict(palette=[[1, [2, 3]]]))),
    'numbers as colors': Hostile('kind', entry('meta.dataset_meta', dict(palette=[1, 2]))),
    'text as classes': Hostile('kind', entry('meta.dataset_meta', 'person')),
    'terminal codes as classes': Hostile(
        'kind', entry('meta.dataset_meta', dict(classes=['\x1b[2J']))
    ),
    'numbers as classes': Hostile('kind', entry('meta.dataset_meta', dict(classes=[1, 2]))),
    'broken history': Hostile(
        'kind', entry('message_hub.log_scalars', dict(loss=history(_log_history='abc')))
    ),
    **{
        f'{place}={wrong!r}': Hostile('resume', entry(place, wrong))
        for place, wrong in (
            ('meta.iter', 'a'),
            ('meta.iter', -5),
            ('meta.iter', 2.5),
            ('meta.epoch', None),
            ('meta.seed', 'a'),
            ('meta.seed', -(2**70)),
            ('meta.experiment_name', '../../elsewhere'),
            ('message_hub.runtime_info.iter', 'a'),
            ('message_hub.runtime_info.last_ckpt', '/etc'),
            ('message_hub.runtime_info.best_ckpt', '..'),
            ('message_hub.runtime_info.keep_ckpt_ids', 'abc'),
            ('message_hub.runtime_info.experiment_name', '../../elsewhere'),
            ('message_hub.resumed_keys.nothing', True),
            ('message_hub.log_scalars.loss', 'a'),
            ('optimizer.state', 5),
            ('optimizer.state', {0: dict(step='a')}),
            ('optimizer.param_groups', 5),
            ('optimizer.param_groups.0.lr', 'a'),
            ('optimizer.param_groups.0.params', 'abc'),
            ('param_schedulers', 5),
            ('param_schedulers', [5]),
            ('param_schedulers.0.step', 5),
            ('param_schedulers.0.last_step', 'a'),
            ('param_schedulers.0.base_values', 'abc'),
            ('param_schedulers.0.optimizer', 5),
            ('param_schedulers.0._get_value', 5),
            ('settings.config', {5: 5}),
            ('settings.parameters', 5),
            ('settings.optimizer', 'b'),
            ('train_loop.random', 5),
            ('train_loop.digest', 'a'),
            ('train_loop.last_draw', 5),
            ('train_loop.sampler_seed', 'a'),
            ('ema_state_dict', {'module.weight': 5}),
        )
    },
}


def views(tensor: torch.Tensor, count: int) -> dict[str, torch.Tensor]:
    return {f'view{number}': tensor.view(-1) for number in range(count)}
