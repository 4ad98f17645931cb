"""Inherit beside a schedule: validation, testing and the saved weights are an exponential moving average of the trained ones."""

custom_hooks = [
    dict(
        type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True, priority=49
    )
]
