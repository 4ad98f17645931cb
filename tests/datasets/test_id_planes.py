"""PNGs of every form that may hold segment ids are read exactly, and damaged ones are refused."""

import struct
import zlib

import numpy as np
import pytest
from cmt_deeplab.coco_format import colors_of_ids, read_id_plane
from cmt_deeplab.errors import UserError

IDS = np.kron(np.random.default_rng(0).integers(0, 1 << 24, (9, 11)), np.ones((8, 8), int))
HEIGHT, WIDTH = IDS.shape
COLORS = np.ascontiguousarray(colors_of_ids(IDS))
START, END = b'\x89PNG\r\n\x1a\n', (b'IEND', b'')
# The first pixel and the steps, x and y, of the seven passes of an interlaced PNG (Adam7).
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))


def png(pixels, *between, interlaced=False, end=END):
    header = struct.pack('>IIBBBBB', WIDTH, HEIGHT, 8, 2, 0, 0, interlaced)
    parts = (b'IHDR', header), *between, (b'IDAT', zlib.compress(pixels)), end
    return START + b''.join(
        struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))
        for name, body in parts
        if name
    )


def filtered(kind):
    """The rows with the filter ``kind`` of the PNG specification (section 9.2)."""
    above, rows = np.zeros(3 * WIDTH, int), b''
    for row in COLORS.reshape(HEIGHT, -1).astype(int):
        left, corner = (np.concatenate([[0] * 3, line[:-3]]) for line in (row, above))
        a, b, c = (abs(left + above - corner - each) for each in (left, above, corner))
        nearest = np.where((a <= b) & (a <= c), left, np.where(b <= c, above, corner))
        guess = (0, left, above, (left + above) // 2, nearest)[kind]
        rows += bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        above = row
    return rows


def interlaced():
    passes = (COLORS[y::down, x::right] for x, y, right, down in (*PASSES, (0, 1, 1, 2)))
    return png(b''.join(b'\0' + row.tobytes() for part in passes for row in part), interlaced=True)


PLAIN = png(filtered(0))
WHOLE = {f'filter {kind}': png(filtered(kind)) for kind in range(5)} | {
    'interlaced': interlaced(),
    'a transparent color': png(filtered(0), (b'tRNS', struct.pack('>HHH', *COLORS[0, 0]))),
    'bytes behind': PLAIN + b'and more',
    'more rows': png(filtered(0) + bytes(500)),
}
DAMAGED = {
    'cut': PLAIN[: len(PLAIN) // 2],
    'a byte': PLAIN[:200] + bytes([PLAIN[200] ^ 5]) + PLAIN[201:],
    'fewer rows': png(filtered(0)[:-500]),
    'no such filter': png(b'\x09' + filtered(0)[1:]),
    'no end': png(filtered(0), end=(b'', b'')),
}


@pytest.mark.parametrize('data', WHOLE.values(), ids=WHOLE)
def test_every_form_is_read_exactly(data, tmp_path):
    path = tmp_path / 'plane.png'
    path.write_bytes(data)
    plane = read_id_plane(str(path))
    assert plane.dtype == np.uint32 and (plane == IDS).all()


@pytest.mark.parametrize('data', DAMAGED.values(), ids=DAMAGED)
def test_no_damaged_png_is_read(data, tmp_path):
    path = tmp_path / 'plane.png'
    path.write_bytes(data)
    with pytest.raises(UserError, match='plane.png (is truncated or damaged|cannot be decoded)'):
        read_id_plane(str(path))
