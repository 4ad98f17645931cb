"""Settings of hypothesis: few fixed examples in the suite, many new ones in a long run.

    bash tools/run_tests.sh tests/fuzz                                a minute
    HYPOTHESIS_PROFILE=long bash tools/run_tests.sh tests/fuzz        an hour

Neither keeps examples on disk: a failure prints the example that caused it.
"""

import os
import tempfile

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), 'hypothesis'))
COMMON = dict(deadline=None, database=None, suppress_health_check=list(HealthCheck))
FAST = dict(max_examples=80, derandomize=True, phases=(Phase.explicit, Phase.generate))
settings.register_profile('ci', **FAST, **COMMON)
settings.register_profile('long', max_examples=4000, print_blob=True, **COMMON)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'ci'))


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    """One folder whose files each example writes again."""
    return tmp_path_factory.mktemp('fuzz')
