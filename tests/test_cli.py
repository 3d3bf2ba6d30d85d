"The command, run from a shell"
import os, runpy, subprocess, sys, warnings
from pathlib import Path

import pytest
from conftest import ROOT, needs_mnist
from PIL import Image

COMMAND = Path(sys.executable).with_name('mmnist-preview')


def shell(*args, **kw):
    env = {**os.environ, 'MPLBACKEND': 'agg'}
    return subprocess.run([COMMAND, *map(str, args)], capture_output=True, text=True, timeout=300, env=env, **kw)


@pytest.fixture
def run(monkeypatch, capsys):
    "Run the command in this process, as `python -m` does, which saves the seconds of importing torch"
    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['mmnist-preview', *map(str, args)])
        code = 0
        try: runpy.run_module('torch_moving_mnist.cli', run_name='__main__')
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1 if e.code else 0
            if isinstance(e.code, str): print(e.code, file=sys.stderr)
        return subprocess.CompletedProcess(args, code, *capsys.readouterr())
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', "'torch_moving_mnist.cli' found in sys.modules", RuntimeWarning)
        yield call


def check_pictures(folder, frames):
    assert sorted(os.listdir(folder))==['preview.gif','preview.png']
    assert Image.open(folder/'preview.png').size[0]>100
    assert Image.open(folder/'preview.gif').n_frames==frames


def test_fonts(tmp_path):
    r = shell('--digits', 'fonts', cwd=tmp_path)
    assert r.returncode==0, r.stderr
    for part in ('fonts', '2,100 train images', '(9, 10, 1, 64, 64)', 'sequences per second', 'Normalize(mean=[0.07522265625]', 'preview.gif'): assert part in r.stdout
    check_pictures(tmp_path/'mmnist-preview', 10)


def test_options(run, tmp_path):
    r = run('--digits', 'fonts', '--num-frames', 6, '--num-digits', '2', '--img-size', 48, '--seed', 7, '--out', tmp_path/'here')
    assert r.returncode==0, r.stderr
    assert '(9, 6, 1, 48, 48)' in r.stdout and 'num_digits=[2]' in r.stdout and 'seed=7' in r.stdout
    check_pictures(tmp_path/'here', 6)


def test_shapes(run, tmp_path):
    r = run('--digits', 'shapes', '--num-digits', '2', '--out', tmp_path/'out')
    assert r.returncode==0, r.stderr
    assert "'shapes', 2,500 train images" in r.stdout and 'font' not in r.stdout
    check_pictures(tmp_path/'out', 10)


def test_falls_back_to_fonts_in_one_line(run, tmp_path):
    (tmp_path/'file').write_text('')
    r = run('--path', tmp_path/'file'/'data', '--out', tmp_path/'out')
    assert r.returncode==0, r.stderr
    said = [line for line in r.stdout.splitlines() if 'font digits' in line]
    assert len(said)==1 and str(tmp_path/'file'/'data') in said[0]
    check_pictures(tmp_path/'out', 10)


@needs_mnist
def test_mnist(run, tmp_path):
    r = run('--path', ROOT, '--out', tmp_path/'out')
    assert r.returncode==0, r.stderr
    assert '50,000 train images' in r.stdout and 'Using font' not in r.stdout
    check_pictures(tmp_path/'out', 10)


def test_help_explains_every_option(run):
    out = ' '.join(run('--help').stdout.split())
    for word in ('--path', '--digits', '--num-frames', '--num-digits', '--img-size', '--seed', '--out', 'torchvision', 'Side of the canvas, pixels'): assert word in out


@pytest.mark.parametrize('args,message', [(('--img-size', 20), 'img_size=20 is smaller'), (('--digits', 'minst'), "Did you mean 'mnist'"), (('--num-digits', '1,x'), "num_digits='1,x'"), (('--seed', -1), 'seed=-1')])
def test_errors_are_one_line(run, args, message, tmp_path):
    r = run(*((() if '--digits' in args else ('--digits', 'fonts')) + args), '--out', tmp_path/'out')
    assert r.returncode==1 and message in r.stderr and len(r.stderr.strip().splitlines())==1 and not (tmp_path/'out').exists()


def test_warmup_explains_itself():
    out = subprocess.run([COMMAND.with_name('mmnist-warmup'), '--help'], capture_output=True, text=True, check=True).stdout
    assert 'Compile all loops for this processor' in ' '.join(out.split())


def test_errors_leave_an_exit_code_and_no_traceback(tmp_path):
    r = shell('--digits', 'fonts', '--seed', -1, '--out', tmp_path/'out')
    assert r.returncode==1 and 'seed=-1' in r.stderr and len(r.stderr.strip().splitlines())==1
