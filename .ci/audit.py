"""Known vulnerabilities of the tested versions: the status is 1 where one of them has any.

    python .ci/audit.py
pip-audit looks the constraints up in the database of pypi.org. Where that cannot be reached, one
line says so and the status is 0: run this by hand on a machine that reaches it, before a release.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / 'requirements'


def look_up(constraints: Path) -> list[dict]:
    """What pip-audit says of each requirement of a file; nothing where it reaches no database."""
    command = [sys.executable, '-m', 'pip_audit', '--requirement', str(constraints)]
    command += ['--no-deps', '--disable-pip', '--format', 'json', '--progress-spinner', 'off']
    finished = subprocess.run(command, capture_output=True, text=True)
    if not finished.stdout and not re.search('ConnectionError|Timeout|HTTP', finished.stderr):
        raise SystemExit(f'Error: pip-audit failed on {constraints.name}:\n{finished.stderr}')
    return json.loads(finished.stdout or '{}').get('dependencies', [])


def told(name: str, found: list[dict]) -> tuple[str, bool]:
    """A sentence on the constraints of a file, and whether one of them is vulnerable."""
    known = [each for each in found if 'skip_reason' not in each]
    if not known:
        return f'{name}: not checked, because the database of pypi.org cannot be reached.', False
    faults = [
        f'\n  {each["name"]} {each["version"]}: {fault["id"]}, mended in '
        f'{", ".join(fault["fix_versions"]) or "no version"}'
        for each in known
        for fault in each['vulns']
    ]
    number = len(faults) or 'no'
    return f'{name}: {number} known vulnerabilities in {len(known)} of {len(found)} packages' + (
        ''.join(faults) or '.'
    ), bool(faults)


def main() -> int:
    answers = [told(path.name, look_up(path)) for path in REQUIREMENTS.glob('constraints*.txt')]
    print('\n'.join(sentence for sentence, _ in answers))
    return int(any(vulnerable for _, vulnerable in answers))


if __name__ == '__main__':
    sys.exit(main())
