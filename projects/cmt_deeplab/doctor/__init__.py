"""``cmt-deeplab doctor``: what is wrong with a data set, before any training."""

from .command import run_doctor
from .examination import Examination, examination, examine
from .rules import RULES, Finding, rules_text
