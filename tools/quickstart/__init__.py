"""The parts of ``tools/quickstart.py``, from the command line to the report."""
