"""Which centers hold which pixel of the output, without a full-size mask per center.

At a threshold t a softmax leaves at most ceil(1/t) - 1 centers per pixel. So the set of centers
that hold a pixel is one number, its code, and an image has only a few hundred different codes.
They and their pixel counts carry all that pasting needs.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .resize import Geometry, RowResizer

LOG2_E = math.log2(math.e)
LARGEST_EXPONENT = 100  # of two, up to which the sum of all centers neither over- nor underflows
BITS = 24  # centers per code plane: sums of powers of two up to 2^23 are exact in float32
# Pixels x centers in flight: what stays in a CPU's cache, and 128 MB on a GPU.
CHUNK_ELEMENTS = dict(cpu=1 << 19, cuda=1 << 25)
BLOCK_ELEMENTS = 1 << 23  # pixels x code planes of which the runs are searched at a time

# From the exponentials of resized logits (pixels, N), times some number for each pixel, to the
# probability (pixels, M) of each candidate where it holds the pixel, and 0 elsewhere.
Occupy = Callable[[Tensor], Tensor]


def mean_probability(probability_sum: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Mean mask probability of each center over the pixels it holds, 0 where it holds none."""
    return probability_sum / np.maximum(pixels, 1.0)


@dataclass(frozen=True)
class Occupancy:
    """Occupation of the output by M candidates, of which U different sets occur.

    ``runs`` says for pieces of the flattened picture which set holds them and how long they are,
    on the device; the rest is on the host.
    """

    sets: np.ndarray  # (U, M) bool: candidate m belongs to set u
    set_pixels: np.ndarray  # (U,) int64
    mean_probability: np.ndarray  # (M,) float64: of each candidate over the pixels it holds
    runs: tuple[Tensor, Tensor]  # set index (runs,) int64 and length (runs,) int32

    def paint(self, value_of_set: np.ndarray, size: tuple[int, int]) -> Tensor:
        """The picture (H_o, W_o) int32 with each set's value at its pixels."""
        set_of_run, length = self.runs
        values = torch.as_tensor(value_of_set, dtype=torch.int32).to(set_of_run.device)
        pixels = size[0] * size[1]  # which the device need not be asked for
        return torch.repeat_interleave(values[set_of_run], length, output_size=pixels).view(size)


def point_table(mask_logits: Tensor, order: Tensor) -> Tensor:
    """Logits (N, h, w) as a table (h*w, N) in float32, with the centers in this order (N,).

    Some rows of the grid are turned at a time, which a cache holds.
    """
    number, height, width = mask_logits.shape
    table = mask_logits.new_empty(height, width, number, dtype=torch.float32)
    rows = max(1, _chunk_elements(table.device) // (width * number))
    for part, place in zip(mask_logits.split(rows, 1), table.split(rows)):
        place.copy_(part.index_select(0, order).permute(1, 2, 0))
    return table.view(height * width, number)


def _chunk_elements(device: torch.device) -> int:
    return CHUNK_ELEMENTS.get(device.type, CHUNK_ELEMENTS['cuda'])


def measure_occupancy(
    table: Tensor, num_candidates: int, geometry: Geometry, occupy: Occupy
) -> Occupancy:
    """Resize the table (h*w, N) in chunks of rows and record what ``occupy`` finds there.

    The first ``num_candidates`` of the N columns are the candidates. Of a chunk only the runs of
    its codes are kept, because codes are constant over long stretches.
    """
    height, width = geometry.output
    device, groups = table.device, -(-num_candidates // BITS)
    center = torch.arange(num_candidates, device=device)
    bit = torch.zeros(num_candidates, groups, device=device)
    bit[center, center // BITS] = (1 << center % BITS).float()
    rows = min(max(1, _chunk_elements(device) // (width * table.shape[1])), height)
    # Logits of base two, as exp2 takes a third of the time of exp. Small ones need no maximum taken
    # off before; to know them would make a GPU wait.
    resize = RowResizer(geometry, rows=rows, device=device, factor=LOG2_E)
    limit = LARGEST_EXPONENT / LOG2_E
    small = device.type == 'cpu' and all(abs(extreme) <= limit for extreme in table.aminmax())
    starts = range(0, height, rows)
    totals = torch.empty(len(starts), num_candidates, device=device)
    step = max(1, BLOCK_ELEMENTS // (rows * width * groups))  # chunks per block
    block = torch.empty(min(step * rows, height) * width, groups, device=device)
    codes, lengths = [], []
    for first in range(0, len(starts), step):
        stop = 0
        for i, start in enumerate(starts[first : first + step], start=first):
            logits = resize(table, start, min(start + rows, height))
            if not small:
                logits -= logits.amax(-1, keepdim=True)
            kept = occupy(logits.exp2_())
            del logits  # so that the next ones take its place in the cache
            torch.sum(kept, 0, out=totals[i])
            begin, stop = stop, stop + len(kept)
            torch.mm(kept.gt_(0), bit, out=block[begin:stop])
        found = block[:stop]
        changes = (found[1:] != found[:-1]).any(1).nonzero()[:, 0] + 1
        begins = torch.cat([changes.new_zeros(1), changes])
        codes.append(found[begins])
        lengths.append(torch.diff(begins, append=begins.new_full((1,), stop)))
    # In float64 on the host, since not every device has it.
    total = sum(totals.cpu().numpy().astype(np.float64))
    return _summarize(torch.cat(codes), torch.cat(lengths), total)


def _summarize(codes: Tensor, length: Tensor, total: np.ndarray) -> Occupancy:
    """Occupancy of runs with their codes (runs, groups), and of sums of probability (M,)."""
    sets, set_of_run = torch.unique(codes[:, 0].long(), return_inverse=True)
    sets = sets[:, None]
    for code in codes.t()[1:]:
        # The rank so far and the next 24 bits make one number to sort by.
        pairs, set_of_run = torch.unique((set_of_run << BITS) + code.long(), return_inverse=True)
        sets = torch.cat([sets[pairs >> BITS], (pairs & ((1 << BITS) - 1))[:, None]], 1)
    set_pixels = length.new_zeros(len(sets)).index_add_(0, set_of_run, length)
    # From here on there are small tables, on the host.
    counted = torch.cat([sets, set_pixels[:, None]], 1).cpu().numpy()
    sets, set_pixels, center = counted[:, :-1], counted[:, -1], np.arange(len(total))
    members = (sets[:, center // BITS] >> (center % BITS) & 1).astype(bool)
    mean = mean_probability(total, set_pixels @ members)
    return Occupancy(members, set_pixels, mean, (set_of_run, length.int()))


def paste_in_order(
    occupancy: Occupancy, order: Iterable[int], overlap_threshold: float | None
) -> np.ndarray:
    """Owner (U,) of each set after pasting the candidates one by one; -1 where none is pasted.

    A candidate takes its pixels that are still free if these are more than ``overlap_threshold`` of
    all its pixels. Otherwise it is left out, and its pixels stay free for the next. None pastes
    every candidate.
    """
    owner = np.full(len(occupancy.sets), -1)
    for center in order:
        member = occupancy.sets[:, center]
        free = member & (owner < 0)
        if overlap_threshold is not None:
            # In float32, as in deeplab2 and kmax-deeplab.
            held, left = (np.float32(occupancy.set_pixels[x].sum()) for x in (member, free))
            if not left > held * np.float32(overlap_threshold):
                continue
        owner[free] = center
    return owner
