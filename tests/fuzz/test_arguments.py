"""One wrong argument of one part of the model: a sentence, or a model that trains and predicts."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from cmt_deeplab.config_check import check_config
from cmt_deeplab.construction import keywords
from cmt_deeplab.datasets.packing import PackPanopticInputs
from cmt_deeplab.errors import user_sentence
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from small_model import COMPLETE, set_in

HEAD, DECODER = 'model.panoptic_head', 'model.panoptic_head.transformer_decoder'
LOSS, ASSIGNER = 'model.criterion.losses.pq', 'model.criterion.assigner'
PARTS = [
    ('model', COMPLETE),
    ('model.data_preprocessor', dict(type='PanopticDataPreprocessor')),
    ('model.backbone', COMPLETE['backbone']),
    (HEAD, COMPLETE['panoptic_head']),
    (f'{HEAD}.pixel_decoder', COMPLETE['panoptic_head']['pixel_decoder']),
    (f'{HEAD}.predictor', COMPLETE['panoptic_head']['predictor']),
    (f'{HEAD}.semantic_head', COMPLETE['panoptic_head']['semantic_head']),
    (DECODER, COMPLETE['panoptic_head']['transformer_decoder']),
    (f'{DECODER}.layer', COMPLETE['panoptic_head']['transformer_decoder']['layer']),
    (f'{DECODER}.layer', dict(type='MaXLayer')),
    (f'{DECODER}.layer', dict(type='KMaXLayer')),
    ('model.criterion', COMPLETE['criterion']),
    (ASSIGNER, dict(type='PanopticHungarianAssigner')),
    (ASSIGNER, dict(type='PanopticMatchCostAssigner', match_costs=[dict(type='DiceCost')])),
    (LOSS, dict(type='PanopticPQLoss')),
    (LOSS, dict(type='PanopticMaskIDLoss')),
    (LOSS, dict(type='PanopticInstanceDiscriminationLoss')),
    (LOSS, dict(type='PanopticMaskDiscriminationLoss')),
    (LOSS, dict(type='PanopticSemanticLoss')),
    (LOSS, dict(type='PanopticReferencePointLoss')),
    (LOSS, dict(type='PanopticMaskLoss', loss=dict(type='DiceLoss'))),
    (LOSS, dict(type='PanopticClassLoss', loss=dict(type='CrossEntropyLoss'))),
    ('model.postprocess', dict(type='PanopticMaskWiseMerge')),
    ('model.postprocess', dict(type='PanopticPixelWiseMerge')),
]
NUMBERS = [-1, 0, 0.5, -0.5, 1.5, 3, 1e9, float('nan'), float('inf')]
DICTS = [{}, dict(a=1), dict(type='ReLU')]
LISTS = [[], [1], (1,) * 9, ['a'], [None], [-1], [{}]]
VALUES = [None, True, False, '', 'x', *NUMBERS, *DICTS, *LISTS]


@pytest.fixture(scope='module')
def batch() -> dict:
    """Two images of 65x65 with three segments."""
    plane = np.zeros((65, 65), np.int16)
    plane[:30], plane[:, :20] = 1, 2
    image = np.random.default_rng(0).integers(0, 255, (65, 65, 3), dtype=np.uint8)
    segments = [dict(id=k + 1, label=k, is_crowd=False) for k in range(3)]
    results = dict(
        img=image,
        img_shape=plane.shape,
        ori_shape=plane.shape,
        gt_index_map=plane,
        gt_segments_info=segments,
        num_classes=5,
        img_id=1,
    )
    packed = [PackPanopticInputs()(dict(results)) for _ in range(2)]
    return {key: [entry[key] for entry in packed] for key in packed[0]}


@st.composite
def wrong_arguments(draw) -> tuple[str, dict, str, object]:
    slot, part = draw(st.sampled_from(PARTS))
    part_type = MODELS.get(part['type']) or TASK_UTILS.get(part['type'])
    key = draw(st.sampled_from(sorted(keywords(part_type)[0])))
    return slot, part, key, draw(st.sampled_from(VALUES))


def train_and_predict(config: dict, batch: dict) -> None:
    """As tools/train.py: the config is checked, the model built and used."""
    check_config(Config(dict(deepcopy(config), default_scope='mmdet')))
    model = MODELS.build(config['model'])
    for training in (True, False):
        samples = [sample.clone() for sample in batch['data_samples']]
        data = dict(inputs=list(batch['inputs']), data_samples=samples)
        data = model.train(training).data_preprocessor(data, training)
        with torch.set_grad_enabled(training):
            found = model(**data, mode='loss' if training else 'predict')
        if training:
            model.parse_losses(found)[0].backward()


@given(wrong=wrong_arguments())
def test_a_wrong_argument_is_refused_in_one_sentence_or_works(wrong, batch):
    slot, part, key, value = wrong
    config = dict(model=deepcopy(COMPLETE))
    set_in(config, slot, dict(deepcopy(part), **{key: deepcopy(value)}))
    try:
        train_and_predict(config, batch)
    except Exception as error:
        sentence = user_sentence(error)
        if sentence is None:
            raise
        assert sentence and '\n' not in sentence
