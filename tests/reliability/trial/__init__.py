"""Sets situations up again and judges by itself what became of each."""
