"""What the images of a data set tell together."""

import os.path as osp
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from cmt_deeplab.categories import class_of, described
from cmt_deeplab.evaluation.pq import aggregate

from .annotations import Split
from .pixels import VOID_SHARE, Measures
from .rules import Finding, found

COSTLY = 0.1  # of PQ; what costs less is a note
FEW_IMAGES = 50
SAME_PICTURE = 8  # of the 256 bits of the perceptual hash that may differ
FEWEST_BITS = 24  # of the hash that must be 0, and must be 1: flat pictures are all alike
CHUNK = 256  # images that are compared with all others at once
Measured = Sequence[tuple[Split, Sequence[Measures]]]


def class_findings(train: Split, val: Split | None) -> Iterator[Finding]:
    """Classes without an example, and few images."""
    ann_file, counts = train.source.ann_file, train.class_counts()
    if len(train.records) < FEW_IMAGES:
        yield found('PD408', ann_file, f'There are {len(train.records)} images.')
    seen = val.class_counts() if val else Counter()
    if lacking := [c for c in map(class_of, train.content['categories']) if not counts[c]]:
        unlearned = [c for c in seen if not counts[c]]
        share = len(unlearned) / max(len(seen), 1)
        message = f'There is none of {_listed(lacking)}.'
        if unlearned:
            message += (
                f' Validation has {len(unlearned)} of them, so PQ can be {100 * (1 - share):.1f} '
                'at most.'
            )
        yield found('PD405', ann_file, message, severity=_severity(share))
    if val is None:
        yield found('PD409', ann_file, 'There is no validation split beside it.')
    elif lacking := [c for c in map(class_of, val.content['categories']) if not seen[c]]:
        yield found('PD406', val.source.ann_file, f'There is none of {_listed(lacking)}.')


def center_findings(split: Split, num_centers: int) -> Iterator[Finding]:
    numbers = [
        sum(not s.get('iscrowd') for s in record['segments_info']) for record in split.records
    ]
    beyond = [n - num_centers for n in numbers if n > num_centers]
    if beyond:
        yield found(
            'PD407',
            split.source.ann_file,
            f'{len(beyond)} of {len(numbers)} images have up to {max(numbers)} segments, and a '
            f'model with {num_centers} centers misses at least {sum(beyond) / sum(numbers):.1%} of '
            'all segments.',
        )


def pixel_findings(split: Split, measured: Sequence[Measures], stride: int) -> Iterator[Finding]:
    """Void, segments that vanish with the PQ that is left, and things that are one segment."""
    path, names = split.source.ann_file, split.categories
    void, pixels = (sum(getattr(m, key) for m in measured) for key in ('void', 'pixels'))
    if void > VOID_SHARE * pixels:
        yield found('PD308', path, f'{void / pixels:.0%} of all pixels are void.')
    vanished = sum((m.vanished for m in measured), Counter())
    if vanished:
        total = Counter(
            s['category_id']
            for record in split.records
            for s in record['segments_info']
            if not s.get('iscrowd')
        )
        counts = {c: [n - vanished[c], n - vanished[c], 0, vanished[c]] for c, n in total.items()}
        ceiling = aggregate([counts], {c: True for c in total})['All']['pq']
        yield found(
            'PD310',
            path,
            f'{vanished.total()} of {total.total()} segments have no pixel at stride {stride}, so '
            f'PQ can be {100 * ceiling:.2f} at most (most of them: '
            f'{_listed([class_of(names[c]) for c, _ in vanished.most_common()])}).',
            severity=_severity(1 - ceiling),
        )
    for category, entry in names.items():
        looks = [m.one_segment[category] for m in measured if category in m.one_segment]
        if sum(looks) >= 2 and sum(looks) > len(looks) / 2:
            yield found(
                'PD311',
                path,
                f'{entry["name"]!r} is one segment of several parts in {sum(looks)} of the '
                f'{len(looks)} images that show it.',
            )


def repeated_images(measured: Measured) -> Iterator[Finding]:
    """Images that stand in both splits or twice in one, by their bytes or by their looks."""
    first, named = {}, {}
    for split, measures in measured:
        for record, m in zip(split.records, measures):
            path, name = record['img_path'], osp.basename(record['img_path'])
            other, of = first.setdefault(m.digest, (path, split)) if m.digest else (path, split)
            if other != path:
                yield found(
                    'PD403' if of is split else 'PD401', path, f'It is the same as {other}.'
                )
            named.setdefault(name, {})[id(split)] = path
    if both := sorted(name for name, paths in named.items() if len(paths) == 2):
        path = measured[-1][0].source.ann_file
        yield found(
            'PD404', path, f'{len(both)} file names stand in both splits (first: {both[0]}).'
        )
    if len(measured) == 2:
        yield from _alike(measured)


def _alike(measured: Measured) -> Iterator[Finding]:
    """Pairs whose perceptual hashes differ in few bits, by products of bits as -1 and 1."""
    sides = []
    for split, measures in measured:
        chosen = [
            (record['img_path'], m.digest, bits)
            for record, m in zip(split.records, measures)
            if m.picture is not None
            for bits in [np.unpackbits(m.picture)]
            if FEWEST_BITS <= bits.sum() <= len(bits) - FEWEST_BITS
        ]
        if not chosen:
            return
        sides.append((chosen, 2.0 * np.stack([bits for *_, bits in chosen], dtype=np.float32) - 1))
    (train, train_signs), (val, val_signs) = sides
    for start in range(0, len(val), CHUNK):
        agreement = val_signs[start : start + CHUNK] @ train_signs.T
        nearest = agreement.argmax(axis=1)
        differing = (train_signs.shape[1] - agreement.max(axis=1)) / 2
        for k in np.flatnonzero(differing <= SAME_PICTURE):
            (path, digest, _), (other, twin, _) = val[start + k], train[nearest[k]]
            if digest != twin:
                yield found('PD402', path, f'It looks like {other}.')


def _severity(cost: float) -> str:
    return 'warning' if cost >= COSTLY else 'note'


def _listed(classes: Sequence[tuple[str, bool]]) -> str:
    words = ', '.join(map(described, classes[:5]))
    return f'{words} and {len(classes) - 5} more' if len(classes) > 5 else words
