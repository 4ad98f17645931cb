"""Updates that are not finite are never applied, told with what made them, and repeated."""

import math

import pytest
import torch
from cmt_deeplab.engine import PanopticAmpOptimWrapper, PanopticOptimWrapper
from cmt_deeplab.engine.optim.kept_buffers import KeptBuffers
from cmt_deeplab.engine.optim.replay import replay
from cmt_deeplab.errors import UserError
from mmdet.registry import HOOKS, MODELS, OPTIM_WRAPPERS
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from processes import in_processes
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from toy import InfiniteGradient, ToyModel
from toy_run import toy_config, toy_runner

NO_VALIDATION = dict(val_evaluator=None, val_dataloader=None, val_cfg=None)


@MODELS.register_module()
class FaultyModel(ToyModel):
    """A toy model of two terms and a buffer, which goes wrong in the iterations ``at``."""

    def __init__(self, at: tuple = (), how: str = 'nan', saves=False, **kwargs) -> None:
        super().__init__(**kwargs)
        self.at, self.how = at, how
        self.register_buffer('seen', torch.zeros(()))
        mask = torch.tensor([0.0, -math.inf])  # is no fault
        self.register_buffer('mask', mask, persistent=saves)

    def forward(self, inputs, index, mode='tensor'):
        found = super().forward(inputs, index, mode)
        if mode != 'loss':
            return found
        loss = found['loss']
        terms = {'loss_mask': loss, 's3.loss_mask': loss * 0.5, 'accuracy': torch.tensor(math.nan)}
        self.seen = self.seen + 1
        if MessageHub.get_current_instance().get_info('iter') + 1 not in self.at:
            return terms
        if self.how in ('nan', 'inf'):
            terms['s3.loss_mask'] = terms['s3.loss_mask'] * float(self.how)
        if self.how == 'weight 0':
            terms['s3.loss_mask'] = 0 * (loss + math.inf)
        if self.how == 'finite gradient':
            terms['s3.loss_mask'] = loss + math.nan
        if self.how == 'gradient':
            terms['loss_mask'] = InfiniteGradient.apply(loss)
        if self.how == 'large gradient':  # whose square is inf
            terms['loss_mask'] = loss + 1e25 * (loss - loss.detach())
        if self.how == 'statistics':
            self.norm.running_var.data.fill_(math.inf)
        if self.how == 'new buffer':
            self.seen = self.seen + math.nan
        if self.how == 'matching':
            raise ValueError('matrix contains invalid numeric entries')
        return terms


@HOOKS.register_module()
class StatesHook(Hook):
    """Keeps weights, buffers and moments, and the EMA, after each iteration."""

    priority = 'LOWEST'
    states: list = []

    def before_train(self, runner):
        self.states.clear()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        state = {key: value.clone() for key, value in runner.model.state_dict().items()}
        for number, moments in runner.optim_wrapper.optimizer.state_dict()['state'].items():
            state |= {f'{number}.{k}': torch.as_tensor(v).clone() for k, v in moments.items()}
        for hook in runner.hooks:
            for key, value in getattr(hook, 'ema_model', nn.Module()).state_dict().items():
                state[f'ema.{key}'] = value.clone()
        self.states.append(state)


def faulty(work_dir, how='nan', at=(3,), norm='BatchNorm1d', **options):
    model = dict(type='FaultyModel', how=how, at=at, norm=norm)
    options = {**NO_VALIDATION, 'custom_hooks': [dict(type='StatesHook')], **options}
    return toy_runner(work_dir, model=model, **options)


def same(first: dict, second: dict) -> bool:
    return all(torch.equal(first[key].nan_to_num(), second[key].nan_to_num()) for key in first)


HOW = {
    'nan': r'the loss is not finite: s3\.loss_mask \(stage 3\)',
    'inf': r'the loss is not finite: s3\.loss_mask \(stage 3\)',
    'weight 0': r'the loss is not finite: s3\.loss_mask \(stage 3\)',
    'finite gradient': r'the loss is not finite: s3\.loss_mask \(stage 3\)',
    'gradient': 'the loss is finite, but its gradients are not',
    'large gradient': 'the loss is finite, but its gradients are not',
    'statistics': 'the loss is finite, but a buffer of the model',
    'new buffer': 'the loss is finite, but a buffer of the model',
}


@pytest.mark.parametrize('how', HOW)
def test_a_step_that_is_not_finite_changes_nothing_and_is_told(tmp_path, how):
    runner = faulty(tmp_path, how)
    with pytest.raises(UserError, match=f'In iteration 3 {HOW[how]}.*changed no weight.*replay'):
        runner.train()
    assert len(StatesHook.states) == 3 and same(*StatesHook.states[1:])
    assert (tmp_path / 'not_finite_iter_3_rank0.pth').exists()


def test_the_hook_of_mmdet_does_not_stop_what_goes_on_by_option(tmp_path):
    hooks = [dict(type='CheckInvalidLossHook', interval=1)]
    runner = faulty(tmp_path, custom_hooks=hooks, optim_wrapper__skip_not_finite=True)
    runner.train()
    assert runner.message_hub.get_info('skipped_steps') == 1


def test_an_optimizer_that_computes_the_loss_itself_is_refused(tmp_path):
    lbfgs = dict(_delete_=True, type='LBFGS', lr=0.1)
    constructor = 'DefaultOptimWrapperConstructor'
    runner = faulty(
        tmp_path, optim_wrapper__optimizer=lbfgs, optim_wrapper__constructor=constructor
    )
    with pytest.raises(UserError, match='LBFGS, which computes the loss several times'):
        runner.train()


def test_a_mask_of_inf_is_saved_and_loaded(tmp_path):
    model = dict(type='FaultyModel', saves=True)
    toy_runner(tmp_path / 'a', model=model, train_cfg__max_iters=2, **NO_VALIDATION).train()
    first = str(tmp_path / 'a/iter_2.pth')
    toy_runner(tmp_path / 'b', model=model, load_from=first, resume=True, **NO_VALIDATION).train()


def test_an_assigner_that_meets_nan_is_no_stack_trace(tmp_path):
    runner = faulty(tmp_path, 'matching')
    with pytest.raises(UserError, match='In iteration 3 the network gave numbers that are not'):
        runner.train()


def test_the_last_step_is_told_too(tmp_path):
    with pytest.raises(UserError, match='In iteration 8 .*s3.loss_mask'):
        faulty(tmp_path, at=(8,)).train()


def test_a_fault_is_told_before_a_validation(tmp_path):
    runner = toy_runner(tmp_path, model=dict(type='FaultyModel', at=(4,)))
    with pytest.raises(UserError, match='In iteration 4 '):
        runner.train()


@pytest.mark.parametrize('how', ['nan', 'gradient', 'statistics', 'new buffer'])
def test_training_goes_on_by_option_and_counts(tmp_path, how):
    ema = dict(type='EMAHook', update_buffers=True)
    runner = faulty(
        tmp_path,
        how,
        at=(3, 5, 6),
        custom_hooks=[dict(type='StatesHook'), ema],
        optim_wrapper__skip_not_finite=2,
    )
    runner.train()
    states = StatesHook.states
    ours = [{k: v for k, v in each.items() if not k.startswith('ema')} for each in states]
    assert [same(*pair) for pair in zip(ours, ours[1:])] == [0, 1, 0, 1, 1, 0, 0]
    finite = (v.isfinite().all() for each in states for k, v in each.items() if 'mask' not in k)
    assert all(finite)
    checkpoint = torch.load(tmp_path / 'iter_8.pth', weights_only=True)
    assert checkpoint['message_hub']['runtime_info']['skipped_steps'] == 3
    log = next(tmp_path.glob('*/vis_data/scalars.json')).read_text()
    assert [f'"skipped_steps": {n}' in log for n in range(4)] == [True, True, True, True]
    assert len(list(tmp_path.glob('not_finite*'))) == 1


def test_too_many_in_a_row_end_training(tmp_path):
    runner = faulty(tmp_path, at=(2, 4, 5, 6), optim_wrapper__skip_not_finite=2)
    with pytest.raises(UserError, match='In iteration 6 .*3 steps in a row'):
        runner.train()


def test_updates_in_a_row_are_counted_whichever_iteration_is_at_fault(tmp_path):
    options = dict(optim_wrapper__accumulative_counts=2, optim_wrapper__skip_not_finite=2)
    runner = faulty(tmp_path, at=(2, 4, 6), **options)
    with pytest.raises(UserError, match='In iteration 6 .*3 steps in a row'):
        runner.train()


def test_a_resumed_run_continues_to_count(tmp_path):
    options = dict(optim_wrapper__skip_not_finite=True)
    faulty(tmp_path / 'a', at=(3,), train_cfg__max_iters=4, **options).train()
    checkpoint = dict(load_from=str(tmp_path / 'a/iter_4.pth'), resume=True)
    runner = faulty(tmp_path / 'b', at=(7,), **checkpoint, **options)
    runner.train()
    assert runner.message_hub.get_info('skipped_steps') == 2


@pytest.mark.parametrize(
    'how, at', [('finite gradient', (3,)), ('gradient', (4,)), ('gradient', (3, 4))]
)
def test_one_bad_iteration_of_an_accumulation_skips_the_step(tmp_path, how, at):
    options = dict(accumulative_counts=2, skip_not_finite=True)
    runner = faulty(tmp_path, how, at=at, **{f'optim_wrapper__{k}': v for k, v in options.items()})
    runner.train()
    weights = [{k: v for k, v in each.items() if 'weight' in k} for each in StatesHook.states]
    assert [same(*pair) for pair in zip(weights, weights[1:])][:6] == [0, 1, 1, 1, 0, 1]
    assert runner.message_hub.get_info('skipped_steps') == 1


@pytest.mark.parametrize('clip', [
    dict(max_norm=1), dict(max_norm=1, error_if_nonfinite=True), dict(type='value', clip_value=1)
])  # fmt: skip
def test_clipping_hides_nothing(tmp_path, clip):
    runner = faulty(tmp_path, 'gradient', optim_wrapper__clip_grad=clip)
    with pytest.raises(UserError, match='In iteration 3 the loss is finite, but its gradients'):
        runner.train()
    assert same(*StatesHook.states[1:])


def test_mixed_precision_on_the_cpu(tmp_path):
    with pytest.raises(UserError, match='In iteration 3 '):
        faulty(tmp_path, optim_wrapper__type='PanopticAmpOptimWrapper').train()
    assert same(*StatesHook.states[1:])


def test_weights_that_an_update_spoiled_are_named_in_place_of_images(tmp_path):
    runner = faulty(tmp_path, at=(), optim_wrapper__optimizer__lr=math.inf, param_scheduler=None)
    with pytest.raises(UserError, match='In iteration 2 .* An earlier update had made .*weight'):
        runner.train()
    assert not list(tmp_path.glob('iter_*.pth'))


def test_a_finite_run_is_the_same_bit_for_bit(tmp_path):
    """mmengine's wrapper by its full name, and ours, which takes the fused form, in its place."""
    weights = []
    for kind in ('OptimWrapper', OptimWrapper, 'mmengine.OptimWrapper'):
        options = dict(optim_wrapper__type=kind, **NO_VALIDATION)
        if kind == 'mmengine.OptimWrapper':
            options['optim_wrapper__optimizer__fused'] = True
        runner = toy_runner(tmp_path / str(len(weights)), **options)
        runner.train()
        own = isinstance(runner.optim_wrapper, PanopticOptimWrapper)
        assert own == (kind != 'mmengine.OptimWrapper')
        weights.append(runner.model.state_dict())
    assert same(weights[0], weights[1]) and same(weights[0], weights[2])


@pytest.mark.parametrize('how', ['finite gradient', 'gradient'])
def test_one_command_repeats_the_step(tmp_path, how):
    """The value that is not finite comes back too, as the fault follows from the iteration."""
    with pytest.raises(UserError):
        faulty(tmp_path, how).train()
    config = toy_config(tmp_path / 'replay', model=dict(type='FaultyModel', how=how, at=(3,)))
    lines = list(replay(config, str(tmp_path / 'not_finite_iter_3_rank0.pth')))
    terms = [line for line in lines if ' (was ' in line]
    assert len(terms) == 4
    for line in terms:
        now, was = line.rstrip(')').partition(': ')[2].split(' (was ')
        assert now == was
    assert ('backbone.weight' in lines[-1]) == (how == 'gradient')


def test_a_file_that_is_no_step_is_refused(tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'a.pth')
    with pytest.raises(UserError, match='holds no training step'):
        list(replay(toy_config(tmp_path / 'replay'), str(tmp_path / 'a.pth')))


@pytest.mark.parametrize('factor, dynamic, fault', [
    (1.0, True, None), (1e34, True, None), (1e34, False, 'gradients'), (math.nan, True, 'loss')
])  # fmt: skip
def test_a_dynamic_scale_that_falls_is_no_fault(factor, dynamic, fault):
    """The gradients of a finite loss overflow, as in float16 on a GPU."""
    model = nn.Linear(3, 1)
    wrapper = PanopticAmpOptimWrapper(optimizer=torch.optim.AdamW(model.parameters()))
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=2.0**16)
    wrapper._scale_update_param = None if dynamic else 2.0**16
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        loss = factor * model(torch.ones(2, 3)).float().abs().mean()
    wrapper.update_params(loss)
    assert torch.equal(before, model.weight) == (factor != 1)
    assert wrapper.loss_scaler.get_scale() == 2.0 ** (15 if dynamic and factor != 1 else 16)
    if fault is None:
        wrapper.report()
        return
    with pytest.raises(UserError, match=f'not finite .in {fault}.'):
        wrapper.report()


class HostAsks(TorchDispatchMode):
    """Refuses that the host asks for the value of a tensor, for which it would wait on a GPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize('bad', [False, True])
@pytest.mark.parametrize('kind, options', [
    ('SGD', {}), ('SGD', dict(momentum=0.9)), ('Adam', dict(amsgrad=True)), ('AdamW', {})
])  # fmt: skip
def test_a_fused_optimizer_decides_without_the_host(kind, options, bad):
    """As on a GPU, where the wrapper chooses the fused form."""
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.1, fused=True, **options)
    wrapper = PanopticOptimWrapper(optimizer=optimizer)

    def loss(factor: float) -> torch.Tensor:
        with wrapper.optim_context(model):
            return factor * model(torch.randn(4, 3)).square().mean()

    def state() -> dict:
        moments = optimizer.state_dict()['state'].items()
        named = {f'{n}.{k}': v for n, kept in moments for k, v in kept.items() if v is not None}
        return {key: value.clone() for key, value in (model.state_dict() | named).items()}

    wrapper.update_params(loss(1.0))
    before = state()
    wrapper.report()
    value = loss(math.nan if bad else 1.0)
    with HostAsks():
        wrapper.update_params(value)
    assert same(before, state()) == bad
    if bad:
        with pytest.raises(UserError, match='not finite .in loss.'):
            wrapper.report()
    wrapper.update_params(loss(1.0))
    assert not same(before, state())


def test_sgd_with_a_sparse_table_and_plain_groups():
    table = nn.Embedding(5, 2, sparse=True)
    config = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.5, momentum=0.9))
    wrapper = build_optim_wrapper(table, ConfigDict(config))
    assert all(type(group) is dict and group['fused'] for group in wrapper.optimizer.param_groups)
    before = table.weight.detach().clone()
    for factor in (1, torch.nan):  # the second update is skipped
        with wrapper.optim_context(table):
            loss = factor * table(torch.tensor([1])).sum()
        wrapper.update_params(loss)
    wrapper.tell = lambda faults, stops: None
    wrapper.report()
    before[1] -= 0.5
    assert torch.equal(table.weight, before)


def test_buffers_of_any_kind_are_kept():
    model = nn.Module()
    model.register_buffer('expanded', torch.zeros(1).expand(3))
    model.register_buffer('absent', None)
    model.register_buffer('empty', torch.zeros(0))
    model.register_buffer('flag', torch.tensor(True))
    model.register_buffer('grows', torch.zeros(2))
    model.register_buffer('table', torch.arange(6).view(2, 3).t())
    kept = KeptBuffers(model)
    model.flag.logical_not_()
    model.table.zero_()
    assert kept.values()['table'].shape == (3, 2)
    kept.take_back(torch.tensor(True))
    assert model.flag and torch.equal(model.table, torch.arange(6).view(2, 3).t())
    model.grows = torch.full((3,), math.nan)
    kept.take_back(torch.tensor(True))
    kept.keep()
    model.register_buffer('late', torch.ones(2))
    kept.keep()
    model.late.fill_(math.nan)
    assert [bool(fine) for fine in kept.finite()] == [False]
    kept.take_back(torch.tensor(True))
    assert torch.equal(model.late, torch.ones(2))


def test_the_names_of_mmengine_mean_these_wrappers_in_the_scope_of_mmdet():
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert OPTIM_WRAPPERS.get('OptimWrapper') is PanopticOptimWrapper
        assert issubclass(OPTIM_WRAPPERS.get('AmpOptimWrapper'), PanopticOptimWrapper)
    assert issubclass(PanopticAmpOptimWrapper, PanopticOptimWrapper)


def train_in_two(folder, how: str, limit: int) -> tuple:
    """What one process of two says, its last weights, and the count; rank 1 alone is at fault."""
    at = (3,) if torch.distributed.get_rank() else ()
    options = dict(launcher='pytorch', optim_wrapper__skip_not_finite=limit)
    runner = faulty(folder, how, at=at, norm='LayerNorm', **options)
    said = None
    try:
        runner.train()
    except UserError as error:
        said = str(error)
    states = [{k: v for k, v in s.items() if 'weight' in k} for s in StatesHook.states]
    skipped = [same(*pair) for pair in zip(states, states[1:])]
    return said, states[-1], skipped, runner.optim_wrapper.skipped


@pytest.mark.parametrize('how', ['finite gradient', 'gradient'])
def test_processes_skip_alike(tmp_path, how):
    first, second = in_processes(2, train_in_two, tmp_path / 'skips', how, 1)
    for said, weights, skipped, number in (first, second):
        assert said is None and number == 1 and same(weights, first[1])
        assert skipped[:6] == [False, True, False, False, False, False]
    first, second = in_processes(2, train_in_two, tmp_path / 'stops', how, 0)
    for said, *_ in (first, second):
        assert said.startswith('In iteration 3 the loss is')
        assert ('s3.loss_mask (stage 3)' in said) == (how == 'finite gradient')
    assert len(list((tmp_path / 'stops').glob('not_finite_iter_3_rank?.pth'))) == 2


@pytest.mark.parametrize('limit', [-1, 2.5, 'ten', None])
def test_a_limit_that_is_no_number_of_updates_is_refused(limit):
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(UserError, match='skip_not_finite is .*how many updates in a row'):
        PanopticOptimWrapper(optimizer=optimizer, skip_not_finite=limit)
