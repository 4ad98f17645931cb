"""The faults of the second part of the page; importing a module registers its own."""

# isort: off
from . import kills, stops, disks, resuming, broken_files
# isort: on
