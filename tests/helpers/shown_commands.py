"""The commands that README and docs show, and a small folder in which they run as they stand.

A command is a line of a block of bash or of an indented block, or what stands between backticks
with arguments, and begins with a program. CONFIG, DATA and the like are files and folders there.
"""

import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import cv2
import numpy as np
import torch
from cmt_deeplab.datasets import write_shapes
from cmt_deeplab_cli.app import app
from processes import free_port
from run_tool import ROOT
from untrained import certain_config, save_untrained

PROGRAM = re.compile(r'(?:[A-Z_]+=\S* )*(?:cmt-deeplab|python|bash|pip) \S')
VARIABLES = dict(CONFIG='CONFIG.py', config='CONFIG.py', PARTITION='gpu', PROCESSES='8')
# words that are no names of files, and what stands for them
WORDS = {
    **dict.fromkeys(('CONFIG', 'CONFIG...'), 'CONFIG.py'),
    **dict.fromkeys(('CHECKPOINT', 'MODEL', 'FILE', 'DST.safetensors'), 'CHECKPOINT.pth'),
    **{'load_from=DST.safetensors': 'load_from=CHECKPOINT.pth'},
    **dict.fromkeys(('IMAGES', 'IMAGES...'), 'photos'),
    **dict(H='64', W='64', S='4', SEED='0', NAME='merge'),
}
CHECKPOINTS = (
    *('work_dirs/NAME/iter_150000.pth', 'work_dirs/quickstart/iter_4000.pth'),
    *('trained/iter_1.pth', 'work_dirs/DATA_cmt-lite0/iter_1.pth'),
    'work_dirs/CONFIG.py/iter_150000.pth',
)
FEW = dict(batch_size=2, num_workers=0, persistent_workers=False)


def commands_of(text: str) -> list[str]:
    """The commands that a document shows, each in one line, without its comment."""
    fenced = re.compile(r'^```(\w*)\n(.*?)^```', re.MULTILINE | re.DOTALL)
    blocks = [block for language, block in fenced.findall(text) if language in ('bash', 'sh')]
    rest = fenced.sub('', text)
    blocks += re.findall(r'(?:^    .*\n)+', rest, re.MULTILINE)
    lines = [line for block in blocks for line in block.replace('\\\n', ' ').split('\n')]
    inline = [' '.join(words.split()) for words in re.findall(r'`([^`]+)`', rest)]
    lines += [words for words in inline if words.count(' ') > 1]  # else the name of a program
    lines = [' '.join(re.sub(r'\s#.*', '', line).split()) for line in lines]
    return [line for line in lines if PROGRAM.match(line)]


def program_of(command: str) -> str:
    """The program: 'cmt-deeplab train', 'tools/train.py', 'pip'."""
    words = [word for word in shlex.split(command) if not re.match('[A-Z_]+=', word)]
    if words[0] in ('python', 'bash') and words[1] != '-m':
        return words[1]
    return ' '.join(words[: {'pip': 1, 'cmt-deeplab': 2}.get(words[0], 3)])


def words_of(command: str, folder: Path) -> list[str]:
    """The words of a command as bash gives them to its program: quotes, patterns, variables."""
    command = re.sub(r'(?<= )\[([^\]]+)\]', r'\1', command)  # what may be left out
    command = re.sub(r'^(?:[A-Z_]+=\S* )*(?:(?:python|bash) )?', '', command)
    finished = subprocess.run(
        ['bash', '-c', f"printf '%s\\0' {command}"],
        cwd=folder,
        env=dict(os.environ, **VARIABLES),
        capture_output=True,
        text=True,
        check=True,
    )
    return [WORDS.get(word, word) for word in finished.stdout.split('\0')[:-1]]


def environment_of(command: str) -> dict[str, str]:
    """The variables that stand before a command."""
    return dict(re.findall(r'\b([A-Z_]+)=(\S+) (?=.*(?:bash|python) )', command))


def run(words: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    """Run a program in ``folder``; for a fork, which has what it imports and is left changed.

    Raises:
        SystemExit: it ends with a status.
    """
    torch.set_num_threads(1)
    os.chdir(folder)
    sys.argv = words
    if words[0].endswith('.sh'):
        launch(words, environment)
    elif words[:2] == ['cmt-deeplab', 'demo']:
        serve(words)
    elif words[0] == 'cmt-deeplab':
        app(prog_name=words[0])
    else:
        script = ROOT / words[0]
        sys.path.insert(0, str(script.parent))  # as python does
        runpy.run_path(str(script), run_name='__main__')


def launch(words: list[str], variables: dict[str, str]) -> None:
    """Run a launcher on this machine, as often as there are machines in its ``variables``."""
    here = dict(PYTHON=sys.executable, PORT=str(free_port()), MASTER_ADDR='127.0.0.1')
    environment = os.environ | variables | here | dict(PATH=f'bin:{os.environ["PATH"]}')
    machines = [
        subprocess.Popen(
            ['bash', *words],
            env=environment | dict(NODE_RANK=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(int(variables.get('NNODES', 1)))
    ]
    for machine in machines:
        print(machine.communicate()[0])
    sys.exit(max(abs(machine.returncode) for machine in machines))


def serve(words: list[str]) -> None:
    """Start a server, ask for its page, and stop it as a user does."""
    command = [sys.executable, '-m', 'cmt_deeplab_cli', *words[1:]]
    environment = os.environ | dict(BROWSER='true')  # a program that does nothing
    piped = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what runs in the background may ignore it
    with subprocess.Popen(command, **piped) as server:
        for line in server.stdout:
            print(line)
            if address := re.search(r'http://127\S+', line):
                assert b'<html' in urlopen(address[0]).read()
                break
        server.send_signal(signal.SIGINT)
        print(server.stdout.read())
    sys.exit(server.returncode)


def make_folder(folder: Path) -> None:
    """Write what the commands name, as small as it may be."""
    for name in ('tools', 'tests', 'requirements', 'projects'):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / 'configs', folder / 'configs')  # commands may write beside them
    for place in ('data/coco', 'DATA'):
        write_shapes(folder / place, preset='quick', num_train=3, num_val=2, size=64)
    config = certain_config()
    # no segment that the last bit of another runtime takes away
    config.model.postprocess.update(thing_area=16, stuff_area=16)
    save_untrained(config, folder / 'CHECKPOINT.pth')
    for place in CHECKPOINTS:
        (folder / place).parent.mkdir(parents=True)
        (folder / place).symlink_to(folder / 'CHECKPOINT.pth')
        (folder / place).with_name('last_checkpoint').write_text(Path(place).name)
    for split in ('train', 'val', 'test'):
        config[f'{split}_dataloader'].update(FEW)
    config.train_cfg.update(max_iters=2, val_interval=2)
    config.default_hooks.logger.interval = 1
    config.default_hooks.checkpoint.interval = 2
    for place in ('CONFIG.py', 'work_dirs/quickstart/cmt-deeplab_tiny-quickstart_shapes.py'):
        (folder / place).write_text(config.pretty_text.replace('data/shapes', 'data/coco'))
    coarse = np.random.default_rng(0).integers(0, 256, (2, 5, 8, 3), dtype=np.uint8)
    images = [cv2.resize(image, (60, 40), interpolation=cv2.INTER_CUBIC) for image in coarse]
    film = cv2.VideoWriter(str(folder / 'film.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), 5, (60, 40))
    for place in ('photos', 'slides'):
        (folder / place).mkdir()
    for number, image in enumerate(images):
        film.write(image)
        for place in ('photos', 'slides'):
            cv2.imwrite(str(folder / place / f'{number}.jpg'), image)
    film.release()
    for words in (
        ['tools/train.py', 'CONFIG.py', '--work-dir', 'WORK_DIR'],
        ['tools/test.py', 'CONFIG.py', 'CHECKPOINT.pth', '--cfg-options']
        + ['test_evaluator.outfile_prefix=PREFIX'],
    ):
        run(words, folder)
    for path in [*folder.glob('WORK_DIR'), *folder.glob('PREFIX*')]:
        (folder / f'OTHER_{path.name}').symlink_to(path)
