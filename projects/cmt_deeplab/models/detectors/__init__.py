from .cmt_deeplab import CMTDeepLab

__all__ = ['CMTDeepLab']
