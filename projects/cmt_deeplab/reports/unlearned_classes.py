"""A warning of classes that training does not learn."""

from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from cmt_deeplab.criterion.targets import SegmentPlanes
from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.structures import MaskPrediction, MatchResult

PARTS = 10  # of a training; the classes are checked at the end of each
FIRST = 5  # the part after which they are checked first
LEARNED = 0.5  # the share of found segments above which the median class counts as learned
NOT_LEARNED = 0.05  # what a class must find beyond the share of others that are taken for it


@HOOKS.register_module()
class PanopticUnlearnedClassHook(Hook):
    """Warns of classes whose loss does not fall while that of the others does.

    A segment of a training image is found if the center that the losses match with it has a mask
    that fits (Dice above 0.5) and the segment's class as its most likely one. After each tenth of
    the training, from its middle on, the share of found segments of each class is computed over the
    later half of the training so far. If this share exceeds one half for the median class, each
    class gets a warning whose share is less than five points above what chance would give: the
    share of the segments of other classes that are taken for it. A class gets one warning only.
    Classes of which fewer than ``least`` segments were matched in that time are left out.

    The counts stay on the device and are read after each tenth. Nothing is counted for models
    without :class:`PanopticCriterion`. The message hub keeps the sentences as
    ``unlearned_classes``.
    """

    def __init__(self, *, least: int = 100) -> None:
        self.least = least
        self.sentences: dict[str, str] = {}

    def before_train(self, runner: Runner) -> None:
        criterion = getattr(unwrapped(runner.model), 'criterion', None)
        self.counts: list[Tensor] = []  # (C, 4) of each part of the training
        if hasattr(criterion, 'observe'):
            criterion.observe = self._count
            self.counts.append(torch.zeros(criterion.num_classes, 4))
        self._part = self._part_of(runner, runner.iter)

    def after_train(self, runner: Runner) -> None:
        if self.counts:
            unwrapped(runner.model).criterion.observe = None

    @torch.no_grad()
    def _count(self, prediction: MaskPrediction, planes: SegmentPlanes, match: MatchResult) -> None:
        """Add the matched segments of a batch: all of a class, those with a mask that fits, those
        that are found, and those of other classes that are taken for it.
        """
        logits, labels = prediction.class_logits[..., :-1], planes.labels
        known = match.centers.clamp(min=0)[..., None].expand(-1, -1, logits.shape[-1])
        taken_for = logits.gather(1, known).argmax(-1)
        matched, right = match.centers >= 0, taken_for == labels
        fits = matched & (match.dice > 0.5)
        rows = torch.stack([matched, fits, fits & right], -1).float()
        self.counts[-1] = counts = self.counts[-1].to(rows.device)
        counts[:, :3].index_add_(0, labels.flatten(), rows.flatten(0, 1))
        counts[:, 3].index_add_(0, taken_for.flatten(), (matched & ~right).flatten().float())

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        part = self._part_of(runner, runner.iter + 1)
        if not self.counts or part == self._part:
            return
        self._part = part
        all_reduce(self.counts[-1])
        if part >= FIRST:
            self._look(runner)
        self.counts.append(torch.zeros_like(self.counts[-1]))

    def _look(self, runner: Runner) -> None:
        seen, fitting, found, mistaken = sum(self.counts[len(self.counts) // 2 :]).cpu().T
        share = found / seen
        by_chance = mistaken / (seen.sum() - seen)
        enough = seen >= self.least
        middle = float(share[enough].median()) if enough.any() else 0
        unlearned = enough & (share < by_chance + NOT_LEARNED) & (middle > LEARNED)
        metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', {})
        names = metainfo.get('classes') or [str(label) for label in range(len(seen))]
        for label in unlearned.nonzero().flatten().tolist():
            if names[label] in self.sentences:
                continue
            self.sentences[names[label]] = sentence = (
                f'Training does not learn the class {names[label]!r}: of its latest '
                f'{seen[label]:.0f} segments in training images {fitting[label]:.0f} have a mask '
                f'that fits, and {found[label]:.0f} of these the right class, while '
                f'{middle:.0%} of the segments of the median class are found. Common causes are '
                'random labels, objects that cannot be seen in the images, and segments of a few '
                'pixels: look at some (browse_dataset.py), and run cmt-deeplab doctor.'
            )
            runner.logger.warning(sentence)
        runner.message_hub.update_info('unlearned_classes', [*self.sentences.values()])

    @staticmethod
    def _part_of(runner: Runner, iteration: int) -> int:
        return PARTS * iteration // runner.max_iters
