from .cmt_deeplab import CMTDeepLab
from .cmt_deeplab_rfn import CMTDeepLabRFN
