"""What a checkpoint may hold, and weights that are handed on without one."""
