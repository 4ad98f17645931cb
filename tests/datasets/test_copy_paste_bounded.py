"""Copy-paste on dense images: not more segments than the cluster centers were chosen for."""

import numpy as np
from cmt_deeplab.datasets import PanopticCopyPaste
from cmt_deeplab.datasets.index_plane import present_segments


class Dense:
    """One image of 6x10 pixels, each of them a thing but for the first six."""

    most_segments = 60

    def __len__(self):
        return 1

    def get_data_info(self, _):
        thing = dict(label=0, is_crowd=False, of_thing_class=True)
        plane = np.arange(60, dtype=np.int16).reshape(6, 10)
        plane[0, :6] = -1
        return dict(
            img=np.zeros((6, 10, 3), np.uint8),
            gt_index_map=plane,
            gt_segments_info=[dict(thing, id=k) for k in range(60)],
            dataset=self,
        )


class Shifted(PanopticCopyPaste):
    """The second image is larger, so that its segments cover a part of the first's."""

    def __init__(self, **kwargs):
        super().__init__(pipeline=[], **kwargs)
        self.pipeline = self.enlarged

    @staticmethod
    def enlarged(info):
        for key in ('img', 'gt_index_map'):
            info[key] = info[key].repeat(3, axis=0).repeat(3, axis=1)
        return info


def numbers_of_segments(**kwargs) -> list[int]:
    np.random.seed(0)
    out = [Shifted(**kwargs)(Dense().get_data_info(0)) for _ in range(20)]
    return [
        int(present_segments(each['gt_index_map'], len(each['gt_segments_info'])).sum())
        for each in out
    ]


def test_no_image_becomes_fuller_than_the_fullest():
    assert min(numbers_of_segments()) > 60
    bounded = numbers_of_segments(bounded=True)
    assert max(bounded) <= 60 and min(bounded) > 54 - 6  # the six that have room do come
    # Which six they are is drawn anew each time.
    np.random.seed(0)
    ids = {
        info['id']
        for _ in range(20)
        for info in Shifted(bounded=True)(Dense().get_data_info(0))['gt_segments_info'][60:]
    }
    assert len(ids) > 20
