"""Configs in mmengine's new style, to be inherited by ``read_base``."""
