"""Files that are cut off or changed in single bits, at many places."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from trial.judge import Ended, Outcome, judge
from trial.place import Place
from trial.situation import TRAIN, Found, Situation, Wrong, faults

from .kills import keep
from .short_runs import ITERATIONS, ShortRun, same_tensors

kind = faults(
    'Broken files',
    'A file is cut off at many lengths, or single bits of it are changed. It is refused with a '
    'sentence that names it, or it is read as if it were whole.',
)
TRIES = 100


def cut_off(content: bytes, index: int, chance: random.Random) -> bytes:
    """The first part of a file; the very shortest and the longest lengths come first."""
    edges = [0, 1, 4, len(content) - 1, len(content) - 20, len(content) // 2]
    return content[: edges[index] if index < len(edges) else chance.randrange(len(content))]


def changed(content: bytes, index: int, chance: random.Random) -> bytes:
    """The file with one bit turned."""
    place = chance.randrange(len(content))
    return (
        content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]
    )


WAYS = {'cut off': cut_off, 'changed in one bit': changed}


def one_try(act: Callable, told: str) -> Outcome:
    """The outcome of ``act``, which returns as a situation does or raises."""
    ended = Ended()
    try:
        ended.found = act()
    except SystemExit as end:
        ended.exit_code = end.code
    except Exception as error:
        ended.error = error
    outcome = judge(Situation('', '', '', act, told=told, late=True), ended)
    return Outcome(outcome.kind, '') if outcome.kind == 'right' else outcome


def broken(path: Path, break_it: Callable, act: Callable, number: int = TRIES) -> Iterator[Outcome]:
    """Break a file in many ways, and each time let ``act`` read it."""
    content, chance = path.read_bytes(), random.Random(13)
    for index in range(number):
        path.write_bytes(break_it(content, index, chance))
        yield one_try(act, path.name)
    path.write_bytes(content)


for way, break_it in WAYS.items():

    @kind(f'A checkpoint is {way}', 'mmengine.runner.load_checkpoint')
    def checkpoint(place: Place, break_it=break_it) -> Iterator[Outcome]:
        from mmengine.runner import load_checkpoint

        run = ShortRun(place)
        import toy

        model = toy.ToyModel()
        path = place.folder / 'broken.pth'
        shutil.copy(place.folder / f'unbroken/iter_{ITERATIONS}.pth', path)

        def act() -> Found | Wrong:
            for value in model.state_dict().values():
                value.zero_()
            load_checkpoint(model, str(path), map_location='cpu')
            same = same_tensors(model.state_dict(), run.weights)
            return Found(True, True, '') if same else Wrong('loads other weights without a word')

        yield from broken(path, break_it, act, 2 * TRIES)

    @kind(f'A checkpoint is {way}', TRAIN + ' --resume')
    def resumed(place: Place, break_it=break_it) -> Iterator[Outcome]:
        run = ShortRun(place, keep(-1))
        content, chance = (place.folder / 'unbroken/iter_4.pth').read_bytes(), random.Random(14)
        path = place.folder / 'broken.pth'
        for index in range(TRIES // 4):
            path.write_bytes(break_it(content, index, chance))
            outcome = run.goes_on(f'work{index}', 4, '--resume', path)
            if outcome.text.startswith('does not resume') and path.name in outcome.text:
                outcome = Outcome('told', outcome.text.partition(': ')[2])
            yield outcome

    @kind(f'The newest checkpoint is {way}', TRAIN + ' --resume, automatically')
    def newest(place: Place, break_it=break_it) -> Iterator[Outcome]:
        run = ShortRun(place, keep(3))
        chance = random.Random(15)
        for index in range(TRIES // 4):
            work = place.folder / f'work{index}'
            work.mkdir()
            for number in (ITERATIONS - 2, ITERATIONS - 1):
                shutil.copy(place.folder / f'unbroken/iter_{number}.pth', work)
            path = work / f'iter_{ITERATIONS - 1}.pth'
            content = path.read_bytes()
            path.write_bytes(break_it(content, index, chance))
            (work / 'last_checkpoint').write_text(str(path))
            try:
                state = torch.load(path, weights_only=False)['state_dict']
                good = torch.load(place.folder / 'unbroken' / path.name, weights_only=False)
                whole = same_tensors(state, good['state_dict'])
            except Exception:
                whole = False
            yield falls_back(run, work.name, whole)


def falls_back(run: ShortRun, work: str, whole: bool) -> Outcome:
    """A broken newest checkpoint is passed over with a word; where all of it counts, it is used."""
    outcome = run.goes_on(work, ITERATIONS - 2)
    if outcome.kind == 'right' and not outcome.text:
        return Outcome('silently wrong', 'passes the broken one over without a word')
    if whole and outcome.kind != 'right':
        return Outcome('right', '')
    return outcome


LAST = {
    'empty': b'',
    'of foreign bytes': bytes(range(128, 256)),
    'the name of a file that does not exist': b'/absent/iter_9.pth',
    'the name of a folder': b'/',
    'of two lines': b'iter_8.pth\niter_4.pth\n',
    'cut off': None,
}

for name, content in LAST.items():

    @kind(f'last_checkpoint is {name}', TRAIN + ' --resume, automatically')
    def last(place: Place, content=content) -> Iterator[Outcome]:
        run = ShortRun(place, keep(3))
        work = place.folder / 'work'
        text = str(work / f'iter_{ITERATIONS - 1}.pth').encode()
        for cut in (9, len(text) - 5) if content is None else (None,):
            work.mkdir()
            for number in (ITERATIONS - 2, ITERATIONS - 1):
                shutil.copy(place.folder / f'unbroken/iter_{number}.pth', work)
            (work / 'last_checkpoint').write_bytes(text[:cut] if cut else content)
            outcome = run.goes_on('work', ITERATIONS - 1)
            told = 'does not resume: ' in outcome.text and 'last_checkpoint' in outcome.text
            yield Outcome('told', outcome.text.partition(': ')[2]) if told else outcome
            shutil.rmtree(work)


def dataset(place: Place) -> Callable:
    """What builds the training data set of the config, with all its checks, and reads an image."""
    import cmt_deeplab  # noqa: F401
    from mmdet.registry import DATASETS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    cfg = Config.fromfile(str(place.config()))
    first = place.images('train')[0].name

    def act() -> Found | Wrong:
        built = DATASETS.build(cfg.train_dataloader.dataset.copy())
        built.full_init()
        values = [built.get_data_info(index) for index in range(len(built))]
        values += [built[index]['inputs'].sum().item() for index in range(len(built))]
        right = len(built) == len(place.images('train'))
        return Found(True, True, '') if right and first else Wrong('images are missing')

    return act


FILES = {
    'annotation file': (lambda place: place.file('train'), ''),
    'panoptic PNG': (lambda place: sorted(place.pngs('train').glob('*.png'))[0], ''),
    'PNG image': (lambda place: place.images('train')[0], ''),
    'JPEG image': (lambda place: place.images('train')[0], 'JPEG'),
}

for name, (file, form) in FILES.items():

    @kind(f'A{"n" * (name[0] == "a")} {name} is cut off', 'PanopticIndexDataset')
    def data(place: Place, file=file, form=form) -> Iterator[Outcome]:
        from PIL import Image

        path = file(place)
        if form:
            Image.open(path).convert('RGB').save(path, format=form)
        yield from broken(path, cut_off, dataset(place))
