"""Batches in a few tensors are those that lists of samples would give."""

import pytest
import torch
from cmt_deeplab.models.data_preprocessor import PanopticDataPreprocessor
from cmt_deeplab.models.stacking import stacked_batch
from cmt_deeplab.structures import PADDING_INDEX
from mmdet.structures import DetDataSample
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData, PixelData
from toy_run import toy_runner


def sample(height: int, width: int, segments: int, **fields: object) -> dict:
    """An image of one gray, with a segment in each of its first rows, as the pipeline packs it."""
    plane = torch.arange(height)[:, None].expand(height, width).to(torch.int16)
    data = DetDataSample(metainfo=dict(img_id=height, img_shape=(height, width)))
    data.gt_panoptic_seg = PixelData(
        metainfo=dict(num_classes=5), index_map=torch.where(plane < segments, plane, -1)[None]
    )
    data.gt_segments = InstanceData(
        labels=torch.arange(segments) % 5, is_crowd=torch.zeros(segments, dtype=torch.bool)
    )
    image = torch.full((height, width, 3), height, dtype=torch.uint8).permute(2, 0, 1)
    return dict(inputs=image, data_samples=data, **fields)


@pytest.mark.parametrize('size', [(65, 97), None])
def test_a_stacked_batch_becomes_the_input_of_the_lists(size):
    samples = [sample(20, 97, 3), sample(65, 31, 0), sample(40, 40, 7)]
    preprocess = PanopticDataPreprocessor(
        align_corners=True, size=size, num_things_classes=2, num_stuff_classes=3
    )
    stacked = stacked_batch(samples, size=size)
    assert stacked['planes'].shape == (3, 65, 97)
    assert stacked['segments']['labels'].tolist() == [0, 1, 2, *(k % 5 for k in range(7))]
    assert all(set(x.gt_segments.keys()) == set() for x in stacked['data_samples'])
    ours, theirs = (
        preprocess(batch, training=True) for batch in (stacked, pseudo_collate(samples))
    )
    assert ours['inputs'].shape == (3, 3, 65, 97) and ours['inputs'].is_contiguous()
    for result in (ours, theirs):
        for image, found, own in zip(result['inputs'], result['data_samples'], samples):
            height, width = own['inputs'].shape[1:]
            expected = torch.zeros(3, 65, 97)
            expected[:, :height, :width] = (height - 127.5) / 127.5
            assert torch.equal(image, expected)
            plane, truth = found.gt_panoptic_seg.index_map[0], own['data_samples']
            assert torch.equal(plane[:height, :width], truth.gt_panoptic_seg.index_map[0])
            assert (plane[height:] == PADDING_INDEX).all()
            assert (plane[:, width:] == PADDING_INDEX).all()
            assert found.gt_panoptic_seg.num_classes == 5
            for key, value in truth.gt_segments.items():
                assert torch.equal(found.gt_segments[key], value)
            assert found.batch_input_shape == found.pad_shape == (65, 97)
            assert found.input_image_shape == (height, width) and found.img_id == height
    assert 'index_map' in samples[0]['data_samples'].gt_panoptic_seg  # what was given stays


def test_fields_of_the_user_go_to_the_device_too():
    samples = [sample(20, 31, 3), sample(40, 20, 2)]
    for each in samples:
        data = each['data_samples']
        data.gt_sem_seg = PixelData(sem_seg=torch.zeros(1, *each['inputs'].shape[1:]))
        data.gt_segments.masks = torch.ones(len(data.gt_segments), *each['inputs'].shape[1:])
    preprocess = PanopticDataPreprocessor(align_corners=True, size=(65, 65)).to('meta')
    for batch in (stacked_batch(samples, size=(65, 65)), pseudo_collate(samples)):
        for found, own in zip(preprocess(batch, training=True)['data_samples'], samples):
            expected = own['data_samples']
            assert found.gt_segments.masks.shape == expected.gt_segments.masks.shape
            assert found.gt_segments.labels.shape == expected.gt_segments.labels.shape
            for each in (*found.gt_segments.values(), found.gt_sem_seg.sem_seg):
                assert each.device.type == 'meta'


def test_what_the_preprocessor_has_to_judge_stays_in_lists():
    floating, gray = sample(9, 9, 1), sample(9, 9, 1)
    floating['inputs'], gray['inputs'] = floating['inputs'].float(), gray['inputs'][:1]
    marked, bare = sample(9, 9, 1), sample(9, 9, 1)
    marked['data_samples'].set_metainfo(dict(fit_to_input=True))
    del bare['data_samples'].gt_panoptic_seg
    others = floating, gray, marked, bare, sample(99, 9, 1), dict(inputs=sample(9, 9, 1)['inputs'])
    for other in others:
        samples = [other, other]
        found = stacked_batch(samples, size=(65, 65))
        assert found.keys() == other.keys() and isinstance(found['inputs'], list)


def test_the_planes_of_an_evaluation_keep_their_size():
    batch = pseudo_collate([sample(20, 97, 3)])
    preprocess = PanopticDataPreprocessor(align_corners=True, size=(65, 97))
    found = preprocess(batch, training=False)['data_samples'][0]
    assert found.gt_panoptic_seg.index_map.shape == (1, 20, 97)
    assert found is not batch['data_samples'][0]


class DarkeningPreprocessor(PanopticDataPreprocessor):
    """A user's own, which reads the list of images."""

    def fit_plain_images(self, data: dict) -> dict:
        return dict(data, inputs=[image // 2 for image in data['inputs']])


@pytest.mark.parametrize('kind', [PanopticDataPreprocessor, DarkeningPreprocessor])
def test_a_preprocessor_of_the_user_gets_lists(tmp_path, kind):
    runner = toy_runner(tmp_path)
    runner.model.data_preprocessor = kind(align_corners=True)
    del runner._train_dataloader['collate_fn']
    collate = runner.build_dataloader(runner._train_dataloader).collate_fn.func
    assert collate is (stacked_batch if kind is PanopticDataPreprocessor else pseudo_collate)
