"Consistency of the repository: versions, notebooks, README and imports"
import ast, configparser, importlib.metadata, importlib.util, json, re, subprocess, sys
from pathlib import Path

import pytest
import yaml

import torch_moving_mnist

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT/'torch_moving_mnist'
NOTEBOOKS = sorted((ROOT/'nbs').rglob('*.ipynb'))
FLOORS = [{'checks','utils','jit','loops','affine','rng','loops_cuda'}, {'scene','digits'}, {'motion','presets','corrupt','engine','viewer'}, {'draw','truth','recipe','stream','stats'}, {'files'}, {'data'}, {'metrics'}, {'ray'}, {'cli','export'}]
FLOOR = {room: i for i,rooms in enumerate(FLOORS) for room in rooms}


def module_name(path):
    "Name of a module inside the package, such as 'engine.paint'"
    return '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)


MODULES = {module_name(p): p for p in [*PACKAGE.rglob('[a-z]*.py'), *PACKAGE.glob('*/__init__.py')]}


def tracked():
    "Files tracked by git"
    out = subprocess.run(['git','ls-files'], cwd=ROOT, capture_output=True, text=True)
    if out.returncode: pytest.skip('not a git checkout')
    return [ROOT/f for f in out.stdout.splitlines()]


def test_versions_agree():
    cfg = configparser.ConfigParser(interpolation=None)
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    assert cfg['DEFAULT']['version']==torch_moving_mnist.__version__==importlib.metadata.version('torch_moving_mnist')
    assert f"requires-python = \">={cfg['DEFAULT']['min_python']}\"" in (ROOT/'pyproject.toml').read_text()
    assert re.search(rf"^## {re.escape(cfg['DEFAULT']['version'])}\b", (ROOT/'CHANGELOG.md').read_text(), re.MULTILINE)
    assert yaml.safe_load((ROOT/'CITATION.cff').read_text())['version']==cfg['DEFAULT']['version']


def test_every_module_comes_from_a_notebook():
    exported = [re.search(r'#\|\s*default_exp ([\w.]+)', nb.read_text(encoding='utf-8')) for nb in NOTEBOOKS]
    assert sorted(m[1] for m in exported if m)==sorted(MODULES)


def imports(name):
    "Modules of the package that a module imports, also inside functions, with the names it takes from each: `{(module, name)}`"
    found,here = set(),['torch_moving_mnist', *name.split('.')]
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import): found |= {(a.name, None) for a in node.names}
        if isinstance(node, ast.ImportFrom): found |= {('.'.join([*here[:len(here)-node.level]*(node.level>0), *filter(None, [node.module])]), a.name) for a in node.names}
    inside = {(m.removeprefix('torch_moving_mnist').strip('.'), what) for m,what in found if m.split('.')[0]=='torch_moving_mnist'}
    modules = {o.removesuffix('.__init__') for o in MODULES}
    return {(f'{m}.{what}'.strip('.'), None) if f'{m}.{what}'.strip('.') in modules else (m, what) for m,what in inside}


def test_imports_point_downward():
    "A room imports from lower floors only; on the lowest floor and inside the engine also sideways"
    for name in MODULES:
        room = name.split('.')[0]
        for other in {m.split('.')[0] for m,_ in imports(name)} - {room, ''}:
            assert FLOOR[other]<FLOOR[room] or FLOOR[other]==FLOOR[room]==0, f'{name} imports {other}'


def test_imports_have_no_circle():
    graph = {name.removesuffix('.__init__'): {m for m,_ in imports(name)} for name in MODULES}
    graph['engine'] -= {o for o in graph if o.startswith('engine.')} & {o for o in graph['engine'] if 'engine' in graph[o]} # None of them may import the door
    assert not [o for o in graph if o.startswith('engine.') and 'engine' in graph[o]], 'a module of the engine imports its door'
    while graph:
        free = {o for o,targets in graph.items() if not targets & graph.keys()}
        assert free, f'a circle among {sorted(graph)}'
        for o in free: del graph[o]


@pytest.mark.parametrize('room', ['engine','files'])
def test_a_folder_has_one_door(room):
    for name in MODULES:
        if not name.startswith(f'{room}.'): assert not [m for m,_ in imports(name) if m.startswith(f'{room}.')], name


def test_private_names_stay_in_their_module():
    for name in MODULES: assert not [f'{m}.{what}' for m,what in imports(name) if what and what.startswith('_') and not what.startswith('__')], name


def test_functions_are_short_and_lines_not_long():
    "No line over 140 characters; no function over 40 lines without its docstring, but the outermost loops of kernels"
    for name,path in MODULES.items():
        text = path.read_text(encoding='utf-8')
        tree,lines = ast.parse(text),text.splitlines()
        generated = re.search(r'^__all__ = \[.*?\]', text, re.DOTALL | re.MULTILINE) # nbdev's
        assert not [f'{name}:{i}' for i,line in enumerate(lines, 1) if len(line)>140 and not (generated and line in generated[0])]
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or (name,node.name) in LONG: continue
            body = node.body[1:] if ast.get_docstring(node) else node.body
            n = (body[-1].end_lineno - body[0].lineno + 1) if body else 0
            assert n<=40, f'{name}.{node.name} has {n} lines'


LONG = {('engine.paint','paint'), ('engine.tracer','trace'), ('engine.cuda','_paint'), ('engine.cuda','_prepare')} # Outermost loops and kernels


def test_readme_gives_the_command_that_ci_runs():
    command = "pip install -e '.[dev]' && pytest"
    assert command in (ROOT/'README.md').read_text(encoding='utf-8') and command in (ROOT/'.ci'/'run').read_text()
    assert 'pip install -e . && mmnist-preview' in (ROOT/'README.md').read_text(encoding='utf-8')


def test_links_and_pictures_of_the_readme_exist():
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    links = [o for o in re.findall(r'\]\(([^)#]+)', text) + re.findall(r'src="([^"]+)"', text) if not o.startswith('http')]
    assert len(links)>8
    for link in links: assert (ROOT/link).exists(), link


def test_the_readme_is_short():
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    assert len(text.splitlines())<250 and '<!-- table' not in text


def test_the_figures_of_the_readme_are_those_of_the_benchmark():
    spec = importlib.util.spec_from_file_location('render_readme', ROOT/'tools'/'render.py')
    spec.loader.exec_module(tool := importlib.util.module_from_spec(spec))
    table,results = tool.speed(),(ROOT/'benchmarks/RESULTS.md').read_text(encoding='utf-8')
    assert table in (ROOT/'README.md').read_text(encoding='utf-8') and table.count('\n')>len(tool.PLAIN) # No row is without a figure
    ms = float(re.search(r'^\| get_batch\(128\), milliseconds per sequence \| ([\d.]+)', results, re.MULTILINE)[1])
    said = re.search(r'^\| Batches of 128 \| ([\d,]+) sequences per second \|', table, re.MULTILINE)[1]
    assert int(said.replace(',', ''))==pytest.approx(1000/ms, rel=.01)


def test_every_cell_of_every_notebook_has_been_run():
    for nb in NOTEBOOKS:
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
    "Imports load no heavy package besides torch and torchvision, and do not initialise matplotlib"
    code = '''if True:
        import sys, torch, torchvision
        before = set(sys.modules)
        import torch_moving_mnist.data, torch_moving_mnist.utils
        print(sorted({m.split('.')[0] for m in set(sys.modules) - before} & {'matplotlib','numba','IPython','tqdm','nbdev','execnb','pandas','scipy'}))'''
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip()=='[]'
