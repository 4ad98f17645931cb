"""The training loop, and the order of images and random numbers that a resumed run repeats."""
