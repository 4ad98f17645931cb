"""Every block of docs/inference.md runs, in a folder of its own."""

import re
import shlex

import cv2
import numpy as np
import pytest
from run_tool import ROOT
from untrained import certain_config, save_untrained

PAGE = (ROOT / 'docs/inference.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'^```(\w+)\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the page: a checkpoint, two photos and a film."""
    monkeypatch.chdir(tmp_path)
    save_untrained(certain_config(), tmp_path / 'CHECKPOINT.pth')
    (tmp_path / 'photos').mkdir()
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)
    for name, image in zip(('1', '2'), images):
        cv2.imwrite(f'photos/{name}.jpg', image)
    film = cv2.VideoWriter('film.mp4', cv2.VideoWriter.fourcc(*'mp4v'), 5, (60, 40))
    for image in images:
        film.write(image)
    film.release()
    return tmp_path


def test_the_page(folder):
    typer = pytest.importorskip('typer.testing')
    from cmt_deeplab_cli.app import app

    known: dict = {}
    for language, text in BLOCKS:
        if language == 'python':
            exec(compile(text, 'docs/inference.md', 'exec'), known)
            continue
        program, *arguments = shlex.split(text)
        finished = typer.CliRunner().invoke(app, arguments)
        assert program == 'cmt-deeplab' and finished.exit_code == 0, finished.output
    assert len(BLOCKS) == 7
    written = {path.relative_to(folder).as_posix() for path in folder.rglob('*.*')}
    assert {'1.png', '2.png', 'ids.png', 'predictions/film.mp4'} <= written
    for name in ('overlay/1.jpg', 'panoptic/2.png', 'panoptic.json'):
        assert f'predictions/{name}' in written
