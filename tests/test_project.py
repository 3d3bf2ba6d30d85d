"What the repository promises about itself"
import configparser, importlib.metadata, inspect, json, re, subprocess, sys
from pathlib import Path

import pytest

import torch_moving_mnist
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.truth import TARGETS

ROOT = Path(__file__).parent.parent
MODULES = sorted(p.stem for p in (ROOT/'torch_moving_mnist').glob('[a-z]*.py'))


def tracked():
    "Files that git knows"
    out = subprocess.run(['git','ls-files'], cwd=ROOT, capture_output=True, text=True)
    if out.returncode: pytest.skip('not a git checkout')
    return [ROOT/f for f in out.stdout.splitlines()]


def test_versions_agree():
    cfg = configparser.ConfigParser(interpolation=None)
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    assert cfg['DEFAULT']['version']==torch_moving_mnist.__version__==importlib.metadata.version('torch_moving_mnist')
    assert f"requires-python = \">={cfg['DEFAULT']['min_python']}\"" in (ROOT/'pyproject.toml').read_text()
    assert re.search(rf"^## {re.escape(cfg['DEFAULT']['version'])}\b", (ROOT/'CHANGELOG.md').read_text(), re.MULTILINE)


def test_every_module_comes_from_a_notebook():
    exported = {re.search(r'#\|\s*default_exp (\w+)', nb.read_text(encoding='utf-8')) for nb in (ROOT/'nbs').glob('*.ipynb')}
    assert sorted(m[1] for m in exported if m)==MODULES


def test_readme_gives_the_command_that_ci_runs():
    command = "pip install -e '.[dev]' && pytest"
    assert command in (ROOT/'README.md').read_text(encoding='utf-8') and command in (ROOT/'.ci'/'run').read_text()
    assert 'pip install -e . && mmnist-preview' in (ROOT/'README.md').read_text(encoding='utf-8')


def test_links_and_pictures_of_the_readme_exist():
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    links = [o for o in re.findall(r'\]\(([^)#]+)', text) + re.findall(r'src="([^"]+)"', text) if not o.startswith('http')]
    assert len(links)>8
    for link in links: assert (ROOT/link).exists(), link


def test_readme_lists_every_parameter_and_every_target():
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    rows = set(re.findall(r'`([a-z_]+)`', ' '.join(re.findall(r'^\|([^|]+)\|', text, re.MULTILINE)) + ' '.join(re.findall(r'with (`flow_valid`, `backward_flow_valid`)', text))))
    assert {*inspect.signature(MovingMNIST.__init__).parameters, *TARGETS} - {'self'}<=rows


def test_every_cell_of_every_notebook_has_been_run():
    for nb in (ROOT/'nbs').glob('*.ipynb'):
        cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
        assert not [c for c in cells if any(o['output_type']=='error' for o in c.get('outputs', []))], nb
        pictures = [c for c in cells if c['cell_type']=='code' and ''.join(c['source']).rstrip().endswith(');') and re.search('show_(images|truth)', ''.join(c['source']))]
        assert all(c['outputs'] for c in pictures), f'{nb.name} has a cell without its picture: run nbdev-test --save'
        assert [c for c in cells if c.get('outputs')], f'{nb.name} has no outputs: run nbdev-test --save'


def test_no_path_of_any_machine_is_committed():
    for f in tracked():
        if f.suffix in ('.gif','.png') or f==Path(__file__): continue
        assert not re.search(r'(?<![\w.])/(?:home|Users|root|work|tmp)/\w', f.read_text(encoding='utf-8')), f


def test_importing_is_light():
    "Nothing heavy beyond torch and torchvision comes along, and no figure window is asked for"
    code = '''if True:
        import sys, torch, torchvision
        before = set(sys.modules)
        import torch_moving_mnist.data, torch_moving_mnist.utils
        print(sorted({m.split('.')[0] for m in set(sys.modules) - before} & {'matplotlib','numba','IPython','tqdm','nbdev','execnb','pandas','scipy'}))'''
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip()=='[]'
