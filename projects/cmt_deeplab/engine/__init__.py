"""Training machinery: optimiser and model wrappers, hooks, and what the command lines share."""
