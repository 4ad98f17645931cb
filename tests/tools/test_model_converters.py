"""The converters' command lines and readers: what they print, what they refuse; MaX-DeepLab-L's names, whose weights no test can hold."""

import builtins
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cmt_deeplab.converters import DEEPLAB2, convert
from cmt_deeplab.converters.read import pytorch_axes, read_deeplab2, read_pytorch
from deeplab2_reference import Net, Variables, encoder, max_deeplab_l
from mmdet.registry import MODELS
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools' / 'model_converters'
KMAX_TF = 'configs/kmax_deeplab/kmax-deeplab_r50-tf_8xb8-150k_coco-panoptic-641.py'
KMAX_PYTORCH = 'configs/kmax_deeplab/kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py'


def run_tool(name: str, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(TOOLS / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.fixture(scope='module')
def resnet(tmp_path_factory) -> Path:
    """TensorFlow's ResNet-50 for ImageNet, with its classifier."""
    variables = Variables()
    with torch.no_grad():
        encoder(
            Net(variables, torch.relu),
            torch.zeros(1, 33, 33, 3).double(),
            inception=False,
            axial=False,
            output_stride=32,
        )
    path = tmp_path_factory.mktemp('source') / 'resnet50.npz'
    np.savez(
        path,
        **variables,
        **{
            'encoder/_classifier/kernel': np.zeros((2048, 1000), np.float32),
            'save_counter': np.int64(1),
        },
    )
    return path


def test_command_line_prints_what_it_found(resnet, tmp_path):
    done = run_tool(
        'deeplab2_to_mmdet.py', resnet, tmp_path / 'made' / 'ours.pth', '--config', KMAX_TF
    )
    assert done.returncode == 0, done.stderr
    assert (
        '318 tensors converted: backbone\nnames of the source not used: 1\n    encoder/_classifier/kernel\n'
        in done.stdout
    )
    assert (
        'names of the network not filled: 1099\n    panoptic_head.' in done.stdout
        and 'left out: 1\nwritten: ' in done.stdout
    )
    written = torch.load(tmp_path / 'made' / 'ours.pth', weights_only=True)
    assert written['meta'].pop('dataset_meta')['classes'][0] == 'person', (
        "mmdet's inference API names the classes by it"
    )
    assert written['meta'] == dict(converted_from='resnet50.npz', parts=['backbone'])
    backbone = {
        name: value
        for name, value in MODELS.build(Config.fromfile(ROOT / KMAX_TF).model).state_dict().items()
        if name.startswith('backbone.')
    }
    assert {name: value.shape for name, value in written['state_dict'].items()} == {
        name: value.shape for name, value in backbone.items()
    }


def test_command_lines_refuse_in_one_sentence(resnet, tmp_path):
    for tool, src, config, words in (
        ('kmax_pytorch_to_mmdet.py', tmp_path / 'none.pth', KMAX_PYTORCH, 'does not exist'),
        ('deeplab2_to_mmdet.py', resnet, KMAX_PYTORCH, 'set model.backbone.with_max_pool=False'),
    ):
        done = run_tool(tool, src, tmp_path / 'out.pth', '--config', config)
        assert done.returncode == 1 and words in done.stderr and str(src) in done.stderr, (
            done.stderr
        )
        assert (
            done.stderr.startswith('Error: ')
            and done.stderr.count('\n') == 1
            and not (tmp_path / 'out.pth').exists()
        )


def test_reading_what_is_no_checkpoint(tmp_path):
    (tmp_path / 'text.pth').write_text('no checkpoint')
    torch.save([torch.zeros(2)], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='is damaged or is no checkpoint'):
        read_pytorch(str(tmp_path / 'text.pth'))
    (tmp_path / 'text.npz').write_text('no checkpoint')
    with pytest.raises(ValueError, match='text.npz is no .npz file of arrays'):
        read_deeplab2(str(tmp_path / 'text.npz'))
    with pytest.raises(ValueError, match='holds no tensors by name'):
        read_pytorch(str(tmp_path / 'list.pth'))
    with pytest.raises(FileNotFoundError, match='ckpt-1.index does not exist; give the prefix'):
        read_deeplab2(str(tmp_path / 'ckpt-1'))
    with pytest.raises(FileNotFoundError, match='none.npz does not exist'):
        read_deeplab2(str(tmp_path / 'none.npz'))


def test_without_tensorflow_the_sentence_names_what_to_install(tmp_path, monkeypatch):
    (tmp_path / 'ckpt-1.index').write_bytes(b'')
    import_module = builtins.__import__

    def without_tensorflow(name, *args, **kwargs):
        if name == 'tensorflow':
            raise ImportError(name)
        return import_module(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_tensorflow)
    with pytest.raises(
        ModuleNotFoundError, match=r'pip install "cmt-deeplab\[convert\]".*numpy.savez'
    ):
        read_deeplab2(str(tmp_path / 'ckpt-1'))


def test_reading_a_checkpoint_of_tensorflow(tmp_path):
    tf = pytest.importorskip('tensorflow')
    module = tf.Module()
    module.kernel, module.count = tf.Variable(tf.ones((3, 3, 2, 5))), tf.Variable(1)
    path = tf.train.Checkpoint(encoder=module).save(str(tmp_path / 'ckpt'))
    tensors, bookkeeping = read_deeplab2(path)
    assert {name: tuple(value.shape) for name, value in tensors.items()} == {
        'encoder/kernel': (5, 2, 3, 3)
    } and bookkeeping == 2


def test_names_of_before_2022(tmp_path):
    """The fuses of MaX-DeepLab were named apart from the backbone's only later; one of the backbone keeps its name."""
    names = (
        '_decoder_stage5_resized_fuse/_strided_conv_bn1',
        '_decoder_stage5_extra/_block1/_conv1_bn_act',
        '_decoder_stage1_resized_fuse/_resized_conv_bn1',
        '_decoder_stage1/_block1/_conv1_bn_act',
    )
    np.savez(
        tmp_path / 'source.npz',
        **{f'encoder/{name}/_conv/kernel': np.zeros((1, 1, 2, 3), np.float32) for name in names},
    )
    tensors, _ = read_deeplab2(str(tmp_path / 'source.npz'))
    assert set(tensors) == {
        f'encoder/{name}/_conv/kernel'
        for name in ('_decoder_stage5_extra_resized_fuse/_strided_conv_bn1', *names[1:])
    }


def test_every_name_of_max_deeplab_l():
    variables = Variables(device='meta')
    max_deeplab_l(variables, torch.empty(1, 65, 65, 3, dtype=torch.float64, device='meta'))
    source = {
        name: torch.empty(pytorch_axes(name, value).shape, device='meta')
        for name, value in variables.items()
    }
    with torch.device('meta'):
        model = MODELS.build(
            Config.fromfile(
                ROOT / 'configs/max_deeplab/max-deeplab-l_8xb8-100k_coco-panoptic-641.py'
            ).model
        )
    conversion = convert(source, model, DEEPLAB2)
    assert conversion.unused == [] and conversion.unfilled == [] and len(conversion.parts) == 5
    assert sum(value.numel() for value in source.values()) > 450_000_000
