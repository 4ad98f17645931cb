"""The training loop and its data, and what a resumed run takes from its checkpoint."""
