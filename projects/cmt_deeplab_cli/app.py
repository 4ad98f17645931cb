"""The console command ``cmt-deeplab``; each of its commands imports what it needs when it runs."""

import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cmt_deeplab_cli.arguments import named_configs, project_folder, report_user_errors

# the arguments of a command that is a script of tools/ are read by that script, --help among them
SCRIPT = dict(ignore_unknown_options=True, allow_extra_args=True, help_option_names=[])

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help='Panoptic segmentation by clustering mask transformers: CMT-DeepLab and its siblings.',
)


def run_script(context: typer.Context, script: str) -> None:
    """Run a script of tools/, of the clone or the wheel, with the arguments of the command."""
    sys.argv = [f'cmt-deeplab {context.info_name}', *context.args]
    program = runpy.run_path(str(project_folder() / 'tools' / script))
    sys.exit(program['main']())


def print_version(wanted: bool) -> None:
    if wanted:
        source = Path(find_spec('cmt_deeplab').origin).read_text(encoding='utf-8')
        print(re.search(r"^__version__ = '(.+)'$", source, re.MULTILINE)[1])
        raise typer.Exit


@app.callback()
def of_all_commands(
    version: Annotated[
        bool,
        typer.Option('--version', callback=print_version, is_eager=True, help='Print the version.'),
    ] = False,
) -> None:
    pass


@app.command(context_settings=SCRIPT)
def train(context: typer.Context) -> None:
    """Train a config, given by its file or name."""
    run_script(context, 'train.py')


@app.command(context_settings=SCRIPT)
def test(context: typer.Context) -> None:
    """Evaluate a checkpoint on the test set of its config."""
    run_script(context, 'test.py')


@app.command(context_settings=SCRIPT)
def compare(context: typer.Context) -> None:
    """Compare models in one table: size, cost, time, memory and PQ."""
    run_script(context, 'analysis_tools/compare_models.py')


@app.command()
def configs(
    part: Annotated[str, typer.Argument(help='List only names with this part.')] = '',
) -> None:
    """List the configs that train, test, predict and compare take by name."""
    for name in named_configs():
        if part in name:
            print(name)


def main() -> None:
    with report_user_errors():
        app(prog_name='cmt-deeplab')
