"""torchrun, which ends with a sentence and the exit status of what ended it: see launch.sh.

Where the signal that ended it asks to stop, that is 128 + its number (SIGTERM: 143), after the
processes have written a checkpoint. They have 5 minutes for it, or the number of seconds in the
environment variable TORCH_ELASTIC_SHUTDOWN_TIMEOUT.
"""

import logging
import os
import signal
import sys

from torch.distributed import DistError, run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

SIGNALS = ('SIGTERM', 'SIGINT', 'SIGUSR1', 'SIGHUP', 'SIGQUIT')


def main() -> int:
    os.environ.setdefault('TORCH_ELASTIC_SHUTDOWN_TIMEOUT', '300')
    arguments = run.parse_args(None)
    # nohup ignores SIGHUP
    taken = [name for name in SIGNALS if name != 'SIGHUP' or signal.getsignal(signal.SIGHUP)]
    arguments.signals_to_handle = ','.join(taken)
    logging.disable(logging.ERROR)  # the processes say what is wrong
    place = f'{arguments.master_addr}:{arguments.master_port}'
    if int(arguments.node_rank):
        print(f'Machine {arguments.node_rank} looks for machine 0 at {place}.', file=sys.stderr)
    try:
        run.run(arguments)
    except SignalException as error:
        print(f'The processes have ended after {error.sigval.name}.', file=sys.stderr)
        return 128 + error.sigval
    except DistError as error:  # of the rendezvous
        reason = str(error).splitlines()[0]
        print(
            f'Error: The processes cannot meet at {place} ({reason}): '
            'set PORT to a port that no other run uses, and MASTER_ADDR to machine 0.',
            file=sys.stderr,
        )
        return 1
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            print(f'Error: Rank {rank} was ended by {failure.signal_name()}.', file=sys.stderr)
        return abs(failure.exitcode) + 128 * (failure.exitcode < 0)
    return 0


if __name__ == '__main__':
    sys.exit(main())
