"""The optimizer and its schedule, and training steps that are not finite."""
