"""The page in the browser: by its HTTP interface, and in a headless Chromium."""

import re
import runpy
import shutil
import socket
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from run_tool import ROOT
from untrained import certain_config, save_untrained

# In a process of its own: mmengine's lock stays with a thread in which building something failed,
# as in other tests, and the page runs in threads (pytest -m slow tests/tools/test_demo_page.py).
pytestmark = pytest.mark.slow
gradio = pytest.importorskip('gradio', reason='the extra demo is not installed')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
PATIENCE = 300_000  # milliseconds, on a machine that is busy
SCRIPTING = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('demo')
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (160, 120))
    cv2.imwrite(str(folder / 'scene.png'), scene)
    cv2.imwrite(str(folder / 'dark.png'), scene.astype(np.uint16))
    cv2.imwrite(str(folder / 'wide.png'), np.zeros((1000, 1001), np.uint8))
    (folder / 'text.jpg').write_text('<b>no image</b>')
    Image.fromarray(scene).save(
        folder / 'moving.gif', save_all=True, append_images=[Image.fromarray(255 - scene)]
    )
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(scene).save(folder / 'turned.jpg', exif=turned)
    return folder


@pytest.fixture(scope='module')
def page(folder):
    """The address of the page of ``tools/demo/app.py``, and the hosts that were looked for."""
    config = certain_config()
    names = [SCRIPTING, *(f'class {number}' for number in range(1, 11))]
    known = dict(classes=names, thing_classes=names[:6], stuff_classes=names[6:])
    model = save_untrained(config, folder / 'tiny.pth', dataset_meta=known)
    addresses, hosts, there, done = [], set(), threading.Event(), threading.Event()

    def block(blocks):
        addresses.append(blocks.local_url.rstrip('/'))
        there.set()
        done.wait()
        blocks.close(verbose=False)

    look_up = socket.getaddrinfo

    def noted(host, *rest, **options):
        hosts.add(host)
        return look_up(host, *rest, **options)

    def run():
        try:
            program['main']()
        finally:
            there.set()

    with pytest.MonkeyPatch.context() as patch:
        for name in ('ANALYTICS_ENABLED', 'TEMP_DIR', 'ALLOWED_PATHS'):
            patch.setenv(f'GRADIO_{name}', str(folder))  # the program sets its own
        patch.setattr(socket, 'getaddrinfo', noted)
        patch.setattr(gradio.Blocks, 'block_thread', block)
        patch.setattr(sys, 'path', [*sys.path])
        patch.setattr(sys, 'argv', ['app.py', model, '--max-megapixels', '1'])
        program = runpy.run_path(str(ROOT / 'tools/demo/app.py'))
        thread = threading.Thread(target=run)
        thread.start()
        there.wait()
        yield addresses[0], hosts
        done.set()
        thread.join()


@pytest.fixture(scope='module')
def opened(page, folder):
    """What the page gives for a file: (sentence, words, rows of the table, picture)."""
    from gradio_client import Client, handle_file

    address, hosts = page
    known = {*hosts}
    client = Client(
        address,
        verbose=False,
        download_files=False,
        analytics_enabled=False,
        httpx_kwargs=dict(timeout=None),
    )
    hosts &= known  # this client asks elsewhere for its own sake, and the page does not

    def open_(name, *thresholds):
        file, step = handle_file(str(folder / name)), 1
        _, sentence, picture, words, table, *_ = client.predict(
            file, step, *thresholds, api_name='/open'
        )
        return re.sub('<.+?>', '', sentence), words, table['data'], picture

    return open_


def test_an_image_and_its_thresholds(opened):
    sentence, words, rows, picture = opened('scene.png')
    assert not sentence and f'{len(rows)} segments in 160 x 120 pixels' in words
    assert len(rows) > 3 and picture['path'].endswith('.webp')
    assert SCRIPTING in [row[2] for row in rows]  # text, which the table does not read as HTML
    (*_, stricter, _) = opened('scene.png', 1.0, 1.0)
    assert len(stricter) < len(rows)


@pytest.mark.parametrize(
    ('name', 'words'), [('moving.gif', '160 x 120 pixels'), ('turned.jpg', '120 x 160 pixels')]
)
def test_images_as_they_are_read_elsewhere(name, words, opened):
    assert words in opened(name)[1]


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('text.jpg', r'text\.jpg is not an image: choose another \(JPEG, .*\)\.'),
        ('dark.png', r'The image dark\.png has 16 bits .* nearly black: .*\.'),
        ('wide.png', r'wide\.png has 1001 x 1000 pixels, .* 1 million: choose a smaller image\.'),
    ],
)
def test_an_image_that_cannot_be_used_is_one_sentence(name, sentence, opened):
    assert re.fullmatch(sentence, opened(name)[0])


def test_only_what_was_uploaded_is_read(page, folder):
    httpx = pytest.importorskip('httpx')
    address, hosts = page
    visitor = httpx.Client(base_url=address, timeout=None)
    here = str(ROOT / 'setup.py')
    for path in (here, '/etc/hostname', str(folder / 'scene.png')):
        assert visitor.get(f'/gradio_api/file={path}').status_code == 403
        file = dict(path=path, meta=dict(_type='gradio.FileData'))
        call = dict(data=[file, 1, {}, 0.3, 0.3, 0.4, 0.8])
        assert visitor.post('/gradio_api/run/open', json=call).status_code == 500
    assert visitor.get('/', headers=dict(host='elsewhere.example')).status_code == 400
    assert "default-src 'self'" in visitor.get('/').headers['content-security-policy']
    assert {*map(str, hosts)} <= {'127.0.0.1', 'localhost'}


def test_the_page_in_chromium(page, folder, tmp_path):
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    if CHROMIUM is None:
        pytest.skip('there is no chromium on the PATH')
    address, _ = page
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        tab, other = (browser.new_page() for _ in range(2))
        for each in (tab, other):
            each.set_default_timeout(PATIENCE)
        playwright.expect.set_options(timeout=PATIENCE)
        asked = []
        tab.on('request', lambda request: asked.append(request.url))
        for each in (tab, other):
            each.goto(address)
        tab.set_input_files('#file input', folder / 'scene.png')
        playwright.expect(tab.locator('#chosen')).to_contain_text('160 x 120 pixels')
        other.set_input_files('#file input', folder / 'turned.jpg')
        playwright.expect(other.locator('#chosen')).to_contain_text('120 x 160 pixels')

        tab.locator('#picture img').click()
        playwright.expect(tab.locator('#chosen')).to_contain_text('score')
        chosen = tab.inner_text('#chosen')
        assert re.search(r'(<img|class \d).*, (thing|stuff) · score [\d.]+ · [\d,]+ pixels', chosen)
        tab.screenshot(path=tmp_path / 'chosen.png', full_page=True)

        tab.get_by_test_id('cell-1-2').click()
        score = tab.get_by_test_id('cell-1-3').inner_text().strip()
        playwright.expect(tab.locator('#chosen')).to_contain_text(f'score {score}')

        for name in ('thing_threshold', 'stuff_threshold'):
            tab.locator(f'#{name} input[type=number]').fill('1')
            tab.locator(f'#{name} input[type=number]').press('Enter')
        playwright.expect(tab.locator('#chosen')).to_contain_text('0 segments')
        tab.get_by_role('button', name='As in the model').click()
        playwright.expect(tab.locator('#chosen')).not_to_contain_text('0 segments')

        tab.get_by_role('tab', name='Clusters').click()
        playwright.expect(tab.locator('#layer')).to_contain_text('layer 1')
        first = tab.get_attribute('#layer_picture img', 'src')
        tab.locator('#layer input[type=number]').fill('2')
        tab.locator('#layer input[type=number]').press('Enter')
        playwright.expect(tab.locator('#layer')).to_contain_text('layer 2')
        playwright.expect(tab.locator('#layer_picture img')).not_to_have_attribute('src', first)

        tab.set_input_files('#file input', folder / 'text.jpg')
        playwright.expect(tab.locator('[role=alert]')).to_contain_text('text.jpg is not an image')
        playwright.expect(other.locator('#chosen')).to_contain_text('120 x 160 pixels')
        assert tab.title() == 'tiny.pth'
        assert {url.split('/')[2] for url in asked if url.startswith('http')} == {
            address.split('/')[2]
        }
        browser.close()
    assert (tmp_path / 'chosen.png').stat().st_size > 10_000
