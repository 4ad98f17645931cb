"""Makes the checkpoints of earlier releases that stand here, and what followed them.

    python tests/engine/earlier/make.py 0.1.0 bd4ef1a~1     (in a clone with the whole history)
    python tests/engine/earlier/make.py 0.2.0 29e466b

The code of the commit trains its own toy model for 8 iterations, without augmentation and dropout,
whose draws are other ones now. Its checkpoint of iteration 4 becomes ``RELEASE.pth``. The losses of
all iterations and sums over the last weights, trained and averaged, go to ``results.json``.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRAIN = """
import json
import cmt_deeplab
import torch
from mmengine.hooks import Hook
from toy_run import toy_runner

class Losses(Hook):
    values = []
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.values.append(outputs['loss'].item())

runner = toy_runner(
    'run',
    train_dataloader__dataset__noise=0.0,
    custom_hooks=[dict(type='EMAHook', momentum=0.1)],
    val_dataloader=None, val_cfg=None, val_evaluator=None,
)
runner.model.dropout.p = 0.0
runner.register_hook(Losses())
runner.train()
average = next(hook for hook in runner.hooks if hasattr(hook, 'ema_model')).ema_model
sums = [sum(p.abs().sum().item() for p in m.parameters()) for m in (runner.model, average)]
print(json.dumps(dict(losses=Losses.values, sums=sums)))
"""


def main(release: str, commit: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder, 'code')
        subprocess.run(['git', 'clone', '--quiet', HERE.parents[2], code], check=True)
        subprocess.run(['git', '-C', code, 'checkout', '--quiet', commit], check=True)
        paths = f'{code / "projects"}{os.pathsep}{code / "tests/helpers"}'
        trained = subprocess.run(
            [sys.executable, '-c', TRAIN],
            env={**os.environ, 'PYTHONPATH': paths},
            cwd=code,
            check=True,
            capture_output=True,
            text=True,
        )
        shutil.copyfile(code / 'run/iter_4.pth', HERE / f'{release}.pth')
    results = HERE / 'results.json'
    known = json.loads(results.read_text()) if results.exists() else {}
    known[release] = json.loads(trained.stdout.splitlines()[-1])
    results.write_text(json.dumps(known, indent=1) + '\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
