"""The situations, by kind, in the order of the table; importing a module registers its own."""

# isort: off
from . import class_order, areas, many_classes, fields, arrays, images, words
from . import loop_and_sampler, resume, deliberate, outputs, devices, configs, entry_points
# isort: on
