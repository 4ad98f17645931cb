"""The command ``cmt-deeplab doctor DATA``: print the findings, by kind or as JSON."""

import json
import os.path as osp
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from cmt_deeplab.errors import UserError, mistakes_as_user_errors
from cmt_deeplab.own_data import open_data
from cmt_deeplab.own_training.preparing import ask_for_stuff

from .examination import Examination, examination
from .rules import RULES, SEVERITIES

SHOWN_FILES = 3
COLORS = dict(error='bold red', warning='yellow', note='cyan')
FINE, FOUND, UNREADABLE = 0, 1, 2  # the exit status


def run_doctor(
    data: str | Path,
    *,
    as_json: bool = False,
    fast: bool = False,
    stuff: str | Sequence[str] | None = None,
    background: str = 'auto',
    layout: str | None = None,
    num_centers: int | None = None,
    stride: int = 4,
    image_size: tuple[int, int] | None = None,
    fail_on: str = 'error',
) -> int:
    """Examine the data set in a folder of any known layout, print, and return the exit status.

    It is 0 where all is fine, 1 where a finding is of the severity ``fail_on`` or worse, and 2
    where the data cannot be read. ``stuff``, ``background`` and ``layout`` are those of
    :func:`open_data`, the options of the model those of :func:`examination`.
    """
    if fail_on not in SEVERITIES:
        raise UserError(f'--fail-on is {fail_on!r}: give one of {", ".join(SEVERITIES)}.')
    console, errors = Console(stderr=as_json), Console(stderr=True)
    bar = Progress(console=errors, transient=True, disable=not errors.is_terminal)
    try:
        with mistakes_as_user_errors(), bar:
            task = bar.add_task('images', total=None)
            show = lambda done, total: bar.update(task, completed=done, total=total)  # noqa: E731

            def ask(names: Sequence[str]) -> Sequence[str]:
                bar.stop()  # it would write over the question
                answer = ask_for_stuff(names)
                bar.start()
                return answer

            folder = open_data(
                data,
                stuff=stuff or None,
                background=background,
                layout=layout,
                ask=ask if sys.stdin.isatty() else None,
                progress=show,
            )
            result = examination(
                folder,
                num_centers=num_centers,
                stride=stride,
                image_size=image_size,
                fast=fast,
                progress=show,
            )
    except UserError as error:
        print(f'Error: {error}', file=sys.stderr)
        return UNREADABLE
    if as_json:
        print(json.dumps(dict(asdict(result), data=str(data), notes=folder.notes), indent=1))
    else:
        for note in folder.notes:
            console.print(_plain(note), highlight=False)
        _print(console, result, str(data))
    if any(finding.id == 'PD101' for finding in result.findings):
        return UNREADABLE
    worst = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return FOUND if any(finding.severity in worst for finding in result.findings) else FINE


def _plain(text: str) -> str:
    """Text for the console, in which names of files may have brackets and control characters."""
    return escape(str(UserError(text)))


def _print(console: Console, result: Examination, data: str) -> None:
    for name, row in result.figures.items():
        void = '' if row['void'] is None else f', {row["void"]:.1%} void'
        console.print(
            f'{name}: {row["images"]} images of {row["smallest_side"]} to {row["largest_side"]} '
            f'pixels a side, {row["segments"]} segments (at most {row["most_segments"]} in an '
            f'image), classes: {row["things"]} of things and {row["stuff"]} of stuff{void}',
            highlight=False,
        )
    table = Table('id', 'severity', 'finding', expand=True)
    for (severity, rule_id), group in groupby(result.findings, lambda f: (f.severity, f.id)):
        findings = list(group)
        lines = [f'[bold]{len(findings)} x {escape(RULES[rule_id].title)}[/]']
        for finding in findings[:SHOWN_FILES]:
            below = Path(finding.file).is_relative_to(data)
            name = osp.relpath(finding.file, data) if below else finding.file
            lines.append(_plain(f'{name}: {finding.message}'))
        if len(findings) > SHOWN_FILES:
            lines.append(f'... and {len(findings) - SHOWN_FILES} more')
        for remedy in dict.fromkeys(finding.remedy for finding in findings[:SHOWN_FILES]):
            lines.append(f'[green]{_plain(remedy)}[/]')
        table.add_row(rule_id, f'[{COLORS[severity]}]{severity}[/]', '\n'.join(lines))
    if result.findings:
        console.print(table)
    counts = [(sum(f.severity == s for f in result.findings), s) for s in SEVERITIES]
    console.print(', '.join(f'{n} {s}{"s" * (n != 1)}' for n, s in counts), highlight=False)
    if result.left_out:
        console.print(f'Left out, as no pixels were read: {", ".join(result.left_out)}.')
