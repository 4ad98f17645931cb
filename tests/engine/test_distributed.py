"""Two processes on the CPU: tools/dist_train.sh and dist_test.sh, gradients, and mistakes."""

import json
import re
import runpy
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from cmt_deeplab.engine import distributed
from cmt_deeplab.errors import UserError
from command_line import CONFIG, ROOT, environment, run
from mmengine.model import MMDistributedDataParallel
from processes import free_port, in_processes
from toy_run import toy_runner


def scalars(work_dir) -> list:
    lines = '\n'.join(path.read_text() for path in sorted(work_dir.glob('*/vis_data/scalars.json')))
    return [json.loads(line) for line in lines.splitlines()]


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in dict(RANK='1', LOCAL_RANK='1', WORLD_SIZE='4', LOCAL_WORLD_SIZE='4').items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    with pytest.raises(
        ValueError, match='4 processes were started on this machine, which has 2 GPUs'
    ):
        distributed.init_process_group(launcher='pytorch')


def test_two_processes_train_and_count_no_sample_twice(tmp_path, monkeypatch):
    monkeypatch.setenv('PORT', str(free_port()))
    # not a plain batch norm, whose statistics differ from process to process
    norm = ('model.norm=LayerNorm',)
    finished = run(
        ROOT / 'tools/dist_train.sh',
        CONFIG,
        2,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_iters=4',
        *norm,
        '--amp',
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert (
        'broadcast_buffers' not in finished.stderr and 'bucket view strides' not in finished.stderr
    )
    logged = scalars(tmp_path)
    assert [entry['iter'] for entry in logged if 'loss' in entry] == [1, 2, 3, 4]
    # five samples on two processes: one pads
    trained = [entry for entry in logged if 'toy/count' in entry][-1]
    assert trained['toy/count'] == trained['toy/distinct'] == 5
    assert 'Effective batch size 4 = 2 images x 2 processes' in finished.stdout + finished.stderr

    monkeypatch.setenv('PORT', str(free_port()))
    test_dir = tmp_path / 'test'
    finished = run(
        ROOT / 'tools/dist_test.sh',
        CONFIG,
        tmp_path / 'iter_4.pth',
        2,
        '--work-dir',
        test_dir,
        '--cfg-options',
        *norm,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    results = json.loads(next(test_dir.glob('*/*.json')).read_text())
    assert results['toy/count'] == results['toy/distinct'] == 5
    assert abs(results['toy/mean'] - trained['toy/mean']) < 1e-6


OURS = 'PanopticDistributedDataParallel'


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, dict(type=OURS)),
        (dict(find_unused_parameters=True), dict(type=OURS, find_unused_parameters=True)),
        (
            dict(find_unused_parameters=True, model_wrapper_cfg=dict(static_graph=True)),
            dict(type=OURS, find_unused_parameters=True, static_graph=True),
        ),
        (
            dict(
                model_wrapper_cfg=dict(
                    type='MMDistributedDataParallel', find_unused_parameters=True
                )
            ),
            dict(type=OURS, find_unused_parameters=True),
        ),
        (dict(model_wrapper_cfg=dict(type=MMDistributedDataParallel)), dict(type=OURS)),
        (dict(model_wrapper_cfg=dict(type='Other')), dict(type='Other')),
    ],
)
def test_the_runner_wraps_the_model_as_the_config_asks(tmp_path, monkeypatch, options, expected):
    found = []
    monkeypatch.setattr(
        'mmengine.runner.Runner.wrap_model', lambda self, cfg, model: found.append(cfg) or model
    )
    toy_runner(tmp_path, **options)
    assert found == [expected]


def test_two_values_of_find_unused_parameters_are_refused(tmp_path):
    wrapper = dict(find_unused_parameters=False)
    with pytest.raises(UserError, match='model_wrapper_cfg.find_unused_parameters=False'):
        toy_runner(tmp_path, find_unused_parameters=True, model_wrapper_cfg=wrapper)


def train_with_an_unused_parameter(folder: Path) -> list:
    results = []
    wrapper = dict(type='MMDistributedDataParallel', find_unused_parameters=True)
    for options in ({}, dict(find_unused_parameters=True), dict(model_wrapper_cfg=wrapper)):
        runner = toy_runner(
            folder / str(len(results)),
            launcher='pytorch',
            model__norm='LayerNorm',
            model__unused=True,
            train_cfg__max_iters=2,
            **options,
        )
        try:
            runner.train()
            results.append('trained')
        except UserError as error:
            results.append(str(error))
    return results


def test_a_parameter_without_a_gradient_in_two_processes(tmp_path):
    for refused, *trained in in_processes(2, train_with_an_unused_parameter, tmp_path):
        assert '(spare.weight, spare.bias): set find_unused_parameters=True' in refused
        assert trained == ['trained', 'trained']


def test_a_mistake_in_a_distributed_run_is_one_sentence(monkeypatch):
    monkeypatch.setenv('PORT', str(free_port()))
    finished = run(ROOT / 'tools/dist_train.sh', 'no_config.py', 2)
    assert finished.returncode == 1 and 'Traceback' not in finished.stderr
    assert '\nError: The config no_config.py does not exist' in f'\n{finished.stderr}'


def test_a_process_that_fails_alone_is_named_with_its_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv('PORT', str(free_port()))
    options = ('--cfg-options', 'train_dataloader.dataset.mistaken_rank=1')
    finished = run(ROOT / 'tools/dist_train.sh', CONFIG, 2, '--work-dir', tmp_path, *options)
    assert finished.returncode == 1 and 'Traceback' not in finished.stderr
    lines = finished.stderr.splitlines()
    assert lines[-2].startswith('Rank 1 of 2 (')
    assert lines[-1] == 'Error: Process 1 has no data: correct data_root.'


def test_the_launchers_refuse_what_is_no_whole_number(tmp_path, monkeypatch):
    """bash would evaluate it as an expression, in which $(...) runs a command."""
    command = f'a[$(touch {tmp_path}/harm)]'
    values = (command, '', '0', '08', '-1', '1e3', '2 3', '1234567', 'two')
    for value in values:
        finished = run(ROOT / 'tools/dist_train.sh', 'config.py', value)
        assert finished.returncode == 2
        assert finished.stderr.startswith(f"Error: PROCESSES is '{value}', but must be a whole")
    names = ('NNODES', 'NODE_RANK', 'PORT', 'TORCH_ELASTIC_SHUTDOWN_TIMEOUT')
    for name in (*names, 'GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK'):
        arguments = ('dist_test.sh', 'config.py', 'a.pth', 2)
        if 'PU' in name:
            arguments = ('slurm_test.sh', 'part', 'job', 'config.py', 'a.pth')
        with monkeypatch.context() as patch:
            patch.setenv(name, command)
            finished = run(ROOT / 'tools' / arguments[0], *arguments[1:])
        assert finished.returncode == 2
        assert finished.stderr.startswith(f"Error: {name} is '{command}'")
    assert not (tmp_path / 'harm').exists()
    for name, value, most in (('NODE_RANK', '1', 0), ('PORT', '65536', 65535)):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            finished = run(ROOT / 'tools/dist_train.sh', 'config.py', 2)
        assert finished.returncode == 2 and f'to {most}.' in finished.stderr


@pytest.mark.slow  # 20 s
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT'])
def test_a_signal_to_the_launcher_stops_training_with_a_checkpoint(tmp_path, monkeypatch, name):
    monkeypatch.setenv('PORT', str(free_port()))
    options = ('--cfg-options', 'train_cfg.max_iters=1000000', 'model.norm=LayerNorm')
    arguments = (ROOT / 'tools/dist_train.sh', CONFIG, 2, '--work-dir', tmp_path, *options)
    process = subprocess.Popen(
        [str(each) for each in arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        if 'Iter(train) [  ' in line:
            process.send_signal(getattr(signal, name))
            break
    rest = process.communicate()[0]
    assert process.returncode == 128 + getattr(signal, name)
    stopped = re.search(rf'Stopped by {name} after iteration (\d+): the checkpoint', rest)
    assert (tmp_path / f'iter_{stopped[1]}.pth').exists() and 'Traceback' not in rest


def test_variables_of_a_launcher_that_are_no_numbers_are_named(monkeypatch):
    whole = dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_PORT='29500', MASTER_ADDR='')
    for name, value in [
        ('RANK', '1'),
        ('RANK', '-1'),
        ('LOCAL_RANK', 'q'),
        ('WORLD_SIZE', '0'),
        ('MASTER_PORT', '99999'),
    ]:
        for each in whole.items():
            monkeypatch.setenv(*each)
        monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=f"variable {name} is '{value}', but must be a whole"):
            distributed.init_process_group(launcher='pytorch')


def test_a_port_in_use_is_one_sentence(monkeypatch, capsys):
    launch = runpy.run_path(str(ROOT / 'tools/launch.py'))['main']
    with socket.create_server(('0.0.0.0', 0)) as other:
        port = other.getsockname()[1]
        options = ['--master_addr=127.0.0.1', f'--master_port={port}', 'train.py']
        monkeypatch.setattr('sys.argv', ['launch.py', *options])
        monkeypatch.setattr('logging.disable', lambda level: None)
        assert launch() == 1
    said = capsys.readouterr().err
    assert f'Error: The processes cannot meet at 127.0.0.1:{port} (' in said and 'set PORT' in said


def test_a_launcher_without_its_variables_is_named(monkeypatch):
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match='torchrun'):
        distributed.init_process_group(launcher='pytorch')
    with pytest.raises(ValueError, match='srun'):
        distributed.init_process_group(launcher='slurm')


def test_the_launchers_quote_their_arguments_and_take_the_environment(tmp_path, monkeypatch):
    """A stand-in for the interpreter and for srun prints what it was given, an argument a line."""
    stand_in = tmp_path / 'srun'
    stand_in.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{environment()["PATH"]}')
    monkeypatch.setenv('SRUN_ARGS', '--quiet --exclusive')
    monkeypatch.setenv('GPUS', '4')
    monkeypatch.setenv('GPUS_PER_NODE', '2')
    options = ('--cfg-options', 'a=[(1, 2), (3, 4)]')
    given = run(
        ROOT / 'tools/slurm_train.sh', 'part', 'job', 'a config.py', 'work', *options
    ).stdout.splitlines()
    assert given[-2:] == list(options) and 'a config.py' in given
    assert {
        '--gres=gpu:2',
        '--ntasks-per-node=2',
        '--ntasks=4',
        '--quiet',
        '--exclusive',
        '--cpus-per-task=5',
        '--launcher',
    } < set(given)
    given = run(
        ROOT / 'tools/slurm_test.sh', 'part', 'job', 'config.py', 'a.pth', *options
    ).stdout.splitlines()
    assert given[-2:] == list(options) and given[given.index('config.py') + 1] == 'a.pth'
    monkeypatch.setattr('command_line.sys.executable', str(stand_in))
    for name, value in dict(
        NNODES='2', NODE_RANK='1', PORT='1234', MASTER_ADDR='10.0.0.1', OMP_NUM_THREADS='1'
    ).items():
        monkeypatch.setenv(name, value)
    given = run(ROOT / 'tools/dist_train.sh', 'a config.py', 3, *options).stdout.splitlines()
    assert given[-2:] == list(options) and 'a config.py' in given
    assert {
        '--nnodes=2',
        '--node_rank=1',
        '--master_port=1234',
        '--master_addr=10.0.0.1',
        '--nproc_per_node=3',
    } < set(given)
