"""A mistake of the user is one sentence, wherever it comes to light; a fault keeps its trace."""

import errno

import pytest
import torch
from cmt_deeplab.compat import CompiledOpMissing
from cmt_deeplab.errors import MissingFileError, UserError, report_user_errors, user_sentence
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import Registry
from torch.utils.data import DataLoader
from toy_run import toy_runner


class FaultyHook(Hook):
    def __init__(self, fault):
        self.fault = fault

    def before_train(self, runner):
        self.fault()


def caught(raising: BaseException) -> BaseException:
    """The error after it has been raised, with its trace."""
    try:
        raise raising
    except BaseException as error:
        return error


def test_a_mistake_ends_the_command_line_with_one_sentence_and_code_1(capsys):
    @report_user_errors()
    def main():
        raise UserError('the sentence')

    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr().err == 'Error: the sentence\n'


def test_a_fault_of_the_program_keeps_its_stack_trace():
    with pytest.raises(ValueError, match='invalid literal'), report_user_errors():
        int('x')


def test_an_error_stands_for_the_one_that_it_was_raised_from():
    mistake = MissingFileError('no such file')
    wrapped = RuntimeError('could not build')
    wrapped.__cause__ = mistake
    assert user_sentence(caught(wrapped)) == 'no such file'


def test_a_failed_import_of_mmengine_stands_for_its_reason():
    def load():
        try:
            raise UserError('torch is too old')
        except ValueError:
            raise ImportError('Failed to import cmt_deeplab')  # noqa: B904  (as mmengine does)

    with pytest.raises(ImportError) as error:
        load()
    assert user_sentence(error.value) == 'torch is too old'


@pytest.mark.parametrize(
    'raised, words',
    [
        (torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.'), 'the batch_size'),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: ..."), 'the batch_size'),
        (MemoryError(), 'the batch_size'),
        (OSError(errno.ENOSPC, 'No space left on device'), 'The disk is full'),
        (PermissionError(errno.EACCES, 'Permission denied', 'a/b'), 'a/b: Permission denied;'),
        (AssertionError('Torch not compiled with CUDA enabled'), "give the device 'cpu'"),
        (torch.distributed.DistNetworkError('address already in use'), 'MASTER_PORT'),
        (RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed.'), 'num_workers'),
        (RuntimeError('DataLoader worker (pid(s) 7) exited unexpectedly'), 'num_workers'),
        (RuntimeError('[pair.cc:5] Connection closed by peer'), 'may have been killed'),
    ],
)
def test_what_the_machine_refuses_is_a_sentence(raised, words):
    sentence = user_sentence(caught(raised))
    assert words in sentence and '\n' not in sentence


def speak_to_oneself():
    raise ValueError('a word of the user to himself')


def call_mmengine():  # which refuses the argument of this code, not one of the config
    Registry('x').register_module(force='no')


def build():  # what the code has written, and not the config
    MODELS.build(dict(type='NoSuchNetwork'))


def build_wrongly():
    MODELS.build(dict(type='PanopticResNet', depth=18, width=3))


def compute():
    torch.nn.functional.interpolate(torch.zeros(1, 1, 2, 2), size=1, scale_factor=2)


@pytest.mark.parametrize('fault', [speak_to_oneself, call_mmengine, build, build_wrongly, compute])
def test_faults_in_code_of_the_user_keep_their_trace(fault, tmp_path):
    runner = toy_runner(tmp_path)
    runner.register_hook(FaultyHook(fault))
    with pytest.raises((ValueError, TypeError, KeyError)) as error:
        runner.train()
    assert not isinstance(error.value, UserError)


def test_a_fault_while_a_mistake_is_handled_is_not_hidden():
    def handle():
        try:
            raise UserError('a sentence')
        except UserError:
            return {}['a key that is not there']

    with pytest.raises(KeyError) as error:
        handle()
    assert user_sentence(error.value) is None


def fail_with_a_mistake(batch):
    raise MissingFileError(f'There is no image {batch[0]}: correct data_root.')


def fail_with_a_cause(batch):
    try:
        {}['absent']
    except KeyError as error:
        raise UserError('The image has no label.') from error


def fail_without_an_operator(batch):
    raise CompiledOpMissing('The operator is missing: build it.')


def fail_as_a_fault(batch):
    return batch[0] / 0


@pytest.mark.parametrize(
    'collate, sentence',
    [
        (fail_with_a_mistake, 'There is no image 7: correct data_root.'),
        (fail_with_a_cause, 'The image has no label.'),
        (fail_without_an_operator, 'The operator is missing: build it.'),
        (fail_as_a_fault, None),
    ],
)
def test_an_error_in_a_data_loading_process(collate, sentence):
    with pytest.raises((ValueError, ZeroDivisionError)) as error:
        list(DataLoader([7], num_workers=1, collate_fn=collate))
    assert user_sentence(error.value) == sentence


@pytest.mark.parametrize(
    'cfg, words',
    [
        (dict(type='NoSuchNetwork'), "'NoSuchNetwork', which is not among the registered models"),
        (dict(type='PanopticResNet', depth=18, dept=3), "ResNet the key 'dept'"),
        (dict(type='PanopticResNet'), 'does not give PanopticResNet its'),
        (dict(type='PanopticResNet', depth=19), 'one of 18'),
    ],
)
def test_a_type_or_an_argument_that_does_not_exist(cfg, words):
    with pytest.raises((KeyError, TypeError, ValueError)) as error:
        MODELS.build(cfg)
    sentence = user_sentence(error.value)
    assert sentence and words in sentence and '\n' not in sentence


def test_an_argument_of_the_model_is_not_blamed_on_the_user():
    """As where a head of mmdet gives its pixel decoder more than the user has written."""
    config = Config(dict(model=dict(neck=dict(type='FPN', in_channels=[8], out_channels=8))))
    with pytest.raises(TypeError) as error:
        MODELS.build(dict(config.model.neck, num_outs=1, feat_channels=8))
    sentence = user_sentence(error.value)
    assert 'model.neck is of the type FPN, which does not fit' in sentence
    assert "the model gives it 'feat_channels'" in sentence
    merge = dict(type='PanopticMaskWiseMerge', num_things_classes=6, num_stuff_classes=5)
    config = Config(dict(model=dict(panoptic_fusion_head=merge)))
    with pytest.raises(TypeError) as error:  # its parent has the constructor
        MODELS.build(dict(config.model.panoptic_fusion_head, test_cfg=None))
    assert "model gives it 'test_cfg'" in user_sentence(error.value)


def test_what_a_hook_of_mmdet_demands_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r'custom_hooks.0 \(MeanTeacherHook\) cannot .*: `assert'):
        toy_runner(tmp_path, custom_hooks=[dict(type='MeanTeacherHook')]).train()


def test_a_fault_inside_a_constructor_is_not_taken_for_a_mistake_in_the_config():
    class Part:
        def __init__(self, width):
            self.width = width

    @MODELS.register_module(force=True)
    class FaultyNetwork:
        def __init__(self):
            self.part = Part()

    with pytest.raises(TypeError, match='width') as error:
        MODELS.build(dict(type='FaultyNetwork'))
    assert user_sentence(error.value) is None
    MODELS.module_dict.pop('FaultyNetwork')
