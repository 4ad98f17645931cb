"""Predictions that were saved: their figures, tables and pictures, and two models compared."""
