"What an editor, a type checker and `help` know about the package"
import inspect, json, re, subprocess, sys
from pathlib import Path

import jedi
import processes
import pytest
from fastcore.docments import parse_docstring

import torch_moving_mnist
from torch_moving_mnist import MovingMNIST, Scene, files, load, metrics, truth, utils
from torch_moving_mnist.files import SavedDataset
from torch_moving_mnist.metrics import Evaluation
from torch_moving_mnist.viewer import Viewer

ROOT = Path(__file__).parent.parent
GOOD,BAD = ROOT/'examples'/'typed.py', ROOT/'tests'/'typed_errors.py'


def public_names(cls): return [k for k in vars(cls) if not k.startswith('_')]


FUNCTIONS = [load, files.verify, files.write_shard, files.finish_folder, truth.show_truth, truth.viewer, Viewer.save, truth.as_sample, truth.per_frame, truth.to_coco, truth.to_mot,
             metrics.score, metrics.compare, metrics.evaluate, metrics.baselines, metrics.ssim, utils.show_image, utils.show_images, utils.animate, utils.save_gif, utils.set_seed, utils.to_device]
FUNCTIONS += [getattr(cls, k) for cls in (MovingMNIST, Scene, SavedDataset, Evaluation) for k in [*public_names(cls), '__getitem__', '__getitems__'] if k in vars(cls) and callable(getattr(cls, k))]


@pytest.fixture(scope='module')
def outside(tmp_path_factory):
    "A folder outside of the checkout that holds both scripts, as a user's project would"
    folder = tmp_path_factory.mktemp('project')
    for script in (GOOD, BAD): (folder/script.name).write_text(script.read_text(encoding='utf-8'), encoding='utf-8')
    (folder/'pyrightconfig.json').write_text('{"typeCheckingMode": "standard"}')
    inside = ', '.join(f'torch.{o}.*' for o in ('_dynamo','_inductor','_functorch','_export','_higher_order_ops','export','fx','distributed','onnx','ao','testing'))
    (folder/'mypy.ini').write_text(f'[mypy]\n[mypy-sympy.*, {inside}]\nfollow_imports = skip\n') # What no user of the package calls
    return folder


def planted(): return [i for i,line in enumerate(BAD.read_text(encoding='utf-8').splitlines(), 1) if line.endswith('# error')]


def test_pyright_accepts_the_example_and_finds_the_planted_errors(outside):
    run = subprocess.run([Path(sys.executable).with_name('basedpyright'), '--outputjson', '--pythonpath', sys.executable], cwd=outside, capture_output=True, text=True)
    found = [o for o in json.loads(run.stdout)['generalDiagnostics'] if o['severity']=='error']
    assert not [o for o in found if o['file'].endswith(GOOD.name)]
    assert sorted({o['range']['start']['line']+1 for o in found})==planted()


def test_mypy_accepts_the_example_and_finds_the_planted_errors(outside):
    run = subprocess.run([sys.executable, '-m', 'mypy', '--no-error-summary', GOOD.name, BAD.name], cwd=outside, capture_output=True, text=True)
    found = re.findall(r'^(\S+?):(\d+): error:', run.stdout, re.MULTILINE)
    assert run.stderr=='' and not [o for o in found if o[0]==GOOD.name], run.stdout + run.stderr
    assert sorted({int(line) for _,line in found})==planted()


def test_the_example_runs(outside):
    run = processes.run(f"import runpy; runpy.run_path({GOOD.name!r}, run_name='__main__')", cwd=outside)
    assert run.returncode==0, run.stderr
    assert (outside/'scene.npz').exists() and (outside/'scene.gif').exists()


def test_the_example_calls_every_public_method():
    text = GOOD.read_text(encoding='utf-8')
    methods = [k for cls in (MovingMNIST, Scene, SavedDataset, Evaluation) for k in public_names(cls) if callable(getattr(cls, k)) or isinstance(vars(cls)[k], property)]
    assert not [k for k in methods if not re.search(rf'\.{k}\b', text) and k!='channel_gain'] # Which is the engine's


@pytest.mark.parametrize('cls', [MovingMNIST, Scene])
def test_static_completion_offers_every_public_name(cls, outside):
    script = jedi.Script(f'from torch_moving_mnist import {cls.__name__}\ndef f(x: {cls.__name__}):\n    x.', path=outside/'editor.py', project=jedi.Project(outside))
    offered = {o.name for o in script.complete(3, 6)}
    assert {*public_names(cls), *cls.__annotations__}<=offered


def check_docstring(f, name):
    "Each parameter is described with its type, and each default is named"
    doc,params = parse_docstring(f),[p for p in inspect.signature(f).parameters.values() if p.name not in ('self','cls')]
    assert doc['Summary'], name
    described = {k.strip('*'): o for k,o in doc['Parameters'].items()}
    assert [p.name for p in params]==list(described), name
    for p in params:
        variadic = p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        assert described[p.name].desc and (variadic or described[p.name].type), f'{name}({p.name})'
        assert variadic or p.default is p.empty or 'default' in described[p.name].type, f'{name}({p.name}) does not name its default'


@pytest.mark.parametrize('f', FUNCTIONS, ids=lambda f: f.__qualname__)
def test_help_describes_every_parameter(f):
    check_docstring(f, f.__qualname__)
    assert all(p.annotation is not p.empty for p in inspect.signature(f).parameters.values() if p.name not in ('self','cls')), f.__qualname__


@pytest.mark.parametrize('cls', [MovingMNIST, Scene])
def test_help_describes_every_class(cls):
    check_docstring(cls, cls.__name__)
    for k in public_names(cls):
        if k not in cls.__annotations__: assert inspect.getdoc(getattr(cls, k)), f'{cls.__name__}.{k}'


def test_defaults_in_the_docstring_are_those_of_the_signature():
    described = parse_docstring(MovingMNIST)['Parameters']
    for p in inspect.signature(MovingMNIST).parameters.values():
        if p.name=='affine_params': continue # A namespace, described in words
        assert described[p.name].type.endswith(f"default {str(p.default).replace(', ', ',') if isinstance(p.default, tuple) and p.default else repr(p.default)}"), p.name


def test_root_offers_what_it_promises_without_importing_torch():
    code = "import sys, torch_moving_mnist as m; assert not {'torch','numpy'} & sys.modules.keys(); print(sorted(set(m.__all__) & set(dir(m))), m.load.__name__, m.Scene.__name__)"
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.split(']')[0]==str(sorted(torch_moving_mnist.__all__))[:-1]
    assert 'get_batch(bs=128)' in torch_moving_mnist.__doc__
    with pytest.raises(AttributeError, match='has no attribute'): torch_moving_mnist.nothing
