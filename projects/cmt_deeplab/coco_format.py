"""The COCO panoptic format."""

INSTANCE_OFFSET = 1000  # of mmdet's panoptic maps: value = label + 1000 * instance
VOID_ID = 0  # the id of black pixels in a panoptic PNG: no segment
