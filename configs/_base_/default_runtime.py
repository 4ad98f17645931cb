"""What every run shares: the package, hooks, logging, processes.

Nothing here depends on the model or the data.
"""

custom_imports = dict(imports=['cmt_deeplab'], allow_failed_imports=False)
default_scope = 'mmdet'
runner_type = 'PanopticRunner'  # gloo where there is no GPU, exact resuming

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='PanopticLoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # 'auto' is the first figure of the evaluator, which is PQ of PanopticQualityMetric
    checkpoint=dict(
        type='CheckpointHook', by_epoch=False, interval=5000, max_keep_ckpts=3, save_best='auto'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='PanopticVisualizationHook'),  # draw=True: pictures of validations
    class_check=dict(type='PanopticClassCheckHook'),
    size_check=dict(type='PanopticSizeCheckHook'),
    checkpoint_check=dict(type='PanopticCheckpointCheckHook'),
    not_finite=dict(type='PanopticNotFiniteHook'),
    batch_size=dict(type='PanopticBatchSizeHook'),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),  # on GPUs; gloo without
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='PanopticLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
log_level = 'INFO'
tta_model = dict(type='PanopticTTAModel')  # of test.py --tta
load_from = None
resume = False
