"""Functions to call from a program: what the command lines in `tools/` are made of."""
