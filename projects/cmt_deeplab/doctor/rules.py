"""Every kind of finding of the doctor: its id, its severity, what it says and the remedy.

1xx are found in the annotation files, 2xx in the headers of files, 3xx in pixels, and 4xx in the
data set as a whole. An id keeps its meaning from release to release.
"""

import textwrap
from dataclasses import dataclass

SEVERITIES = ('error', 'warning', 'note')  # the worst first


@dataclass(frozen=True)
class Finding:
    """One thing to know about a data set.

    ``severity`` is 'error' (training or evaluation refuses it or counts wrongly), 'warning' (they
    run, and the result is worse than it could be) or 'note'. ``file`` is the file that it concerns.
    """

    id: str
    severity: str
    file: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Rule:
    """A kind of finding; ``pixels`` tells that it needs more than annotation files and headers."""

    severity: str
    title: str
    remedy: str
    pixels: bool = False


E, W, N = SEVERITIES
ONE_RELEASE = 'Take images, PNGs and annotation file from one release, or write them again.'
CORRECT = 'Correct the entry in the annotation file.'
FETCH = 'Fetch or write the file again, or take it out of the annotation file.'
WRITE_COLORS = 'Write each segment id as the color R + 256 G + 65536 B, as an RGB PNG of 8 bits.'
LARGER = 'Train and test at a larger size, or on crops.'
RULES = {
    'PD101': Rule(E, 'the annotation file cannot be read', 'Give a COCO panoptic JSON.'),
    'PD102': Rule(E, 'an entry of "images" is not as it has to be', CORRECT),
    'PD103': Rule(E, 'an entry of "categories" is not as it has to be', CORRECT),
    'PD104': Rule(E, 'an entry of "annotations" is not as it has to be', CORRECT),
    'PD105': Rule(E, 'an entry of "segments_info" is not as it has to be', CORRECT),
    'PD106': Rule(E, 'an image, an annotation or a segment id stands twice', CORRECT),
    'PD107': Rule(E, 'the id or the name of a category stands twice', 'Merge the two categories.'),
    'PD108': Rule(E, 'a segment has a category that the file does not list', 'Add the category.'),
    'PD109': Rule(E, 'an annotation is of an image that the file does not list', 'Add the image.'),
    'PD110': Rule(
        E, 'an image for validation has no annotation', 'Annotate it, or take the image out.'
    ),
    'PD111': Rule(
        W, 'an image for training has no annotation', 'Annotate it, or take the image out.'
    ),
    'PD112': Rule(E, 'a file name leads out of the folder', 'Give a path below the folder.'),
    'PD113': Rule(E, 'two entries name one file', 'Take one of the entries out.'),
    'PD114': Rule(E, 'there are too many classes', 'Merge classes or leave some out.'),
    'PD115': Rule(
        E,
        'training and validation have different classes',
        'Write the same "categories" into both annotation files.',
    ),
    'PD116': Rule(
        W, 'two class names differ in case or spaces alone', 'If they are one class, merge them.'
    ),
    'PD117': Rule(
        W,
        'a class stands for void',
        'Take the category and its segments out and leave their pixels black, which is void.',
    ),
    'PD118': Rule(
        W,
        'a stuff class has several segments in an image, of which PQ counts each',
        'Give them one id in the PNG and in the JSON, or make the class one of things.',
    ),
    'PD119': Rule(
        W,
        'a segment of stuff is marked as a crowd, which PQ leaves out',
        'Set "iscrowd" to 0; a crowd is a region of many things that are not told apart.',
    ),
    'PD120': Rule(
        N,
        'an image has no segment, or crowds alone, and is not trained on',
        'Annotate it, or leave it as it is.',
    ),
    'PD121': Rule(
        N,
        'all classes are things, or all are stuff',
        'Add a stuff class for what is no thing, as pixels that are void are not learned; without '
        'things, semantic segmentation suffices.',
    ),
    'PD122': Rule(
        N, 'a class is a thing here and stuff in COCO, or the other way round', 'Check "isthing".'
    ),
    'PD201': Rule(E, 'an image is missing', 'Put it there, or correct its "file_name".'),
    'PD202': Rule(E, 'a panoptic PNG is missing', 'Put it there, or correct its "file_name".'),
    'PD203': Rule(E, 'an image is damaged, or no image', FETCH),
    'PD204': Rule(E, 'a panoptic PNG is damaged, or no image', FETCH),
    'PD205': Rule(E, 'a panoptic map is no PNG but of a format that may change ids', WRITE_COLORS),
    'PD206': Rule(E, 'a panoptic PNG is gray, of a palette or of 16 bits', WRITE_COLORS),
    'PD207': Rule(E, 'an image has another size than the annotation file says', ONE_RELEASE),
    'PD208': Rule(E, 'a panoptic PNG has another size than the annotation file says', ONE_RELEASE),
    'PD209': Rule(
        E,
        'the EXIF data turn an image, but not its panoptic PNG',
        'Write the image without an orientation, as the PNG shows it.',
    ),
    'PD210': Rule(
        W,
        'an image has more than 8 bits per color, of which the upper 8 are read',
        'Scale the values to 0..255 yourself and write 8 bits.',
    ),
    'PD211': Rule(
        N, 'images are gray or of a palette, and read as three colors', 'Nothing has to be done.'
    ),
    'PD212': Rule(
        N,
        'images have an alpha channel, which is not read',
        'Nothing has to be done if the colors are right.',
    ),
    'PD213': Rule(
        W,
        'an image is huge',
        'Train and predict with `--windows`; it is still scored at its full size in memory.',
    ),
    'PD214': Rule(N, 'images in the folder are in no annotation file', 'Annotate or remove them.'),
    'PD215': Rule(N, 'panoptic PNGs in the folder are in no annotation file', 'Remove them.'),
    'PD301': Rule(E, 'a PNG has segments that the JSON lacks', ONE_RELEASE, True),
    'PD302': Rule(E, 'the JSON has segments that the PNG lacks', ONE_RELEASE, True),
    'PD303': Rule(
        E,
        'a PNG is speckled with unknown ids, as after JPEG or an interpolating resize',
        'Make it again from the source; resize maps of ids by the nearest pixel alone.',
        True,
    ),
    'PD304': Rule(
        E, 'the red and the blue of a PNG are swapped', 'Write RGB; OpenCV writes BGR.', True
    ),
    'PD305': Rule(
        W,
        'an "area" is not the number of pixels in the PNG',
        'Correct it: we count pixels, but other programs believe the JSON.',
        True,
    ),
    'PD306': Rule(
        W,
        'a "bbox" is not the box of the pixels in the PNG',
        'Correct it: [x, y, width, height] in whole pixels.',
        True,
    ),
    'PD307': Rule(
        E, 'an image cannot be used as it is', 'Scale its values to 0..255 and write 8 bits.', True
    ),
    'PD308': Rule(
        W,
        'more than half of the pixels are void, where predictions cost nothing',
        'Add a stuff class for what is no thing, unless these pixels are unknown.',
        True,
    ),
    'PD309': Rule(N, 'more than half of an image is void', 'Annotate the rest, if you can.', True),
    'PD310': Rule(W, 'segments vanish at the final stride', LARGER, True),
    'PD311': Rule(
        W,
        'a class of things looks like a semantic map: all its things in an image are one segment',
        'Give each thing an id of its own (if none touch: by connected parts), or make it stuff.',
        True,
    ),
    'PD312': Rule(W, 'an image has one color alone', FETCH, True),
    'PD401': Rule(
        E,
        'an image is both in training and in validation',
        'Take it out of one of them: figures on images that were trained on mean nothing.',
        True,
    ),
    'PD402': Rule(
        W,
        'an image for validation looks like one for training',
        'Look at both, and move images of one scene into one split.',
        True,
    ),
    'PD403': Rule(W, 'an image stands twice in a split', 'Take one of them out.', True),
    'PD404': Rule(
        N,
        'file names stand in both splits',
        'Nothing has to be done where the images are different.',
    ),
    'PD405': Rule(
        W,
        'classes have no example in training',
        'Add examples, or take the classes out of both annotation files.',
    ),
    'PD406': Rule(
        N,
        'classes have no example in validation, so PQ does not tell of them',
        'Add examples if the classes matter.',
    ),
    'PD407': Rule(
        W,
        'images have more segments than the model has centers',
        '`cmt-deeplab train` gives the model enough; in a config raise num_centers, or train on '
        'crops.',
    ),
    'PD408': Rule(
        N,
        'there are few images for training',
        'Begin with pretrained weights and the recipe for small data; see docs/own_data.md.',
    ),
    'PD409': Rule(N, 'there is no split for validation', 'Keep images apart, or PQ is unknown.'),
}


def found(
    rule_id: str, file: object, message: str, *, severity: str | None = None, remedy: str = ''
) -> Finding:
    """A finding by a rule, whose severity and remedy may be replaced."""
    rule = RULES[rule_id]
    return Finding(rule_id, severity or rule.severity, str(file), message, remedy or rule.remedy)


def of_error(rule_id: str, file: object, error: object) -> Finding:
    """A finding by the sentence of a UserError, "what is wrong: remedy."."""
    message, _, remedy = str(error).rpartition(': ')
    return found(rule_id, file, f'{message}.', remedy=remedy[:1].upper() + remedy[1:])


def rules_text() -> str:
    """All rules as a list in Markdown, as docs/own_data.md has it."""
    lines = [f'* **{i}**, {r.severity}: {r.title}. *{r.remedy}*' for i, r in RULES.items()]
    return '\n'.join(textwrap.fill(line, 100, subsequent_indent='  ') for line in lines)
