"""Which slots hold which pixel, without a full-size mask a slot.

At a threshold t a softmax leaves at most ceil(1/t) - 1 slots a pixel. So the set of slots that hold a pixel is one number, its code, and
the few hundred different codes of an image with their pixel counts carry all that pasting needs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .resize import Geometry, RowResizer

BITS = 24  # slots a code plane: sums of powers of two up to this one are exact in float32
CHUNK_ELEMENTS = dict(
    cpu=1 << 19, cuda=1 << 26
)  # pixels x slots in flight: what stays in a CPU's cache; 256 MB on a GPU

# resized rows of the table (pixels, N) -> probability (pixels, M) of each candidate where it holds the pixel, 0 elsewhere
Occupy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Occupancy:
    """Occupation of the output by M candidate slots; U different sets of slots occur.

    ``runs`` says for pieces of the flattened picture which set holds them and how long they are, on the device; the rest is on the host.
    """

    sets: np.ndarray  # (U, M) bool: slot m belongs to set u
    set_pixels: np.ndarray  # (U,) int64
    slot_pixels: np.ndarray  # (M,) int64
    probability_sum: np.ndarray  # (M,) float64: of each slot over the pixels it holds
    runs: tuple[Tensor, Tensor]  # set index and length, (runs,) int64 each

    def paint(self, value_of_set: np.ndarray, size: tuple[int, int]) -> Tensor:
        """The picture (H_o, W_o) int32 with each set's value at its pixels."""
        set_of_run, length = self.runs
        values = torch.as_tensor(value_of_set, dtype=torch.int32).to(set_of_run.device)
        return torch.repeat_interleave(values[set_of_run], length).view(size)


def measure_occupancy(
    table: Tensor, num_candidates: int, geometry: Geometry, occupy: Occupy, *, two_step: bool
) -> Occupancy:
    """Resizes the table (h*w, N) a row chunk at a time and records what ``occupy`` finds there. Candidates are the first M channels."""
    height, width = geometry.output
    device, groups = table.device, -(-num_candidates // BITS)
    bit = torch.zeros(num_candidates, groups, device=device)
    for group in range(groups):
        chosen = slice(group * BITS, min((group + 1) * BITS, num_candidates))
        bit[chosen, group] = 2.0 ** torch.arange(chosen.stop - chosen.start, device=device)
    codes = torch.empty(height * width, groups, device=device)
    total = torch.zeros(num_candidates, dtype=torch.float64, device=device)
    rows = max(
        1, CHUNK_ELEMENTS.get(device.type, CHUNK_ELEMENTS['cuda']) // (width * table.shape[1])
    )
    resize = RowResizer(geometry, rows=min(rows, height), two_step=two_step, device=device)
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        kept = occupy(resize(table, start, stop))
        total += kept.sum(0)
        torch.mm(
            torch.gt(kept, 0, out=torch.empty_like(kept)),
            bit,
            out=codes[start * width : stop * width],
        )
    return _summarize(codes, num_candidates, total)


def _summarize(codes: Tensor, num_candidates: int, total: Tensor) -> Occupancy:
    """Codes (pixels, groups) are constant over long stretches: only the stretches are sorted into sets."""
    changes = (codes[1:] != codes[:-1]).any(1).nonzero()[:, 0] + 1
    starts = torch.cat([changes.new_zeros(1), changes])
    length = torch.diff(starts, append=starts.new_tensor([len(codes)]))
    run_codes = codes[starts].long()  # (runs, groups)
    sets, set_of_run = torch.unique(run_codes[:, 0], return_inverse=True)
    sets = sets[:, None]
    for group in range(
        1, codes.shape[1]
    ):  # rank so far and the next 24 bits make one number to sort by
        pairs, set_of_run = torch.unique(
            (set_of_run << BITS) + run_codes[:, group], return_inverse=True
        )
        sets = torch.cat([sets[pairs >> BITS], (pairs & ((1 << BITS) - 1))[:, None]], 1)
    set_pixels = torch.zeros(len(sets), dtype=torch.int64, device=codes.device).index_add_(
        0, set_of_run, length
    )
    # from here on small tables on the host
    sets, set_pixels, slot = sets.cpu().numpy(), set_pixels.cpu().numpy(), np.arange(num_candidates)
    members = (sets[:, slot // BITS] >> (slot % BITS) & 1).astype(bool)
    return Occupancy(
        members, set_pixels, set_pixels @ members, total.cpu().numpy(), (set_of_run, length)
    )
