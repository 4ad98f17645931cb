"""What predicts: the panoptic head, the predictor of masks and classes, the semantic head."""
