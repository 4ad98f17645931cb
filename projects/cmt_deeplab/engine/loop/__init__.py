"""The training loop, its data and its random numbers."""
