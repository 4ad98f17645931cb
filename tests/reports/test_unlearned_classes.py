"""The warning of classes that training does not learn, on batches whose matches are made here."""

from types import SimpleNamespace

import torch
from cmt_deeplab.reports import PanopticUnlearnedClassHook
from cmt_deeplab.structures import MaskPrediction, MatchResult
from mmengine.logging import MessageHub
from processes import in_processes
from torch import nn
from torch.nn.functional import one_hot

CLASSES = 'partly learned', 'late', 'by chance', 'nowhere to see', 'rare', 'common', 'plain'
IMAGES = 20  # of an iteration, each with one segment of each class


def batch(iteration, *, of, learned):
    """The prediction, truth and match of an iteration of a training of ``of`` iterations."""
    labels = torch.arange(7).expand(IMAGES, -1)
    guessed = labels.clone()
    guessed[:8, 2] = 5  # labels by chance: as many of others are taken for the class
    guessed[8:, 2] = 0
    guessed[:8, 0] = 2
    guessed[:, 4] = 5
    if iteration < 0.35 * of:
        guessed[:, 1] = 5
    dice = torch.full((IMAGES, 8), 0.8 * learned)
    dice[:, 3] = 0.4
    centers = torch.arange(8).repeat(IMAGES, 1)
    centers[:, -1] = -1  # the column of no segment
    if iteration % 20:
        centers[:, 4] = -1
    labels, classes = (torch.cat([part, part[:, :1] * 0], 1) for part in (labels, guessed))
    prediction = MaskPrediction(
        mask_logits=torch.zeros(IMAGES, 8, 2, 2),
        class_logits=one_hot(classes, 8).float(),
        pixel_features=torch.zeros(IMAGES, 1, 2, 2),
    )
    return prediction, SimpleNamespace(labels=labels), MatchResult(centers, dice, dice, dice)


def train(iterations=40, *, learned=True, **options):
    """The warnings of a training, with the number of iterations before each."""
    model, warnings = nn.Module(), {}
    model.criterion = nn.Module()
    model.criterion.observe, model.criterion.num_classes = None, 7
    hub = MessageHub.get_instance('unlearned')
    runner = SimpleNamespace(
        iter=0,
        max_iters=iterations,
        model=model,
        message_hub=hub,
        logger=SimpleNamespace(warning=lambda text: warnings.setdefault(text, runner.iter + 1)),
        train_dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=CLASSES))),
    )
    hook = PanopticUnlearnedClassHook(**options)
    hook.before_train(runner)
    for runner.iter in range(iterations):
        model.criterion.observe(*batch(runner.iter, of=iterations, learned=learned))
        hook.after_train_iter(runner, runner.iter)
    hook.after_train(runner)
    assert model.criterion.observe is None
    assert hub.get_info('unlearned_classes') == list(warnings)
    return warnings


def named(warnings):
    return {name for name in CLASSES for text in warnings if f'the class {name!r}:' in text}


def test_the_classes_that_are_not_learned_are_named_once():
    warnings = train()
    assert named(warnings) == {'by chance', 'nowhere to see'} and len(warnings) == 2
    assert set(warnings.values()) == {24}  # when more than half of the median class are found
    (text,) = (text for text in warnings if 'nowhere' in text)
    assert 'of its latest 240 segments in training images 0 have a mask that fits, and 0 ' in text


def test_a_rare_class_is_left_to_chance_and_a_training_that_learns_nothing_to_its_curves():
    assert 'rare' not in named(train()) and 'rare' in named(train(least=20))
    assert train(learned=False) == {}


def test_several_processes_count_together():
    for warnings in in_processes(2, train):
        assert named(warnings) == {'by chance', 'nowhere to see'}
        assert all('of its latest 480 segments' in text for text in warnings)
