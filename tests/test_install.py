"""The wheel, the requirements and the set-up script."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = (
    'setup.py',
    'MANIFEST.in',
    'LICENSE',
    'README.md',
    'model-index.yml',
    'requirements',
    'configs',
    'tools',
    'projects',
)


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel of a copy of the tree, built with the installed setuptools."""
    source = tmp_path_factory.mktemp('source')
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name,
                source / name,
                ignore=shutil.ignore_patterns('__pycache__', '*.egg-info'),
            )
        else:
            shutil.copy2(ROOT / name, source / name)
    options = ['--no-deps', '--no-build-isolation', '--no-index', '-w', str(source / 'out')]
    finished = subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', *options, str(source)],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return zipfile.ZipFile(next((source / 'out').glob('*.whl')))


def test_the_wheel_carries_every_module_config_and_tool(wheel):
    names = set(wheel.namelist())
    modules = {
        path.relative_to(ROOT / 'projects').as_posix()
        for path in (ROOT / 'projects' / 'cmt_deeplab').rglob('*.py')
    }
    carried = {
        f'cmt_deeplab/.mim/{path.relative_to(ROOT).as_posix()}'
        for folder in ('configs', 'tools')
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }
    assert len(modules) > 20 and len(carried) > 10
    assert modules | carried | {'cmt_deeplab/.mim/model-index.yml'} <= names
    assert not [
        name
        for name in names
        if '__pycache__' in name or name.startswith(('configs/', 'tools/', 'tests/'))
    ]
    assert any(name.endswith('LICENSE') for name in names)


def test_the_configs_of_the_wheel_resolve_their_bases(wheel, tmp_path):
    from mmengine.config import Config

    wheel.extractall(tmp_path)
    leaf = next((tmp_path / 'cmt_deeplab/.mim/configs/cmt_deeplab').glob('*.py'))
    assert Config.fromfile(leaf).custom_imports['imports'] == ['cmt_deeplab']


WITHOUT_CLONE = f"""
import sys
sys.path[:] = [path for path in sys.path if path != {str(ROOT / 'projects')!r}]
import cmt_deeplab_cli
assert cmt_deeplab_cli.__file__.startswith(sys.path[1]), cmt_deeplab_cli.__file__
"""


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """Runs ``cmt-deeplab`` of the installed wheel in another folder, with no clone to be found."""
    target, folder = (tmp_path_factory.mktemp(name) for name in ('installed', 'elsewhere'))
    options = ['--quiet', '--no-deps', '--no-index', '--target', str(target), wheel.filename]
    subprocess.run([sys.executable, '-m', 'pip', 'install', *options], check=True)
    command = (target / 'bin' / 'cmt-deeplab').read_text(encoding='utf-8')

    def run(*arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, '-c', WITHOUT_CLONE + command, *map(str, arguments)],
            cwd=folder,
            env=dict(os.environ, PYTHONPATH=str(target)),
            capture_output=True,
            text=True,
        )

    return run


def test_the_installed_wheel_knows_its_configs_and_tools(installed):
    configs = installed('configs').stdout.split()
    assert {'cmt-deeplab_tiny_shapes', 'cmt-deeplab_r50_8xb8-150k_coco-panoptic-641'} <= set(
        configs
    )
    assert len(configs) > 40 and not [name for name in configs if '_base_' in name]
    for command in ('train', 'test', 'compare'):
        assert f'usage: cmt-deeplab {command}' in installed(command, '--help').stdout
    named = installed('train', 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py', '--bogus').stderr
    assert 'unrecognized arguments: --bogus' in named


@pytest.mark.slow
def test_the_installed_wheel_trains_tests_and_predicts_by_name(installed, shapes_root, tmp_path):
    name, root = 'cmt-deeplab_tiny_shapes', f'{shapes_root}/'
    options = [f'{part}_dataloader.dataset.data_root={root}' for part in ('train', 'val', 'test')]
    options += [
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'train_dataloader.batch_size=2',
    ]
    options += [
        f'{part}_evaluator.{key}={root}annotations/panoptic_val2017{end}'
        for part in ('val', 'test')
        for key, end in (('ann_file', '.json'), ('seg_prefix', '/'))
    ]
    work = ('--work-dir', tmp_path / 'work', '--cfg-options', *options)
    trained = installed('train', name, *work)
    assert trained.returncode == 0, trained.stderr[-2000:]
    checkpoint = tmp_path / 'work' / 'iter_2.pth'
    tested = installed('test', name, checkpoint, *work)
    assert tested.returncode == 0 and 'coco_panoptic/PQ' in tested.stdout
    images = f'{root}val2017'
    predicted = installed('predict', checkpoint, images, '--out', tmp_path / 'out')
    assert predicted.returncode == 0 and (tmp_path / 'out' / 'panoptic.json').is_file()
    report = installed('report', tmp_path / 'work')
    assert report.returncode == 0 and (tmp_path / 'work' / 'report.html').is_file()
    for finished in (trained, tested, predicted, report):
        assert 'OneDL' not in finished.stdout + finished.stderr


@pytest.mark.slow
def test_the_page_on_own_data_by_the_installed_wheel(installed, tmp_path):
    """Its commands on 30 images of nuclei and masks, without a config and without weights."""
    from cmt_deeplab.datasets import write_shapes
    from layout_writers import instance_ids, save, scenes_of, write_images

    write_shapes(tmp_path / 'drawn', preset='nuclei', num_train=30, num_val=1, size=192)
    scenes, data = scenes_of(tmp_path / 'drawn'), tmp_path / 'nuclei'
    write_images(data / 'images', scenes)
    for scene in scenes:
        save(data / 'masks' / f'{scene.name}.png', instance_ids(scene))
    page = (ROOT / 'docs' / 'own_data.md').read_text(encoding='utf-8')
    doctor, train = (
        re.search(f'^    cmt-deeplab ({command} .*)$', page, re.MULTILINE)[1]
        for command in ('doctor', 'train')
    )
    examined = installed(*doctor.replace('DATA', str(data)).split())
    assert examined.returncode < 2 and 'centers' in examined.stdout, examined.stderr
    train = train.replace('DATA', str(data)).split()
    short = ('--iters', 2, '--batch', 2, '--weights', 'none', '--work-dir', tmp_path / 'work')
    trained = installed(*train, *short)
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert 'cluster centers: an image has up to' in trained.stdout
    report = (tmp_path / 'work' / 'report.html').read_text(encoding='utf-8')
    assert 'missed' in report and list((tmp_path / 'work' / 'pictures').glob('*.png'))
    predicted = installed('predict', tmp_path / 'work', data / 'images', '--out', tmp_path / 'out')
    assert predicted.returncode == 0 and len(list((tmp_path / 'out/overlay').iterdir())) == 30


def test_the_metadata_asks_for_no_stack_and_takes_any_safe_torch(wheel):
    metadata = wheel.read(
        next(name for name in wheel.namelist() if name.endswith('METADATA'))
    ).decode()
    lines = [line for line in metadata.splitlines() if line.startswith('Requires-Dist')]
    required = [line.split(':', 1)[1].strip() for line in lines if 'extra ==' not in line]
    assert 'torch>=2.10' in required  # an installed torch satisfies it
    assert not [line for line in required if re.match('mm|onedl|panopticapi|timm', line)]
    assert 'Requires-Python: >=3.10' in metadata and 'Apache-2.0' in metadata
    extras = {
        line.split(':')[1].strip()
        for line in metadata.splitlines()
        if line.startswith('Provides-Extra')
    }
    assert extras == {'mminstall', 'timm', 'supervision', 'export', 'demo', 'tests', 'convert'}


def test_building_does_not_import_torch():
    source = (ROOT / 'setup.py').read_text(encoding='utf-8')
    assert not re.search(
        r'^\s*(import|from) (torch|mm|cmt_deeplab|pkg_resources)', source, re.MULTILINE
    )


@pytest.mark.parametrize('stack', ['mminstall', 'mminstall-stock'])
def test_the_tested_versions_lie_in_the_ranges(stack):
    from packaging.requirements import Requirement

    constraints = 'constraints' if stack == 'mminstall' else 'constraints-stock'

    def read(name):
        lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
        return [Requirement(line) for line in lines if line.strip() and not line.startswith('#')]

    pinned = {
        r.name: next(iter(r.specifier)).version
        for r in read(constraints)
        if str(r.specifier).startswith('==')
    }
    ranges = [
        r
        for name in ('runtime', stack, 'tests', 'no_deps')
        for r in read(name)
        if r.name != 'setuptools'
    ]
    assert len(ranges) > 8
    for requirement in ranges:
        assert requirement.name in pinned, (
            f'{requirement.name} has no tested version in {constraints}.txt'
        )
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


@pytest.fixture
def clone(tmp_path) -> Path:
    """What the set-up script reads."""
    shutil.copytree(ROOT / 'requirements', tmp_path / 'requirements')
    (tmp_path / 'tools').mkdir()
    for name in ('setup.py', 'tools/setup_env.sh'):
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def bash(folder: Path, script: str, **env) -> subprocess.CompletedProcess:
    env = {'PATH': '/usr/bin:/bin', 'HOME': str(folder), **env}
    return subprocess.run(
        ['bash', '-uc', f'source tools/setup_env.sh; {script}'],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )


def test_set_up_names_what_is_wrong(clone):
    finished = bash(clone, 'setup_env fork', PYTHON='/nonexistent')
    assert (
        finished.returncode == 1 and 'PYTHON=/nonexistent is no Python >= 3.10' in finished.stderr
    )
    assert 'torch' not in finished.stderr and not (clone / '.venv').exists()
    finished = bash(clone, 'setup_env other')
    assert finished.returncode == 1 and "the stack 'other' is unknown" in finished.stderr


def make_environment(clone: Path) -> Path:
    (clone / '.venv' / 'bin').mkdir(parents=True)
    (clone / '.venv' / 'bin' / 'python').symlink_to(sys.executable)
    return clone / '.venv'


def test_a_finished_environment_is_used_at_once_until_a_requirement_changes(clone):
    venv = make_environment(clone)
    (venv / '.cmt_deeplab_stamp').write_text(bash(clone, 'setup_env_hash').stdout)
    finished = bash(clone, 'setup_env fork; echo $PYTHON')
    assert (
        finished.returncode == 0
        and finished.stdout.strip() == str(venv / 'bin' / 'python')
        and not finished.stderr
    )
    with (clone / 'requirements' / 'tests.txt').open('a') as file:
        file.write('another\n')
    before = (venv / '.cmt_deeplab_stamp').read_text()
    assert bash(clone, 'setup_env_hash').stdout != before


def test_what_an_interrupted_set_up_left_is_removed(clone):
    venv = make_environment(clone)
    (venv / '.cmt_deeplab_stamp').write_text(bash(clone, 'setup_env_hash').stdout)
    (venv / '.cmt_deeplab_unfinished').write_text('ours\n')
    (venv / 'half_installed').mkdir()
    finished = bash(clone, 'setup_env fork', PYTHON='/nonexistent')
    assert 'Removing the unfinished' in finished.stderr and not (venv / 'half_installed').exists()


def test_an_installed_torch_is_recognized():
    import torch

    finished = bash(ROOT, f'setup_env_torch_of {sys.executable}')
    assert finished.stdout.strip().split('+')[0] == torch.__version__.split('+')[0]
