"""The faults of the second part of the page; importing a module registers its own."""

# isort: off
from . import kills, resuming, stops, disks, broken_files, hostile, non_finite, files_of_data
# isort: on
