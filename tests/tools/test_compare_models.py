"""compare_models.py: one table of models that run in turn, and short equal trainings."""

import json
import sys
from pathlib import Path

import pytest
import torch
from cmt_deeplab.analysis.compared_model import ComparedModel, SharedData, build_network, read_model
from cmt_deeplab.analysis.learning_curve import training_config
from cmt_deeplab.errors import UserError
from mmengine.config import Config
from run_tool import ROOT, run_tool

CONFIGS = ROOT / 'configs'
TINY = CONFIGS / 'cmt_deeplab' / 'cmt-deeplab_tiny_shapes.py'
PEER = CONFIGS / 'peers' / 'mask2former_tiny_shapes.py'
TOOL = 'analysis_tools/compare_models.py'


@pytest.fixture(autouse=True)
def short_names_leave():
    """The harness and its neighbors are found beside the tool, under short names."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for name in ('harness', 'whole_models'):
        sys.modules.pop(name, None)


@pytest.fixture
def leaf(shapes_root, tmp_path) -> Path:
    """The tiny model on the few scenes of the tests."""
    path = tmp_path / 'ours.py'
    path.write_text(
        f"_base_ = '{TINY}'\n"
        f"data_root = '{shapes_root}/'\n"
        'train_dataloader = dict(num_workers=0, dataset=dict(data_root=data_root))\n'
        'val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(data_root=data_root))\n'
        "val_evaluator = dict(ann_file=data_root + 'annotations/panoptic_val2017.json',\n"
        "                     seg_prefix=data_root + 'annotations/panoptic_val2017/')\n"
    )
    return path


def test_one_table_with_curves(leaf, tmp_path):
    files = {name: tmp_path / 'new' / f'out.{name}' for name in ('json', 'markdown', 'plot')}
    files['plot'] = tmp_path / 'new' / 'out.png'
    options = [item for name, path in files.items() for item in (f'--{name}', path)]
    options += ['--work-dir', tmp_path / 'work', '--runs', 1, '--batch', 2, '--images', 2]
    done = run_tool(TOOL, leaf, PEER, *options, '--train', 2)
    assert done.returncode == 0, done.stderr
    ours, peer = json.loads(files['json'].read_text())['models']
    for model in (ours, peer):
        figures = model['figures']
        assert figures['input'] == '96x96' and figures['macs'] > 1e8
        assert figures['held_mib'] * 2**20 > 12 * figures['trainable'], 'AdamW keeps two averages'
        assert figures['step.peak_mib'] > 1
        assert figures['merged.p95_ms'] >= figures['merged.median_ms'] > 0
        assert 0 <= figures['PQ'] <= 100 and 'RQ_st' in figures
        assert [point['iteration'] for point in model['curve']] == [1, 2]
        assert 0 < model['curve'][0]['processor_s'] < model['curve'][1]['processor_s']
    assert ours['figures']['network.ratio'] == ours['figures']['step.ratio'] == 1
    assert ours['figures']['trainable'] == 1_591_018 and ours['figures']['params'] == 1_341_634
    assert files['plot'].read_bytes().startswith(b'\x89PNG')
    table = ' '.join(files['markdown'].read_text().split())  # without the blanks of its columns
    assert '| parameters at inference, M | 1.342 | 1.253 |' in table
    assert '| PQ all, % |' in table and 'mask2former_tiny_shapes' in done.stdout
    assert (tmp_path / 'work' / 'ours' / 'iter_2.pth').is_file()


def test_random_weights_have_no_pq_and_a_failure_stops_no_other(leaf, tmp_path):
    (tmp_path / 'broken.py').write_text(
        f"_base_ = '{leaf}'\nmodel = dict(backbone=dict(depth=19))\n"
    )
    (tmp_path / 'coco.py').write_text(
        f"_base_ = '{leaf}'\nmodel = dict(num_things_classes=80, num_stuff_classes=53)\n"
    )
    options = ['--runs', 1, '--batch', 1, '--json', tmp_path / 'out.json']
    options += ['--markdown', '/dev/full']
    done = run_tool(TOOL, leaf, tmp_path / 'broken.py', tmp_path / 'coco.py', *options)
    assert done.returncode == 1, 'a model failed'
    ours, broken, coco = json.loads((tmp_path / 'out.json').read_text())['models']
    assert 'PQ' not in ours['figures'] and 'random weights' in ours['notes'][0]
    assert broken['failed'] and len(broken['notes']) == 1 and '19' in broken['notes'][0]
    assert not broken['figures']
    assert coco['notes'][0] == 'class counts set to those of the data, 6 + 5'
    assert coco['figures']['params'] == ours['figures']['params']
    line = next(line for line in done.stdout.splitlines() if line.startswith('| PQ all'))
    assert [cell.strip() for cell in line.split('|')[2:-1]] == ['-', '-', '-']
    assert 'No space left' in done.stderr and done.stderr.count('Error: ') == 1


def test_a_checkpoint_of_other_classes_has_no_pq(leaf, tmp_path):
    data = SharedData(Config.fromfile(str(leaf)))
    config = Config.fromfile(str(leaf))
    config.model.num_things_classes = 80
    model = ComparedModel('other', config, checkpoint='other.pth')
    data.fit_classes(model)
    assert model.other_classes and model.config.model.num_things_classes == 80
    assert 'has not the 6 + 5 classes' in model.notes[0]


def test_equal_for_all_and_each_models_own(leaf, tmp_path):
    data = SharedData(Config.fromfile(str(leaf)))
    options = dict(iterations=100, seed=5, work_dir=tmp_path)
    ours = training_config(ComparedModel('a', data.config), data, **options)
    peer = training_config(ComparedModel('b', Config.fromfile(str(PEER))), data, **options)
    for key in ('train_cfg', 'val_evaluator', 'randomness', 'default_hooks'):
        assert ours[key] == peer[key]
    assert ours.train_cfg.max_iters == 100 and ours.train_cfg.val_interval == 10
    assert ours.train_dataloader.sampler == peer.train_dataloader.sampler
    roots = {config.train_dataloader.dataset.data_root for config in (ours, peer)}
    assert len(roots) == 1, 'the same images'
    assert ours.train_dataloader.dataset.pipeline[-1].type == 'PackPanopticInputs'
    assert peer.train_dataloader.dataset.pipeline[-1].type == 'PackDetInputs'
    assert ours.optim_wrapper.optimizer.lr == 3e-3 and peer.optim_wrapper.optimizer.lr == 1e-3
    assert ours.param_scheduler[0].warmup == 4, '100 of 2500 iterations'
    assert data.config.train_cfg.max_iters == 2500, 'the config itself is left as it was'


@pytest.mark.parametrize(
    ('argument', 'sentence'),
    [
        ('nowhere.py', 'nowhere.py does not exist'),
        (f'{TINY}:nowhere.pth', 'The checkpoint nowhere.pth'),
        (f'{TINY}:', 'names no checkpoint behind the colon'),
        ('mmdet::solo/nothing', 'is not to be found'),
        (CONFIGS / '_base_' / 'default_runtime.py', 'has no model'),
    ],
)
def test_what_is_not_there_is_said_at_once(argument, sentence):
    with pytest.raises(UserError, match=sentence):
        read_model(str(argument))


def test_a_folder_whose_name_ends_like_a_config(leaf, tmp_path):
    folder = tmp_path / 'a b.py:c'
    folder.mkdir()
    config, checkpoint = folder / 'own.py', folder / 'own.pth'
    config.write_bytes(leaf.read_bytes())
    checkpoint.touch()
    assert (read_model(str(config)).name, read_model(str(config)).checkpoint) == ('own', None)
    assert read_model(f'{config}:{checkpoint}').checkpoint == str(checkpoint)


def test_a_checkpoint_of_another_model_is_named(leaf, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'conv.weight': torch.zeros(3)}), path)
    model = read_model(f'{leaf}:{path}')
    model.attempt(build_network, SharedData(model.config), 'cpu')
    assert model.failed and 'other.pth is one of another model, as conv.weight' in model.notes[0]


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--runs', 0], '--runs: 0 is not a whole number of at least 1'),
        (['--device', 'cuda'], 'torch finds no GPU'),
        (['--device', 'gpu'], '--device gpu is unknown'),
        (['--json', CONFIGS], 'cannot be written'),
        (['--plot', 'pq.picture'], 'pq.picture names no picture'),
        (['--data', CONFIGS / '_base_' / 'default_runtime.py'], 'has no train_dataloader'),
    ],
)
def test_a_wrong_option_is_one_sentence(leaf, options, sentence, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    done = run_tool(TOOL, leaf, *options)
    assert done.returncode and sentence in done.stderr and 'Traceback' not in done.stderr
