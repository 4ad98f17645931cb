"""torchrun without its stack trace: where a process fails, its own message stands last but for one line. Called by launch.sh."""

import signal
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

if __name__ == '__main__':
    try:
        main()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        end = f'exit code {code}' if code >= 0 else f'signal {signal.Signals(-code).name}'
        sys.exit(f'Process {rank} ended first, with {end}; what it wrote stands above.')
