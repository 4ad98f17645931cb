"""Building blocks that several parts of the networks share."""
