"""The converters' command lines and readers: what they print and what they refuse."""

import builtins
from pathlib import Path

import numpy as np
import pytest
import torch
from cmt_deeplab.analysis.config_model import build_without_values
from cmt_deeplab.converters.read import read_deeplab2, read_pytorch
from cmt_deeplab.errors import UserError
from deeplab2_reference import Net, Variables, encoder
from mmengine.config import Config
from run_tool import ROOT, run_tool

DEEPLAB2 = 'model_converters/deeplab2_to_mmdet.py'
KMAX_PYTORCH = 'model_converters/kmax_pytorch_to_mmdet.py'
CONFIGS = ROOT / 'configs' / 'kmax_deeplab'
TF_CONFIG = CONFIGS / 'kmax-deeplab_r50-tf_8xb8-150k_coco-panoptic-641.py'
PYTORCH_CONFIG = CONFIGS / 'kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py'


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
    path = tmp_path / 'made' / 'ours.pth'
    done = run_tool(DEEPLAB2, resnet, path, '--config', TF_CONFIG)
    assert done.returncode == 0, done.stderr
    head = '318 tensors converted: backbone\nnames of the source not used: 1\n'
    assert f'{head}    encoder/_classifier/kernel\n' in done.stdout
    assert 'names of the network not filled: 1099\n    panoptic_head.' in done.stdout
    assert 'left out: 1\nwritten: ' in done.stdout
    written = torch.load(path, weights_only=True)
    classes = written['meta'].pop('dataset_meta')['classes']
    assert classes[0] == 'person', "mmdet's inference API names the classes by it"
    assert written['meta'] == dict(converted_from='resnet50.npz', parts=['backbone'])
    model = build_without_values(Config.fromfile(TF_CONFIG).model)
    assert {name: value.shape for name, value in written['state_dict'].items()} == {
        f'backbone.{name}': value.shape for name, value in model.backbone.state_dict().items()
    }


def test_command_lines_refuse_in_one_sentence(resnet, tmp_path):
    for tool, src, words in (
        (KMAX_PYTORCH, tmp_path / 'none.pth', 'does not exist'),
        (DEEPLAB2, resnet, 'set model.backbone.with_max_pool=False'),
    ):
        done = run_tool(tool, src, tmp_path / 'out.pth', '--config', PYTORCH_CONFIG)
        assert done.returncode == 1 and words in done.stderr and str(src) in done.stderr
        assert done.stderr.startswith('Error: ') and done.stderr.count('\n') == 1
        assert not (tmp_path / 'out.pth').exists()


def test_reading_leaves_out_what_is_no_weight(tmp_path):
    kernel, suffix = np.ones((3, 3, 2, 5), np.float32), '/.ATTRIBUTES/VARIABLE_VALUE'
    arrays = {
        f'encoder/kernel{suffix}': kernel,
        f'encoder/kernel/.OPTIMIZER_SLOT/optimizer/m{suffix}': kernel,
        f'optimizer/iter{suffix}': np.int64(7),
        f'save_counter{suffix}': np.int64(1),
        f'global_step{suffix}': np.int64(7),
    }
    np.savez(tmp_path / 'source.npz', **arrays)
    tensors, bookkeeping = read_deeplab2(str(tmp_path / 'source.npz'))
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    assert shapes == {'encoder/kernel': (5, 2, 3, 3)} and bookkeeping == 4


def test_reading_what_is_no_checkpoint(tmp_path):
    (tmp_path / 'text.pth').write_text('no checkpoint')
    torch.save([torch.zeros(2)], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='is damaged or is no checkpoint'):
        read_pytorch(str(tmp_path / 'text.pth'))
    bomb, honest = str(tmp_path / 'bomb.npz'), str(tmp_path / 'honest.npz')
    np.savez_compressed(bomb, **{f'encoder/{k}/kernel': np.zeros(1 << 22) for k in range(4)})
    with pytest.raises(UserError, match='bomb.npz unpacks to 128 MiB, much more than weights'):
        read_deeplab2(bomb)
    np.savez_compressed(honest, **{'encoder/kernel': np.zeros((1, 1 << 20), np.float32)})
    assert len(read_deeplab2(honest)[0]) == 1
    (tmp_path / 'text.npz').write_text('no checkpoint')
    with pytest.raises(ValueError, match='text.npz is no .npz file of arrays'):
        read_deeplab2(str(tmp_path / 'text.npz'))
    torch.save({}, tmp_path / 'torch.npz')
    with pytest.raises(UserError, match='torch.npz is no .npz file of arrays'):
        read_deeplab2(str(tmp_path / 'torch.npz'))
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
    """The fuses of MaX-DeepLab were named apart from the backbone's only later.

    One of the backbone keeps its name.
    """
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
