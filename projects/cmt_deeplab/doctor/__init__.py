"""``cmt-deeplab doctor``: what is wrong with a data set, before any training."""

from .examination import examine
from .finding import Finding
