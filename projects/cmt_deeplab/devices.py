"""The device that a user names, or the best one of this machine."""

import torch
from mmengine.device import utils

from cmt_deeplab.errors import UserError


def chosen_device(device: str | None) -> str:
    """The device, by default a GPU where torch finds one.

    Raises:
        UserError: torch does not have it here.
    """
    if device is None:
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.empty(0, device=device)
    except Exception as error:  # of many kinds, by device
        reason = str(error).partition('\n')[0].rstrip('.')
        raise UserError(
            f'device={device!r} is not there ({reason}): give one that torch has here, such as '
            "'cpu', or leave it out."
        ) from None
    return device


def use_device(device: str | None) -> None:
    """Let mmengine's runner train on ``device``; without one, the runner chooses by itself.

    Raises:
        UserError: torch does not have it here.
    """
    if device is None:
        return
    chosen = torch.device(chosen_device(device))
    if chosen.type == 'cuda':
        torch.cuda.set_device(chosen.index or 0)
    utils.DEVICE = chosen.type
