"""Several processes read an annotation file once, and map its records into memory."""

import errno
import gc
import os

import numpy as np
import pytest
from cmt_deeplab.datasets import PanopticIndexDataset
from cmt_deeplab.datasets.shared_records import built_together, collector_paused
from cmt_deeplab.errors import UserError
from processes import in_processes
from small_panoptic import write_panoptic


def build(root, ann_file='annotations/panoptic_train2017.json', kind=None, **options):
    prefix = dict(img='train2017', seg='annotations/panoptic_train2017')
    return (kind or PanopticIndexDataset)(
        data_root=str(root), ann_file=ann_file, data_prefix=prefix, pipeline=[], **options
    )


class CountingDataset(PanopticIndexDataset):
    """A user's data set, which fills a list of its own in place."""

    def __init__(self, **options):
        self.sizes = []
        super().__init__(**options)

    def load_data_list(self):
        records = super().load_data_list()
        self.sizes += [record['height'] for record in records]
        return records


def record_of(dataset) -> tuple:
    info = {k: v for k, v in dataset[1].items() if k != 'dataset'}
    classes = dataset.metainfo['classes'], dataset.category_ids, dataset.most_segments
    return len(dataset), info, classes


def test_one_process_reads_for_all(tmp_path, monkeypatch):
    root, calls = write_panoptic(tmp_path), []
    read = PanopticIndexDataset.load_data_list
    monkeypatch.setattr(
        PanopticIndexDataset, 'load_data_list', lambda self: calls.append(1) or read(self)
    )

    def work() -> tuple:
        with built_together():
            dataset = build(root, indices=2)
            with pytest.MonkeyPatch.context() as patch:
                patch.delattr(np, 'save')
                dataset.full_init()  # as a ConcatDataset does once more
        return record_of(dataset), len(calls), type(dataset.data_bytes)

    (first, reads, kind), (second, others, _) = in_processes(2, work)
    assert (reads, others, kind) == (1, 0, np.memmap)
    assert first == second == record_of(build(root, indices=2))
    assert type(build(root).data_bytes) is np.ndarray


def test_what_a_data_set_fills_in_place_is_taken_over(tmp_path):
    root = write_panoptic(tmp_path)

    def work() -> list:
        with built_together():
            return build(root, kind=CountingDataset).sizes

    first, second = in_processes(2, work)
    assert first == second and len(first) == len(build(root))


def test_on_a_full_disk_each_process_reads(tmp_path, monkeypatch):
    root, calls = write_panoptic(tmp_path), []
    expected, read = record_of(build(root)), PanopticIndexDataset.load_data_list

    def full(path, values):
        path = type(tmp_path)(path)
        path.write_bytes(b'begun')
        raise OSError(errno.ENOSPC, 'No space left on device', str(path))

    monkeypatch.setattr(np, 'save', full)
    monkeypatch.setattr(
        PanopticIndexDataset, 'load_data_list', lambda self: calls.append(1) or read(self)
    )

    def work() -> tuple:
        with built_together():
            return record_of(build(root)), len(calls)

    assert in_processes(2, work) == [(expected, 1)] * 2


def test_a_machine_that_cannot_see_the_file_reads_itself(tmp_path, monkeypatch):
    root = write_panoptic(tmp_path)
    expected, exists = record_of(build(root)), os.path.isfile
    monkeypatch.setattr(
        os.path, 'isfile', lambda path: 'records_' not in str(path) and exists(path)
    )

    def work() -> tuple:
        with built_together():
            return record_of(build(root))

    assert in_processes(2, work) == [expected] * 2


def test_all_processes_hear_what_is_wrong(tmp_path):
    root = write_panoptic(tmp_path)

    def work() -> str:
        with built_together(), pytest.raises(UserError) as caught:
            build(root, 'absent.json')
        return str(caught.value)

    first, second = in_processes(2, work)
    assert first == second and 'absent.json does not exist' in first


def test_the_collector_goes_on_afterwards():
    with collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
