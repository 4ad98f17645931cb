"""From nothing to a trained panoptic model and a page about it, in minutes on a CPU.

    python tools/quickstart.py [--iters N] [--minutes M] [--work-dir FOLDER] ...

It generates scenes, trains a small CMT-DeepLab on them, evaluates it and writes ``report.html``.
``--help`` lists all arguments; ``bash tools/quickstart.sh`` makes the environment first. The last
two lines that it prints are the path of the report and ``PQ xx.xx``. The parts lie in the package
``tools/quickstart/``, which Python finds before this file of the same name.
"""

import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS.parent / 'projects')]

from quickstart.command import main  # noqa: E402

if __name__ == '__main__':
    main()
