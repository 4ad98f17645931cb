"""One number carries two: label + 1000 x instance has no room for 1000 classes."""

from trial.place import Place
from trial.situation import EVALUATE, TRAIN, Found, Wrong, section

from .common import trains

kind = section(
    'Many classes',
    "mmdet's panoptic map holds label + 1000 x instance in one number, so a model has at "
    'most 999 classes. The command line that compares two folders has no such bound.',
)

OFFSET = 'https://github.com/tensorflow/models/issues/8309'


def more_stuff(total: int):
    """Add stuff classes that no image has, until there are ``total``."""

    def change(content: dict) -> None:
        content['categories'] += [
            dict(id=1000 + n, name=f'stuff {n}', isthing=0, color=[n % 256, n // 256, 7])
            for n in range(total - 11)
        ]

    return change


for total, told in ((999, None), (1000, '999|1000'), (1001, '999|1001')):

    @kind(f'The data have {total} classes', TRAIN, told=told, report=OFFSET if told else '')
    def trained(place: Place, total: int = total) -> Found:
        place.edit(more_stuff(total))
        text = f'model = dict(num_things_classes=6, num_stuff_classes={total - 6})\n'
        return trains(place, text)

    @kind(f'The files have {total} classes', EVALUATE)
    def evaluated(place: Place, total: int = total) -> Found:
        place.edit(more_stuff(total))
        place.copy_truth()
        return Found(place.evaluate('val', 'pred')['All'], 100.0, 'PQ')


@kind('A detector is built with 1001 classes', 'init_detector', told='999|1001')
def detector(place: Place) -> Wrong:
    from mmdet.apis import inference_detector, init_detector

    text = 'model = dict(num_things_classes=6, num_stuff_classes=995)\n'
    model = init_detector(str(place.config(text)), None, device='cpu')
    inference_detector(model, str(place.images('val')[0]))
    return Wrong('predicts, though labels from 1000 on look like instances of others')


@kind(
    'All classes are stuff', TRAIN, report='https://github.com/open-mmlab/mmdetection/issues/10428'
)
def all_stuff(place: Place) -> Found:
    def change(content: dict) -> None:
        for category in content['categories']:
            category['isthing'] = 0

    place.edit(change)
    return trains(place, 'model = dict(num_things_classes=0, num_stuff_classes=11)\n')


@kind('All classes are things', TRAIN)
def all_things(place: Place) -> Found:
    def change(content: dict) -> None:
        for category in content['categories']:
            category['isthing'] = 1

    place.edit(change)
    return trains(place, 'model = dict(num_things_classes=11, num_stuff_classes=0)\n')
