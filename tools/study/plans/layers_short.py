"""The rows of layers.py over a quarter of the iterations, to see who learns faster.

    python tools/study/run.py tools/study/plans/layers_short.py
Cost: 40 runs of about 2 minutes of one core.
The schedule shrinks with the training: its warm-up takes 25 iterations, and the rate falls to 0 at
the end. So these are other runs than the beginnings of those of layers.py.
What the rows are, and on which scenes they are trained, stands in layers.py; docs/study.md has what
came out of both.
"""

_base_ = './layers.py'

iterations = 625

# PQ between the validations of so short a run is hardly more than noise.
validations = 5

# More than in the longer plans, because seeds alone move PQ by several points so early. The first
# weights and the order of the images of a seed are those of the other plans, so that its runs can
# be compared with theirs too.
seeds = 8
