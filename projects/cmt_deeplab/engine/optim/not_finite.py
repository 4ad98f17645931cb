"""A hook that tells of a training step that was not finite, and saves all that repeats it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet.engine.hooks import CheckInvalidLossHook
from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object, barrier, get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper

from cmt_deeplab.construction import quote
from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.engine.fsdp import sharded_modules, whole
from cmt_deeplab.errors import UserError
from cmt_deeplab.whole_file import whole_file

from .replay import plain
from .wrappers import PanopticOptimWrapper, local

SHOWN = 4  # terms and images in a sentence
WHAT = {
    'loss': 'the loss is not finite',
    'gradients': 'the loss is finite, but its gradients are not',
    'buffers': 'the loss is finite, but a buffer of the model, such as the statistics of a norm, '
    'is not',
    'forward': 'the network gave numbers that are not finite, from which no loss can be computed',
}


def several(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(dict.fromkeys(names))
    return ', '.join(names[:SHOWN]) + f' and {len(names) - SHOWN} more' * (len(names) > SHOWN)


def with_stage(term: str, terms: Mapping) -> str:
    """A term with the stage of the decoder that its name begins with, as in ``s3.loss_mask``.

    The final stage has no prefix; mmdet's decoders write d for s.
    """
    stage = r'[sd](\d+)\.'
    found = re.match(stage, term)
    if found:
        return f'{term} (stage {found[1]})'
    return f'{term} (final stage)' if any(re.match(stage, each) for each in terms) else term


def images_of(batch: Any) -> Iterator[str]:
    """The paths, or else ids, of the images of a batch."""
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    for sample in samples or ():
        get = getattr(sample, 'get', lambda key: None)
        name = get('img_path') or get('img_id')
        if name is not None:
            yield str(name)


@HOOKS.register_module()
class PanopticNotFiniteHook(Hook):
    """Tells which loss terms, stages and images made a training step that was skipped.

    :class:`.wrappers.PanopticOptimWrapper` skips it. What repeats the step is saved in the
    work dir for ``tools/analysis_tools/replay_step.py``: of the first skipped step of a run, and of
    the one that ends it. ``skip_not_finite`` of the wrapper lets training go on; then the log has
    ``skipped_steps``, which a resumed run continues to count.

    Raises:
        UserError: a step was skipped, and training does not go on.
    """

    def before_train(self, runner: Any) -> None:
        self.runner, self._saved, self._step, self._last = runner, False, {}, {}
        wrappers = runner.optim_wrapper
        wrappers = [wrappers] if isinstance(wrappers, OptimWrapper) else wrappers.values()
        self.wrappers = [each for each in wrappers if isinstance(each, PanopticOptimWrapper)]
        if self.wrappers:  # this hook tells more, and lets training go on by option
            hooks = [each for each in runner.hooks if not isinstance(each, CheckInvalidLossHook)]
            runner._hooks = hooks
        for wrapper in self.wrappers:
            wrapper.skipped = runner.message_hub.get_info('skipped_steps', 0)
            wrapper.tell = lambda faults, stops, wrapper=wrapper: self.tell(faults, stops, wrapper)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self._step = dict(iteration=runner.iter + 1, batch=data_batch)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        self._last = dict(self._step, terms=outputs or {})
        if any(wrapper.limit for wrapper in self.wrappers):
            runner.message_hub.update_scalar('train/skipped_steps', self._skipped())

    def _skipped(self) -> int:
        return max((wrapper.skipped for wrapper in self.wrappers), default=0)

    def report(self, runner: Any) -> None:
        """Tell of the last step, before what follows it."""
        for wrapper in getattr(self, 'wrappers', ()):
            wrapper.report()

    before_val = before_saving = after_train = report

    def tell(self, faults: list[str], stops: bool, wrapper: PanopticOptimWrapper) -> None:
        """Log or raise a sentence; all processes call it together."""
        runner, step = self.runner, self._last
        if 'forward' in faults:  # an error of this process ended its forward pass
            step = dict(self._step, terms={})
        runner.message_hub.update_info('skipped_steps', self._skipped())
        terms = {name: value for name, value in step['terms'].items() if 'loss' in name}
        wrong = [
            with_stage(name, terms)
            for name, value in terms.items()
            if name != 'loss' and not torch.as_tensor(value).isfinite().all()
        ]
        found = [(wrong, list(images_of(step['batch'])))]
        if 'forward' not in faults:
            found = all_gather_object(found[0])
        wrong = [term for each, _ in found for term in each]
        names = [name for each, names in found for name in names if each or not wrong]
        what = WHAT[faults[0]] + f': {several(wrong)}' * (bool(wrong) and faults[0] == 'loss')
        sentence = f'In iteration {step["iteration"]} {what}'
        sentence += f', for the images {several(names)}' * bool(names)
        sentence += '; the step changed no weight'
        if stops or not self._saved:
            self._saved = True
            if not ('forward' in faults and sharded_modules(runner.model)):  # needs all processes
                sentence += f', and {self._save(step, wrapper)}'
        if 'forward' not in faults:
            barrier()  # the first process that ends could end the others
        if not stops:
            runner.logger.warning(f'{sentence}. Training goes on.')
            return
        remedy = 'lower the learning rate, or look at the images and losses that are named'
        named = unwrapped(runner.model).named_parameters()
        bad = [name for name, value in named if not local(value.detach()).isfinite().all()]
        if bad:
            sentence += f'. An earlier update had made weights that are not finite ({bad[0]})'
            remedy = 'lower the learning rate, or use another optimizer'
        if wrapper.in_a_row > wrapper.limit > 0:
            sentence += f'. {wrapper.in_a_row} steps in a row were skipped'
        elif not wrapper.limit and 'forward' not in faults:
            remedy += ', or let training go on with optim_wrapper.skip_not_finite=True'
        raise UserError(f'{sentence}: {remedy}.')

    def _save(self, step: dict, wrapper: PanopticOptimWrapper) -> str:
        """Save the step of this process; how to repeat it."""
        runner = self.runner
        name = f'not_finite_iter_{step["iteration"]}_rank{get_rank()}.pth'
        path = Path(runner.work_dir) / name
        # the next forward pass may have changed buffers meanwhile
        before = wrapper.buffers.values() if wrapper.buffers else {}
        with whole(runner.model):
            weights = {
                key: before.get(key, value).detach().cpu().clone()
                for key, value in unwrapped(runner.model).state_dict().items()
                if isinstance(value, torch.Tensor)
            }
        content = dict(
            iteration=step['iteration'],
            batch=plain(step['batch']),
            terms={key: torch.as_tensor(value).tolist() for key, value in step['terms'].items()},
            seed=runner.seed,
            state_dict=weights,
            world_size=runner.world_size,
        )
        try:
            with whole_file(path) as part:
                torch.save(content, part)
        except Exception as error:
            return f'it could not be saved in {path} ({quote(error)})'
        name = Path(runner.cfg.filename or f'{runner.timestamp}.py').name  # mmengine dumps it there
        config = Path(runner.work_dir) / name
        return f'`python tools/analysis_tools/replay_step.py {config} {path}` repeats it'
