"""Training in shards (FSDP2), whose checkpoints are those of whole models."""

import pytest
import torch
from cmt_deeplab.errors import UserError
from processes import in_processes
from toy_run import toy_runner

SHARDED = dict(type='PanopticFullyShardedDataParallel')
OPTIONS = dict(
    launcher='pytorch',
    log_level='ERROR',
    model__norm='LayerNorm',
    optim_wrapper__clip_grad=dict(max_norm=0.1),
    optim_wrapper__accumulative_counts=2,
    train_cfg__max_iters=7,
    default_hooks__checkpoint__interval=3,  # in the middle of an accumulation
)


def figures_and_refusals(folder) -> list:
    """Train with both wrappers, resume, test, and try what is refused."""
    whole_run = toy_runner(folder / 'ddp', **OPTIONS)
    whole_run.train()
    sharded = toy_runner(folder / 'fsdp', model_wrapper_cfg=SHARDED, **OPTIONS)
    sharded.train()
    parameters = list(sharded.model.train().parameters())  # an evaluation has gathered them
    assert sum(p.to_local().numel() for p in parameters) < sum(p.numel() for p in parameters)
    resumed = dict(OPTIONS, resume=True, load_from=str(folder / 'fsdp/iter_3.pth'))
    toy_runner(folder / 'resumed', model_wrapper_cfg=SHARDED, **resumed).train()
    resumed['load_from'] = str(folder / 'ddp/iter_3.pth')
    toy_runner(folder / 'crossed', model_wrapper_cfg=SHARDED, **resumed).train()
    last = str(folder / 'fsdp/iter_7.pth')
    found = [
        runner.test()['toy/mean']
        for runner in (
            toy_runner(folder / f'test{i}', model_wrapper_cfg=wrapper, load_from=last, **OPTIONS)
            for i, wrapper in enumerate((None, SHARDED))
        )
    ]
    refused = []
    for options in (
        dict(model_wrapper_cfg=dict(SHARDED, parts=('bakbone',))),
        dict(model_wrapper_cfg=SHARDED, custom_hooks=[dict(type='EMAHook')]),
        dict(model_wrapper_cfg=dict(type='MMFullyShardedDataParallel')),
        dict(model_wrapper_cfg=SHARDED, runner_type='Runner'),
    ):
        with pytest.raises(UserError) as error:
            toy_runner(folder / 'refused', **OPTIONS, **options).train()
        refused.append(str(error.value))
    return found, refused


def test_a_run_in_shards_is_that_of_whole_models(tmp_path):
    (means, refused), _ = in_processes(2, figures_and_refusals, tmp_path)
    assert means[0] == means[1]
    words = "'bakbone'", 'EMAHook', 'MMFullyShardedDataParallel', "runner_type='PanopticRunner'"
    for refusal, word in zip(refused, words, strict=True):
        assert word in refusal
    names = 'ddp', 'fsdp', 'resumed', 'crossed'
    files = [torch.load(tmp_path / name / 'iter_7.pth') for name in names]
    for name, value in files[0]['state_dict'].items():
        torch.testing.assert_close(files[1]['state_dict'][name], value, msg=name)
        torch.testing.assert_close(files[3]['state_dict'][name], value, msg=name)
        torch.testing.assert_close(
            files[2]['state_dict'][name], files[1]['state_dict'][name], rtol=0, atol=0
        )
    moments = [file['optimizer']['state'] for file in files]
    for number, kept in moments[0].items():
        for key, value in kept.items():
            torch.testing.assert_close(moments[1][number][key], value)
            torch.testing.assert_close(
                moments[2][number][key], moments[1][number][key], rtol=0, atol=0
            )


def uneven(folder) -> list:
    """Five images on four processes, one by one, in training and in evaluation."""
    sampler = dict(type='DefaultSampler', shuffle=False, round_up=False)
    figures = []
    for wrapper in (None, SHARDED):
        options = dict(OPTIONS, train_cfg__max_iters=4, model_wrapper_cfg=wrapper)
        runner = toy_runner(
            folder / str(len(figures)),
            train_dataloader__dataset__length=5,
            train_dataloader__sampler=dict(sampler, _delete_=True),
            val_dataloader__sampler=sampler,
            **options,
        )
        runner.train()
        figures.append(runner.val())
    return figures


def test_processes_may_have_different_numbers_of_images(tmp_path):
    for figures in in_processes(4, uneven, tmp_path):
        assert figures[0] == pytest.approx(figures[1])
        assert figures[0]['toy/count'] == figures[0]['toy/distinct'] == 5
