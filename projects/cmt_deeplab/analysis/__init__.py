"""Figures of a network that need no training: its size and cost, and the ceiling of its stride."""
