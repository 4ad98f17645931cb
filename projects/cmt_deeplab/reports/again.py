"""The report of a run that has ended, made again from its work dir."""

from pathlib import Path

from mmengine.config import Config

from cmt_deeplab.checkpoints.of_work_dir import best_checkpoint
from cmt_deeplab.construction import name_of
from cmt_deeplab.errors import MissingFileError, UserError, require_file


def write_report(work_dir: str | Path, *, checkpoint: str | Path | None = None) -> Path:
    """Evaluate a checkpoint of ``work_dir`` on its validation data and write the page again.

    The config is the one that the newest run in this folder used; the curves come from the log
    files of all its runs. Without ``checkpoint`` it is the best one by PQ or, where none is kept,
    the last.

    Raises:
        MissingFileError: the folder, its config or the checkpoint is missing.
        UserError: the config has no validation.
    """
    from cmt_deeplab.engine.runner_setup import build_runner

    work_dir = Path(work_dir)
    cfg = Config.fromfile(_config_file(work_dir))
    checkpoint = str(checkpoint or best_checkpoint(work_dir))
    require_file(checkpoint, f'The checkpoint {checkpoint} does not exist: correct the path.')
    if not cfg.get('val_dataloader'):
        raise UserError(f'The run in {work_dir} had no validation data, so it cannot be reported.')
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = dict(type='TestLoop')
    cfg.work_dir, cfg.load_from, cfg.resume, cfg.launcher = str(work_dir), checkpoint, False, 'none'
    hooks = cfg.get('custom_hooks') or []
    every = [*hooks, *filter(None, (cfg.get('default_hooks') or {}).values())]
    if not any(name_of(hook.get('type')).endswith('PanopticReportHook') for hook in every):
        cfg.custom_hooks = [*hooks, dict(type='PanopticReportHook')]
    print(f'evaluating {checkpoint} again ...', flush=True)
    build_runner(cfg).test()
    return work_dir / 'report.html'


def _config_file(work_dir: Path) -> Path:
    """The config of the newest run of a folder, complete, as mmengine writes it."""
    files = sorted(work_dir.glob('*/vis_data/config.py')) or sorted(work_dir.glob('*.py'))
    if not files:
        raise MissingFileError(
            f'{work_dir} has no TIMESTAMP/vis_data/config.py: give the work dir of a training.'
        )
    return files[-1]
