"""Time and peak memory of the criterion beside the same losses on dense one-hot masks.

    python tools/analysis_tools/benchmark_criterion.py [--device cuda] [--segments 30] [--json OUT]

Both forms get the same predictions, targets and sampling noise, do forward and backward of one final stage, each in a process of its own,
and must agree in every loss. Memory is what the step adds to its inputs: the allocator's peak on a GPU, the process's peak on a CPU.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time

import torch
from torch import Tensor
from torch.nn import functional as F


def make_batch(args: argparse.Namespace):
    """Random predictions and blocky targets: K segments, a void border, areas from a block to a third of the plane."""
    from cmt_deeplab.structures import MaskPrediction, PanopticTarget

    generator = torch.Generator().manual_seed(0)
    size, full = args.size, (args.size - 1) * 4 + 1
    targets = []
    for _ in range(args.batch):
        blocks = torch.randint(0, args.segments, (full // 32 + 1,) * 2, generator=generator)
        index = (
            blocks.repeat_interleave(32, 0).repeat_interleave(32, 1)[:full, :full].to(torch.int16)
        )
        index[: full // 3] = 0
        index[:, -8:] = -1
        labels = torch.randint(0, args.classes, (args.segments,), generator=generator)
        targets.append(PanopticTarget(index=index.to(args.device), labels=labels.to(args.device)))

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.to(args.device).requires_grad_()

    prediction = MaskPrediction(
        mask_logits=leaf(torch.randn(args.batch, args.slots, size, size, generator=generator)),
        class_logits=leaf(
            torch.randn(args.batch, args.slots, args.classes + 1, generator=generator)
        ),
        pixel_features=leaf(
            F.normalize(torch.randn(args.batch, 128, size, size, generator=generator), dim=1)
        ),
    )
    return prediction, targets


class IndexPlaneForm:
    """The criterion of this package."""

    def __init__(self, args: argparse.Namespace) -> None:
        from cmt_deeplab.criterion import PanopticCriterion

        losses = [
            dict(type='PanopticPQLoss', unmatched_weight='void_share'),
            dict(type='PanopticMaskIDLoss'),
            dict(type='PanopticInstanceDiscriminationLoss', num_samples=args.samples),
        ]
        self.criterion = PanopticCriterion(num_classes=args.classes, losses=losses)

    def __call__(self, prediction, targets, generator: torch.Generator) -> dict[str, Tensor]:
        return self.criterion([prediction], targets, generator=generator)


class OneHotForm:
    """The same formulas the way the released code bases hold them: one-hot masks padded to N slots, products with dense targets."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    def __call__(self, prediction, targets, generator: torch.Generator) -> dict[str, Tensor]:
        from scipy.optimize import linear_sum_assignment

        logits = prediction.mask_logits.flatten(2)  # (B, N, P)
        batch, slots, pixels = logits.shape
        log_class = prediction.class_logits.log_softmax(-1)
        void_class = log_class.shape[-1] - 1
        mask = logits.softmax(1)
        planes = (
            torch.stack([target.index[::4, ::4] for target in targets]).flatten(1).long()
        )  # (B, P)
        labeled = (planes >= 0).float()

        goal_mask = torch.zeros_like(mask)  # (B, N, P), the masks of the segments at their slots
        goal_class = torch.full((batch, slots), void_class, device=logits.device)
        class_weight = (
            (mask.detach() * (1 - labeled)[:, None]).sum(2) / (mask.detach().sum(2) + 1e-5)
        ).clamp(min=1e-5)
        mask_weight = torch.zeros_like(class_weight)
        for b, target in enumerate(targets):
            one_hot = torch.stack(
                [planes[b] == k for k in range(len(target.labels))]
            ).float()  # (K, P)
            cut = mask[b].detach() * labeled[b]
            dice = 2 * (cut @ one_hot.t()) / (cut.sum(1)[:, None] + one_hot.sum(1) + 1e-5)  # (N, K)
            probability = log_class[b].detach().exp()[:, target.labels]
            rows, columns = (
                torch.as_tensor(r)
                for r in linear_sum_assignment((dice * probability).cpu(), maximize=True)
            )
            alive = one_hot.sum(1).cpu()[columns] > 0
            rows, columns = rows[alive], columns[alive]
            goal_mask[b, rows] = one_hot[columns]
            goal_class[b, rows] = target.labels[columns]
            class_weight[b, rows] = dice[rows, columns].clamp(min=1e-5)
            mask_weight[b, rows] = probability[rows, columns].clamp(min=1e-5)

        kept = goal_mask.sum(1)  # (B, P)
        cut = mask * kept[:, None]
        dice_1 = (2 * (cut * goal_mask).sum(2) + 1) / (cut.sum(2) + goal_mask.sum(2) + 1)
        terms = (
            torch.where(goal_class == void_class, 0.25, 0.75)
            * class_weight
            * -log_class.gather(2, goal_class[..., None])[..., 0]
        )
        entropy = F.cross_entropy(logits, goal_mask, reduction='none') * kept
        return dict(
            loss_pq_mask=3 * 0.75 / slots * (mask_weight * (1 - dice_1)).sum(1).mean(),
            loss_pq_class=3 * (terms.sum(1) / (terms != 0).sum(1)).mean(),
            loss_mask_id=0.3 * (entropy.sum(1) / kept.sum(1)).mean(),
            loss_instance=self._instance(
                prediction.pixel_features.flatten(2), goal_mask, kept, generator
            ),
        )

    def _instance(
        self, features: Tensor, goal_mask: Tensor, labeled: Tensor, generator: torch.Generator
    ) -> Tensor:
        number = min(self.args.samples, features.shape[2])
        area = torch.einsum('bnp,bn->bp', goal_mask, goal_mask.sum(2)).clamp(min=1)
        uniform = (
            torch.rand(area.shape, generator=generator)
            .to(area.device)
            .clamp(min=torch.finfo(torch.float32).tiny)
        )
        score = 1.5 * torch.log(area.shape[1] / area) - torch.log(-torch.log(uniform))
        chosen = (
            torch.where(labeled > 0, score, float('-inf'))
            .topk(number, sorted=False)
            .indices[:, None]
        )
        own = goal_mask.gather(2, chosen.expand(-1, goal_mask.shape[1], -1))  # (B, N, n)
        same = torch.einsum('bna,bnc->bac', own, own)
        feature = features.gather(2, chosen.expand(-1, features.shape[1], -1))  # (B, D, n)
        similarity = torch.einsum('bda,bdc->bac', feature, feature) / 0.3
        return F.cross_entropy(
            similarity, same / same.sum(1, keepdim=True).clamp(min=1), reduction='none'
        ).mean()


FORMS = {'index planes': IndexPlaneForm, 'one-hot masks': OneHotForm}


def peak_bytes(device: str) -> int:
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == 'darwin' else 1024
    )


def measure(name: str, args: argparse.Namespace, queue: multiprocessing.Queue) -> None:
    """Run one form in this process: first step for the memory, later ones for the time."""
    import cmt_deeplab  # noqa: F401  registers the parts

    torch.set_num_threads(args.threads)
    on_gpu = args.device.startswith('cuda')
    form, (prediction, targets) = FORMS[name](args), make_batch(args)
    before, seconds, losses = peak_bytes(args.device), [], {}
    for step in range(args.runs + 1):
        start = time.perf_counter()
        losses = form(prediction, targets, torch.Generator().manual_seed(0))
        gradients = torch.autograd.grad(
            sum(losses.values()),
            [prediction.mask_logits, prediction.class_logits, prediction.pixel_features],
        )
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    queue.put(
        dict(
            form=name,
            median_ms=1000 * statistics.median(seconds[1:]),
            peak_mib=(peak_bytes(args.device) - before) / 2**20,
            losses={key: float(value) for key, value in losses.items()},
            gradient_norms=[float(gradient.norm()) for gradient in gradients],
        )
    )


def largest_difference(rows: list[dict]) -> float:
    ours, theirs = ([*row['losses'].values(), *row['gradient_norms']] for row in rows)
    return max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(ours, theirs))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--batch', type=int, default=1, help='images')
    parser.add_argument(
        '--size',
        type=int,
        default=161,
        help='side of the prediction, 4s+1 pixels being the input (161 = 641 at stride 4)',
    )
    parser.add_argument('--slots', type=int, default=128, help='N')
    parser.add_argument(
        '--segments', type=int, default=30, help='K; at most N, the one-hot form has no other case'
    )
    parser.add_argument('--classes', type=int, default=133, help='C')
    parser.add_argument('--samples', type=int, default=4096, help='pixels of the instance loss')
    parser.add_argument('--runs', type=int, default=5, help='timed steps after the first')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--json', help='also write the rows to this file')
    args = parser.parse_args()
    if args.segments > args.slots or args.size % 2 == 0:
        parser.error('--segments must not exceed --slots, and --size must be odd')
    return args


def main() -> None:
    args = parse_args()
    context = multiprocessing.get_context('spawn')
    rows = []
    for name in FORMS:
        queue = context.Queue()
        process = context.Process(target=measure, args=(name, args, queue))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(
                f'The step with {name} failed (exit code {process.exitcode}); its error stands above.'
            )
        rows.append(queue.get())
    print(f'{"":16}{"median ms":>12}{"peak MiB":>12}')
    for row in rows:
        print(f'{row["form"]:16}{row["median_ms"]:12.1f}{row["peak_mib"]:12.1f}')
    difference = largest_difference(rows)
    print(f'largest relative difference of a loss or gradient norm: {difference:.1e}')
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(
                dict(
                    setting=vars(args),
                    torch=torch.__version__,
                    rows=rows,
                    largest_difference=difference,
                ),
                file,
                indent=1,
            )


if __name__ == '__main__':
    main()
