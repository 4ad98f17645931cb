"""Runs configs that differ from a base in one part, as a user writes them, and judges each run."""
