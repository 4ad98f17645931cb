"""The rows of layers.py over four times as many iterations, to see who gains most by more.

    python tools/study/run.py tools/study/plans/layers_long.py
Cost: 25 runs of about 23 minutes of one core.
The schedule is stretched with the training: its warm-up takes 400 iterations, and the rate falls to
0 at the end. So a point on the way, at 2,500 iterations, is not one of the shorter plan.
What the rows are, and on which scenes they are trained, stands in layers.py; docs/study.md has what
came out of both.
"""

_base_ = './layers.py'

iterations = 10_000

# A curve of ten points, because the order of the rows may change on the way.
validations = 10

# As many as in the shorter plan. The first weights and the order of the images of a seed are those
# of the shorter plan, so that its runs can be compared with theirs too.
seeds = 5
