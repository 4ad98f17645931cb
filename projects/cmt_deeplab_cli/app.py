"""The console command ``cmt-deeplab``; each of its commands imports what it needs when it runs."""

import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from cmt_deeplab_cli.arguments import (
    named_configs,
    project_folder,
    report_user_errors,
    require_checkpoint,
    trained_model,
)

# A command that runs a script of tools/ leaves all arguments, --help too, to the script.
SCRIPT = dict(ignore_unknown_options=True, allow_extra_args=True, help_option_names=[])

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help='Panoptic segmentation by clustering mask transformers: CMT-DeepLab and its siblings.',
)


def run_script(context: typer.Context, script: str) -> None:
    """Run a script of tools/, from the clone or the wheel, with the arguments of the command."""
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
    """Train on a folder of your own data, or with a config, given by its file or name."""
    run_script(context, 'train.py')


@app.command(context_settings=SCRIPT)
def test(context: typer.Context) -> None:
    """Evaluate a checkpoint on the test set of its config."""
    run_script(context, 'test.py')


@app.command(context_settings=SCRIPT)
def compare(context: typer.Context) -> None:
    """Compare models in one table: size, cost, time, memory and PQ."""
    run_script(context, 'analysis_tools/compare_models.py')


@app.command(context_settings=SCRIPT)
def export(context: typer.Context) -> None:
    """Write a model as an ONNX file or for torch.export, and compare it with PyTorch."""
    run_script(context, 'deployment/export_onnx.py')


@app.command(context_settings=SCRIPT)
def demo(context: typer.Context) -> None:
    """Serve a page for the browser: drop an image, see its segments and clusters."""
    run_script(context, 'demo/app.py')


@app.command()
def predict(
    model: Annotated[
        str, typer.Argument(metavar='MODEL', help='Checkpoint, work dir, .onnx file, or config.')
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar='INPUTS...', help='Images, folders, patterns such as "*.png", and videos.'
        ),
    ],
    weights: Annotated[str | None, typer.Option(help='Checkpoint, if MODEL is a config.')] = None,
    out: Annotated[str, typer.Option(help='Folder to write to.')] = 'predictions',
    batch_size: Annotated[int, typer.Option(min=1, help='Images at a time.')] = 1,
    device: Annotated[str | None, typer.Option(help='cpu or cuda.')] = None,
    windows: Annotated[
        tuple[int, int] | None,
        typer.Option(min=1, metavar='H W', help='Predict large images in windows of this size.'),
    ] = None,
    optimize: Annotated[
        str, typer.Option(help='none; fold (faster, but for rounding equal); or compile, too.')
    ] = 'fold',
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help='Least class probability.')
    ] = None,
    overlay: Annotated[bool, typer.Option(help='Draw the segments over the images.')] = True,
    show: Annotated[bool, typer.Option('--show', help='Open a window with each picture.')] = False,
) -> None:
    """Segment images and videos: write overlays, and COCO's panoptic format."""
    model = trained_model(model)
    if weights:
        require_checkpoint(weights)
    from cmt_deeplab.inference.command import predict

    predict(
        model,
        inputs,
        weights=weights,
        out=out,
        batch_size=batch_size,
        device=device,
        windows=windows,
        optimize=optimize,
        threshold=threshold,
        overlay=overlay,
        show=show,
    )


@app.command()
def doctor(
    data: Annotated[
        Path, typer.Argument(metavar='DATA', exists=True, help='Folder, in any known layout.')
    ],
    stuff: Annotated[
        str, typer.Option(help='Classes that are stuff, with commas: sky,road; or none.')
    ] = '',
    background: Annotated[
        str, typer.Option(metavar='NAME', help='Stuff class of pixels without a mask, or void.')
    ] = 'auto',
    layout: Annotated[
        str | None, typer.Option(help='Read DATA in this layout, such as class-masks.')
    ] = None,
    centers: Annotated[int | None, typer.Option(min=1, help='Centers of the model.')] = None,
    stride: Annotated[int, typer.Option(min=1, help='Stride of its prediction.')] = 4,
    size: Annotated[
        tuple[int, int] | None, typer.Option(metavar='H W', help='Size of the network input.')
    ] = None,
    fast: Annotated[
        bool, typer.Option('--fast', help='Leave out the checks that read pixels.')
    ] = False,
    as_json: Annotated[bool, typer.Option('--json', help='Print the findings as JSON.')] = False,
    fail_on: Annotated[
        Literal['error', 'warning', 'note'], typer.Option(help='What makes the exit status 1.')
    ] = 'error',
) -> None:
    """Check data before training: every finding with its file and remedy."""
    from cmt_deeplab.doctor import run_doctor

    sys.exit(
        run_doctor(
            data,
            as_json=as_json,
            fast=fast,
            stuff=stuff,
            background=background,
            layout=layout,
            num_centers=centers,
            stride=stride,
            image_size=size,
            fail_on=fail_on,
        )
    )


@app.command()
def report(
    work_dir: Annotated[Path, typer.Argument(metavar='WORK_DIR', exists=True, file_okay=False)],
    checkpoint: Annotated[
        Path | None,
        typer.Option(exists=True, help='Default: the best one of the folder, else the last.'),
    ] = None,
) -> None:
    """Evaluate a checkpoint of a training again and write report.html."""
    from cmt_deeplab.reports import write_report

    print(write_report(work_dir, checkpoint=checkpoint))


@app.command()
def configs(
    part: Annotated[
        str, typer.Argument(metavar='PART', help='List only names that contain this.')
    ] = '',
    files: Annotated[bool, typer.Option('--files', help='List the files, for _base_.')] = False,
) -> None:
    """List the configs that train, test, predict and compare take by name."""
    for name, file in named_configs().items():
        if part in name:
            print(file if files else name)


def main() -> None:
    with report_user_errors():
        app(prog_name='cmt-deeplab')
