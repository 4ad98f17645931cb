"""The command line ``cmt-deeplab`` and what the scripts in tools/ share before they work.

Nothing here imports torch or mmdet until a command has its arguments and begins to work: importing
``cmt_deeplab`` takes seconds, and ``--help`` or a wrong argument is answered at once.
"""
