"""Time and peak memory, forward plus backward, of axial attention beside the form that gathers the relative positions as L x L x d tensors.

    python tools/analysis_tools/benchmark_axial.py [--size 65 65] [--channels 256] [--device cuda] [--json OUT]

Both forms run on the same module, its norms in training mode, in turn. Times are medians of wall-clock and, on a CPU, of processor time,
which other work on the machine disturbs less. Memory is what torch's allocator holds at the peak of one step beyond what it held before.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn


def attend_gathered(attention: nn.Module, x: Tensor) -> Tensor:
    """:class:`AxialAttention` the way the released code bases write it: einsum with the positions gathered for every pair."""
    batch, _, length = x.shape
    heads, span = attention.num_heads, attention.query_positions.span
    q, k, v = attention.qkv(x).split(
        [attention.key_depth, attention.key_depth, attention.value_depth], dim=1
    )
    q, k, v = (part.reshape(batch, heads, -1, length) for part in (q, k, v))
    position = torch.arange(length, device=x.device)
    index = (position[None] - position[:, None]).clamp(1 - span, span - 1) + span - 1
    to_query, to_key, to_value = (
        table.weight[index]
        for table in (attention.query_positions, attention.key_positions, attention.value_positions)
    )
    similarity = torch.cat(
        [
            torch.einsum('bhdl,bhdm->bhlm', q, k),
            torch.einsum('bhdl,lmd->bhlm', q, to_query),
            torch.einsum('bhdm,lmd->bhlm', k, to_key),
        ],
        dim=1,
    )
    similarity = attention.similarity_norm(similarity).view(batch, 3, heads, length, length).sum(1)
    weights = similarity.float().softmax(-1).to(v.dtype)
    retrieved = torch.cat(
        [
            torch.einsum('bhlm,bhdm->bhdl', weights, v),
            torch.einsum('bhlm,lmd->bhdl', weights, to_value),
        ],
        dim=1,
    )
    retrieved = attention.retrieved_norm(retrieved.reshape(batch, -1, length, 1))
    return retrieved.view(batch, 2, -1, length).sum(1)


def gathered_positions(module: nn.Module, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    x = attend_gathered(
        module.height_axis, x.permute(0, 3, 1, 2).reshape(batch * width, channels, height)
    )
    x = x.reshape(batch, width, -1, height).permute(0, 3, 2, 1).reshape(batch * height, -1, width)
    return (
        attend_gathered(module.width_axis, x).reshape(batch, height, -1, width).permute(0, 2, 1, 3)
    )


FORMS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    'ours': lambda module, x: module(x),
    'gathered positions': gathered_positions,
}


def run_step(form: Callable, module: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, then the gradients of input and parameters of a fixed linear function of it."""
    leaf = x.detach().requires_grad_()
    output = form(module, leaf)
    pattern = (
        torch.arange(output.shape[2] * output.shape[3], device=x.device)
        .cos()
        .view(output.shape[2:])
    )
    return [
        output.detach(),
        *torch.autograd.grad((output * pattern).mean(), [leaf, *module.parameters()]),
    ]


def largest_difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Of the output and every gradient, relative to its norm; gradients that are zero but for rounding count against the largest."""
    floor = 1e-3 * max(float(b.float().norm()) for b in theirs[1:])
    return max(
        float((a.float() - b.float()).norm()) / max(float(b.float().norm()), floor)
        for a, b in zip(ours, theirs)
    )


def peak_bytes(step: Callable[[], list[Tensor]], device: str) -> int:
    """The allocator's peak within a step over its level before."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        step()
    level = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == '[memory]':
            level += event.nbytes()
            peak = max(peak, level)
    return peak


def measure(args: argparse.Namespace) -> dict:
    from cmt_deeplab.models.blocks.axial_attention import AxialAttention2D

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    module = AxialAttention2D(
        args.channels, args.filters or args.channels, num_heads=args.heads
    ).to(args.device)
    x = torch.randn(args.batch, args.channels, *args.size, device=args.device)
    on_gpu = args.device.startswith('cuda')
    wall, processor = {name: [] for name in FORMS}, {name: [] for name in FORMS}
    with torch.autocast(args.device.split(':')[0], torch.bfloat16, enabled=args.bf16):
        results = {
            name: run_step(form, module, x) for name, form in FORMS.items()
        }  # also the warm-up
        difference = largest_difference(*results.values())
        del results
        for _ in range(args.runs):
            for name, form in FORMS.items():
                start, processor_start = time.perf_counter(), time.process_time()
                run_step(form, module, x)
                if on_gpu:
                    torch.cuda.synchronize()
                wall[name].append(1000 * (time.perf_counter() - start))
                processor[name].append(1000 * (time.process_time() - processor_start))
        peak = {
            name: peak_bytes(lambda form=form: run_step(form, module, x), args.device) / 2**20
            for name, form in FORMS.items()
        }
    rows = [
        dict(
            form=name,
            median_ms=statistics.median(wall[name]),
            peak_mib=peak[name],
            **({} if on_gpu else dict(median_processor_ms=statistics.median(processor[name]))),
        )
        for name in FORMS
    ]
    return dict(
        setting=vars(args), torch=torch.__version__, rows=rows, largest_difference=difference
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--size', type=int, nargs=2, default=(65, 65), metavar=('H', 'W'))
    parser.add_argument('--channels', type=int, default=256, help='channels that come in')
    parser.add_argument(
        '--filters',
        type=int,
        help='key depth; values are twice as deep (default: as many as come in)',
    )
    parser.add_argument('--heads', type=int, default=8)
    parser.add_argument('--bf16', action='store_true', help='under bf16 autocast')
    parser.add_argument('--runs', type=int, default=11, help='timed steps of each form')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--json', help='also write the result to this file')
    return parser.parse_args()


def main() -> None:
    import cmt_deeplab  # noqa: F401  mmdet is importable after it

    args = parse_args()
    result = measure(args)
    print(f'{"":20}{"median ms":>12}{"processor ms":>14}{"peak MiB":>12}')
    for row in result['rows']:
        processor = (
            f'{row["median_processor_ms"]:14.1f}' if 'median_processor_ms' in row else f'{"":14}'
        )
        print(f'{row["form"]:20}{row["median_ms"]:12.1f}{processor}{row["peak_mib"]:12.1f}')
    print(
        f'largest relative difference of the output or a gradient: {result["largest_difference"]:.1e}'
    )
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(result, file, indent=1)


if __name__ == '__main__':
    main()
