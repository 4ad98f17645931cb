"""Numbers of a training wait for their reader, and then are those of mmengine's hub."""

import pytest
import torch
from cmt_deeplab.engine.loop import message_hub
from cmt_deeplab.engine.loop.message_hub import PanopticMessageHub
from mmengine.logging import HistoryBuffer, MessageHub


def update(hub: MessageHub, steps: range) -> None:
    for step in steps:
        hub.update_scalar('train/loss', torch.tensor([step / 3], requires_grad=True), step + 1)
        hub.update_scalar('train/half', torch.tensor(step / 3, dtype=torch.bfloat16))
        hub.update_scalar('train/time', step / 7)
        if step % 2:
            hub.update_scalar('train/rare', torch.tensor(step))


def histories(hub: MessageHub) -> dict:
    return {key: [x.tolist() for x in value.data] for key, value in hub.log_scalars.items()}


def hubs(name: str) -> tuple[MessageHub, PanopticMessageHub]:
    return MessageHub.get_instance(f'{name}_mmengine'), PanopticMessageHub.get_instance(name)


def test_a_reader_finds_what_mmengine_would_have():
    theirs, ours = hubs('waiting')
    for steps in (range(3), range(3, 4), range(4, 9)):
        for hub in (theirs, ours):
            update(hub, steps)
        assert len(ours._waiting['train/loss']) == len(steps)
        assert ours.get_scalar('train/time').current() == steps[-1] / 7
        assert len(ours._waiting['train/loss']) == len(steps)  # the times were read, not the losses
        assert histories(ours) == histories(theirs)
        assert not ours._waiting
    assert ours.get_scalar('train/loss').mean(5) == theirs.get_scalar('train/loss').mean(5)
    with pytest.raises(KeyError, match='val/PQ is not found'):
        ours.get_scalar('val/PQ')


def test_a_number_that_changes_in_place_is_logged_as_it_was():
    ours, buffer = hubs('in_place')[1], torch.zeros(2)
    for _ in range(3):
        ours.update_scalar('train/buffer', buffer[0])
        buffer += 1
    assert ours.get_scalar('train/buffer').data[0].tolist() == [0, 1, 2]


def test_a_checkpoint_holds_plain_histories():
    theirs, ours = hubs('saved')
    for hub in (theirs, ours):
        update(hub, range(5))
    state = ours.state_dict()
    assert all(type(value) is HistoryBuffer for value in state['log_scalars'].values())
    again = PanopticMessageHub.get_instance('loaded')
    again.update_scalar('train/loss', 9.0)
    again.load_state_dict(state)
    assert histories(again) == histories(theirs)


def test_numbers_that_nobody_reads_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(message_hub, 'MOST_WAITING', 4)
    ours = PanopticMessageHub.get_instance('unread')
    update(ours, range(11))
    assert len(ours._waiting['train/loss']) == 3
    assert len(ours.get_scalar('train/loss').data[0]) == 11
