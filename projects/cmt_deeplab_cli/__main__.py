"""``python -m cmt_deeplab_cli`` is the console command ``cmt-deeplab``."""

from cmt_deeplab_cli.app import main

if __name__ == '__main__':
    main()
