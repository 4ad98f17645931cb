"""What several kinds of situations share."""

from collections.abc import Callable
from typing import Any

from trial.place import Place
from trial.situation import Found, Wrong


def trains(place: Place, *arguments: Any, **short: Any) -> Found:
    """Training must work: the iterations of the log are those that were asked for."""
    values = place.train(*arguments, **short)
    return Found(values.get('step'), short.get('iterations', 2), 'iterations trained:', 0)


def must_tell(place: Place, *arguments: Any, **short: Any) -> Wrong:
    """Training cannot be right: where it comes to its end nothing has been said."""
    place.train(*arguments, **short)
    return Wrong('trains to the end without a word')


def pq(place: Place, *arguments: Any, right: float | None = None, **rest: Any) -> Found:
    """The PQ of a test, by default against that of the unchanged data."""
    right = known_pq(place) if right is None else right
    return Found(float(place.test(*arguments, **rest)['PQ']), right, 'PQ')


def known_pq(place: Place) -> float:
    """The PQ of the trained model on the unchanged data."""
    return float(place.known['PQ'])


def truth_itself(place: Place, change: Callable[[dict], Any]) -> Found:
    """Score the changed truth against the unchanged one, whose PQ is 100."""
    place.copy_truth()
    place.edit(change, 'val')
    return Found(place.evaluate('val', 'pred')['All'], 100.0, 'PQ')


def each_segment(change: Callable[[dict], Any]) -> Callable[[dict], None]:
    def change_all(content: dict) -> None:
        for annotation in content['annotations']:
            for segment in annotation['segments_info']:
                change(segment)

    return change_all


def each_category(change: Callable[[dict], Any]) -> Callable[[dict], None]:
    def change_all(content: dict) -> None:
        for category in content['categories']:
            change(category)

    return change_all


def first_segment(**values: Any) -> Callable[[dict], None]:
    """Give the first segment of the first image other values."""

    def change(content: dict) -> None:
        content['annotations'][0]['segments_info'][0].update(values)

    return change
