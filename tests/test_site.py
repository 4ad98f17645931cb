"""The site of the documentation: every page is in its navigation, and links are turned right."""

import importlib.util
from pathlib import Path

import pytest
import yaml
from run_tool import ROOT


@pytest.fixture(scope='module')
def site():
    spec = importlib.util.spec_from_file_location('build_site', ROOT / '.ci' / 'build_site.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_of(entry) -> list[str]:
    """The pages of a part of the navigation."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in pages_of(part)]


def test_every_page_is_in_the_navigation_once(site):
    config = yaml.safe_load((ROOT / 'mkdocs.yml').read_text(encoding='utf-8'))
    documents = [path.name for path in (ROOT / 'docs').glob('*.md')]
    pages = [*site.DOCUMENTS.values(), *documents, *(f'api/{name}.md' for name in site.api_pages())]
    assert sorted(pages_of(config['nav'])) == sorted(pages)


@pytest.mark.parametrize(
    ('document', 'text', 'linked'),
    [
        ('README.md', '[a](docs/walk.md#the-metric)', '[a](walk.md#the-metric)'),
        ('README.md', '![a](docs/compare.png)', '![a](compare.png)'),
        ('docs/walk.md', '[a](../SECURITY.md) [b](#x)', '[a](security.md) [b](#x)'),
        ('docs/walk.md', '[a](parts.md#c---d) [e](#f--g)', '[a](parts.md#c-d) [e](#f-g)'),
        ('docs/walk.md', '[a](../configs), [b](https://x.org)', 'a, [b](https://x.org)'),
        (
            'docs/walk.md',
            '[`pq.py`](../projects/cmt_deeplab/evaluation/pq.py)',
            '[`pq.py`](api/evaluation.md#cmt_deeplab.evaluation.pq)',
        ),
        (
            'docs/converters.md',
            '[a](../projects/cmt_deeplab/converters)',
            '[a](api/converters.md#cmt_deeplab.converters)',
        ),
        (
            'CONTRIBUTING.md',
            '[a](projects/cmt_deeplab/errors.py)',
            '[a](api/modules.md#cmt_deeplab.errors)',
        ),
    ],
)
def test_links(site, document, text, linked):
    assert site.linked(text, Path(document)) == linked


def test_equations(site):
    pytest.importorskip('latex2mathml')
    text = 'Let $`x_1`$ be\n\n```math\ny = x_1\n```\n\n```bash\necho $`x`$\n```\n'
    page = site.with_equations(text)
    assert page.count('<math') == 2 and '```math' not in page and 'echo $`x`$' in page
