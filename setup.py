"""The library and its command line, found under ``projects/``; torch is not imported here."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = 'cmt_deeplab'
# carried into cmt_deeplab/.mim, where OpenMMLab's tools look for them
CARRIED = ('configs', 'tools', 'model-index.yml')


def requirements(name: str) -> list:
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in (line.partition('#')[0].strip() for line in lines) if line]


def version() -> str:
    source = (ROOT / 'projects' / PACKAGE / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '(.+)'$", source, re.MULTILINE)[1]


class BuildWithConfigs(build_py):
    """Copy configs, tools and the model index into the built package, not into the source tree."""

    def run(self) -> None:
        super().run()
        if getattr(self, 'editable_mode', False):
            return
        target = Path(self.build_lib) / PACKAGE / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in CARRIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source, target / name, ignore=shutil.ignore_patterns('__pycache__', '*.pyc')
                )
            else:
                shutil.copy2(source, target / name)


setup(
    name='cmt-deeplab',
    version=version(),
    description='CMT-DeepLab: clustering mask transformers for panoptic segmentation, on mmdet',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    package_dir={'': 'projects'},
    packages=find_packages('projects', include=[PACKAGE, f'{PACKAGE}.*', f'{PACKAGE}_cli']),
    package_data={'': ['*.j2', '*.json']},
    entry_points={'console_scripts': [f'cmt-deeplab={PACKAGE}_cli.app:main']},
    install_requires=requirements('runtime'),
    extras_require={
        name: requirements(name)
        for name in ('mminstall', 'timm', 'supervision', 'export', 'demo', 'tests', 'convert')
    },
    cmdclass={'build_py': BuildWithConfigs},
    zip_safe=False,
)
