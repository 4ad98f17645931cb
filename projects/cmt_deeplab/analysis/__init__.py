"""Size and cost of networks, the ceiling of a stride, and where the PQ of predictions is lost."""
