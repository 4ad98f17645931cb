"""What the features tell a neck, and which classes can be necks at all."""

import inspect
from collections.abc import Callable, Mapping, Sequence

from cmt_deeplab.construction import keywords, name_of
from cmt_deeplab.errors import UserError

DEFAULT_WIDTH = 256  # of a neck whose config names none
OF_ONE_WIDTH = ('DyHead', 'DilatedEncoder')  # in_channels is a number, and does not say so


def takes_maps(neck_type: Callable) -> bool:
    """Whether the class has a ``forward`` that can be called with a list of maps."""
    try:
        parameters = inspect.signature(neck_type.forward).parameters
        metas = {name: None for name in ('batch_img_metas',) if name in parameters}
        inspect.signature(neck_type.forward).bind('self', 'maps', **metas)
    except (AttributeError, TypeError):
        return not inspect.isclass(neck_type)  # a function says nothing about what it builds
    return True


def maps_read_by(config: Mapping, widths: list[int], key: str) -> slice:
    """Which of the maps a neck reads: those whose widths its config names, or all."""
    own = config.get('in_channels', widths)
    if not isinstance(own, list | tuple):
        return slice(None)
    for first in range(len(widths)):
        reads = slice(first, first + len(own))
        if widths[reads] in (list(own), list(own)[::-1]):  # some name the coarsest first
            return reads
    raise UserError(
        f'{key}.in_channels is {list(own)}, but the maps that come in have {widths} channels: '
        'remove the key, and the neck is given their widths.'
    )


def neck_arguments(
    neck_type: Callable, config: Mapping, widths: list[int], strides: Sequence[int]
) -> dict:
    """What the maps tell about the arguments of a neck, and what it needs and its config lacks."""
    takes = keywords(neck_type)[0]
    size = len(widths)
    values = dict(num_outs=size, num_levels=size, num_scales=size)
    values.update(out_channels=DEFAULT_WIDTH, feat_channels=DEFAULT_WIDTH)
    given = {name: value for name, value in values.items() if takes.get(name)}
    if 'strides' in takes:
        given.update(strides=list(strides))
    one = inspect.signature(neck_type).parameters.get('in_channels')
    if 'in_channels' in takes and not (one and isinstance(one.default, int)):
        single = (one and one.annotation is int) or name_of(neck_type) in OF_ONE_WIDTH
        given.update(in_channels=widths[-1] if single else list(widths))
        if name_of(neck_type) == 'YOLOV3Neck':  # it names the coarsest first
            given['in_channels'].reverse()
    # The user's own in_channels have been compared with the widths.
    return {name: config.get(name, value) for name, value in given.items()}
