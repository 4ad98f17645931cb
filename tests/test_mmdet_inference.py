"""mmdet's inference API on our models: the prediction of an evaluation, and a picture of it."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cmt_deeplab.errors import UserError
from mmcv.transforms import Compose, LoadImageFromFile
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
TINY = CONFIGS / 'cmt_deeplab/cmt-deeplab_tiny_shapes.py'
# untrained weights give segments
CERTAIN = dict(
    pixel_threshold=1e-3,
    overlap_threshold=0.0,
    thing_threshold=0.0,
    stuff_threshold=0.0,
    thing_area=0,
    stuff_area=0,
)


def config_of(path: Path, **options) -> Config:
    config = Config.fromfile(str(path))
    config.merge_from_dict(
        {
            'model.postprocess': CERTAIN,
            **{key.replace('__', '.'): value for key, value in options.items()},
        }
    )
    return config


def save_weights(config: Config, path: Path) -> str:
    """A checkpoint as training writes it, with the classes of the data set."""
    torch.manual_seed(0)
    model = MODELS.build(dict(config.model, backbone=dict(config.model.backbone, init_cfg=None)))
    model.init_weights()
    dataset = DATASETS.build(dict(config.test_dataloader.dataset, lazy_init=True))
    meta = dict(
        dataset_meta=dict(
            DATASETS.get(config.test_dataloader.dataset.type).METAINFO, **dataset.metainfo
        )
    )
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return str(path)


@pytest.fixture(scope='module')
def image_path(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp('image') / 'scene.png'
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC))
    return str(path)


@pytest.fixture
def tiny(tmp_path):
    config = config_of(TINY)
    return config, save_weights(config, tmp_path / 'tiny.pth')


def test_detector_takes_paths_and_arrays(tiny, image_path):
    model = init_detector(tiny[0], tiny[1], device='cpu')
    assert (
        model.dataset_meta['thing_classes'][0] == 'disk'
        and len(model.dataset_meta['palette']) == 11
    )
    from_path = inference_detector(model, image_path)
    (from_array,) = inference_detector(model, [cv2.imread(image_path)])
    segments = from_path.pred_panoptic_seg.sem_seg
    assert segments.shape == (1, 120, 160) and len(from_path.pred_panoptic_seg.segments_info) > 0
    torch.testing.assert_close(segments, from_array.pred_panoptic_seg.sem_seg)


def test_arrays_and_paths_in_any_order(tiny, image_path):
    """mmdet names the loader of the first image in the config of the model, and leaves it there."""
    config, image = tiny[0], cv2.imread(image_path)
    written = config.dump()
    model = init_detector(config, tiny[1], device='cpu')
    given = [image, image_path, [image, image_path], [image_path, image], Path(image_path)]
    results = []
    for each in given:
        found = inference_detector(model, each)
        results += found if isinstance(found, list) else [found]
    for _ in range(2):
        inferencer = DetInferencer(model=config, weights=tiny[1], device='cpu', show_progress=False)
        for each in (image, Path(image_path).parent, [Path(image_path), image]):
            results += inferencer(each, return_datasamples=True)['predictions']
    for result in results:
        torch.testing.assert_close(
            result.pred_panoptic_seg.sem_seg, results[0].pred_panoptic_seg.sem_seg
        )
    assert len(results) == 15 and config.dump() == written


def test_instances_and_a_semantic_map_when_asked(tmp_path, image_path):
    config = config_of(TINY, model__semantic_on=True, model__instance_on=True)
    weights = save_weights(config, tmp_path / 'tiny.pth')
    stored = torch.load(weights, weights_only=False)
    decoder = 'panoptic_head.transformer_decoder'
    bias = stored['state_dict'][f'{decoder}.predictor.class_head.conv.bias']
    bias[0], bias[-1] = 20, -20  # disks alone
    torch.save(stored, weights)
    inferencer = DetInferencer(model=config, weights=weights, device='cpu', show_progress=False)
    result = inferencer(image_path, out_dir=str(tmp_path), no_save_pred=False)
    found = result['predictions'][0]
    assert set(found['labels']) == {0} and len(found['masks']) == len(found['bboxes'])
    assert (tmp_path / 'vis' / 'scene.png').is_file()
    (sample,) = inferencer(image_path, return_datasamples=True)['predictions']
    assert len(sample.pred_instances) == len(found['scores']) > 0
    assert set(sample.pred_sem_seg.sem_seg.unique().tolist()) <= {0, 255}


def test_a_config_whose_types_are_classes(tiny, image_path):
    """mmdet's fork asks each type for its text."""
    loader = tiny[0].test_dataloader.dataset.pipeline[0]
    loader.type = LoadImageFromFile
    inferencer = DetInferencer(model=tiny[0], weights=tiny[1], device='cpu', show_progress=False)
    assert len(inferencer(image_path)['predictions']) == 1 and loader.type is LoadImageFromFile


def test_what_is_no_image_is_refused(tiny, image_path, tmp_path):
    image = cv2.imread(image_path)
    model = init_detector(tiny[0], tiny[1], device='cpu')
    inferencer = DetInferencer(model=tiny[0], weights=tiny[1], device='cpu', show_progress=False)
    with pytest.raises(UserError, match='holds no image'):
        inferencer(str(tmp_path))
    half = tmp_path / 'half.png'
    half.write_bytes(Path(image_path).read_bytes()[:500])
    cases = [image[..., 0], image[:0], image[None], image.astype(np.uint16), image / 255]
    cases += [torch.from_numpy(image), None, 'nothing.jpg', str(half), [image, image[..., :1]]]
    cases += ['file:///nothing.jpg', 's3://nothing/at/all.jpg']
    for given in cases:
        for infer in (partial(inference_detector, model), inferencer):
            with pytest.raises(UserError) as error:
                infer(given)
            assert '\n' not in str(error.value) and str(error.value).endswith('.')


@pytest.mark.parametrize('batch_size', [1, 2])
def test_inferencer_writes_pictures_and_segment_maps(tiny, image_path, tmp_path, batch_size):
    inferencer = DetInferencer(model=tiny[0], weights=tiny[1], device='cpu', show_progress=False)
    result = inferencer(
        [image_path, image_path], out_dir=str(tmp_path), no_save_pred=False, batch_size=batch_size
    )
    assert cv2.imread(result['predictions'][0]['panoptic_seg_path']).shape == (120, 160, 3)
    picture = cv2.imread(str(tmp_path / 'vis' / 'scene.png'))
    assert (
        picture.shape[1] * 120 == picture.shape[0] * 160
        and len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    )
    array = inferencer(cv2.imread(image_path), return_vis=True)
    assert (array['predictions'][0]['panoptic_seg'] != 0).any() and len(array['visualization']) == 1


@pytest.mark.parametrize('name', ['cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'])
def test_a_coco_config_without_its_data(name, image_path, tmp_path):
    config = config_of(CONFIGS / name)
    inferencer = DetInferencer(
        model=config,
        weights=save_weights(config, tmp_path / 'coco.pth'),
        device='cpu',
        show_progress=False,
    )
    inferencer(image_path, out_dir=str(tmp_path))
    assert (
        'person' in inferencer.model.dataset_meta['thing_classes']
        and len(inferencer.model.dataset_meta['classes']) == 133
    )
    assert (tmp_path / 'vis' / 'scene.png').is_file()


def test_a_plain_image_is_resized_as_in_an_evaluation(tiny, image_path):
    pipeline = [
        step
        for step in tiny[0].test_dataloader.dataset.pipeline
        if step.type != 'LoadPanopticIndexMap'
    ]
    preprocessor = MODELS.build(tiny[0].model).data_preprocessor
    batches = []
    for extra in (dict(), dict(image_size=(96, 96), sample_idx=0)):
        packed = Compose(pipeline)(dict(img_path=image_path, img_id=0, **extra))
        batches.append(
            preprocessor(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]))
        )
    plain, evaluated = batches
    assert (
        plain['data_samples'][0].input_image_shape
        == evaluated['data_samples'][0].input_image_shape
        == (72, 96)
    )
    assert torch.equal(plain['inputs'], evaluated['inputs'])


def test_in_a_data_set_the_size_is_still_demanded():
    with pytest.raises(ValueError, match='PanopticResize has no size'):
        Compose([dict(type='PanopticResize')])(
            dict(img=np.zeros((8, 8, 3), np.uint8), sample_idx=0)
        )


@pytest.mark.parametrize(
    'name', ['mask2former_r50_1xb8_shapes.py', 'maskformer_r50_16xb1-75e_coco-panoptic.py']
)
def test_pipelines_of_the_peers_take_plain_images(name, image_path):
    pipeline = Compose(
        Config.fromfile(str(CONFIGS / 'peers' / name)).test_dataloader.dataset.pipeline
    )
    assert max(pipeline(dict(img_path=image_path, img_id=0))['inputs'].shape[-2:]) in (96, 1024)


def test_classes_that_are_not_read_yet_have_no_palette(shapes_root):
    options = dict(
        type='PanopticIndexDataset',
        data_root=str(shapes_root),
        ann_file='annotations/panoptic_val2017.json',
        pipeline=[],
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
        test_mode=True,
    )
    assert 'palette' not in DATASETS.build(dict(options, lazy_init=True)).metainfo
    assert len(DATASETS.build(options).metainfo['palette']) == 11
