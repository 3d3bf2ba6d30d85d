"Fixtures: the location of MNIST, a matplotlib backend without a display, and workers that start fast"
import multiprocessing, os

os.environ.setdefault('MPLBACKEND', 'agg')
if 'PYTEST_XDIST_WORKER' in os.environ: os.environ.setdefault('OMP_NUM_THREADS', '1') # Before torch: two processes share the cores

import hypothesis
import pytest

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import load_digits

ROOT = os.environ.get('MNIST_ROOT', '.')

@pytest.hookimpl(optionalhook=True) # xdist may be missing where only single files are run
def pytest_xdist_auto_num_workers(config):
    "Two processes for the whole suite; none for chosen files, which would wait longer for their start"
    return 2 if config.args==config.getini('testpaths') else 0


# The files that take longest, first: what begins last must not keep one process busy when the other has nothing left
LONG = ['site','notebooks','examples','files','truth','motion','cuda','jit','viewer','ranks','types','stream','data','limits','metrics','world','corrupt']

def pytest_collection_modifyitems(items):
    order = {f'test_{name}': i for i,name in enumerate(LONG)}
    items.sort(key=lambda o: order.get(o.path.stem, len(LONG)))


# The same examples in every run, so that a failing build is caused by the change under test
hypothesis.settings.register_profile('ci', derandomize=True)
if os.environ.get('CI'): hypothesis.settings.load_profile('ci')


# Workers of the method 'forkserver' start as those of 'spawn' do, from what can be pickled, but need not import torch anew
multiprocessing.set_forkserver_preload(['torch_moving_mnist.data'])


def _mnist_is_there():
    try: return bool(load_digits('mnist', ROOT, download=False))
    except RuntimeError: return False


HAS_MNIST = _mnist_is_there()
needs_mnist = pytest.mark.skipif(not HAS_MNIST, reason=f'no MNIST under MNIST_ROOT={ROOT!r}')


@pytest.fixture(scope='session', params=['fonts', pytest.param('mnist', marks=needs_mnist)])
def source(request):
    "Keyword arguments that select the digits: fonts always, and MNIST if it is available"
    return dict(digits=request.param, path=ROOT, download=False)


@pytest.fixture
def make(source):
    "A function that creates a small dataset; its keyword arguments override the defaults"
    return lambda **kw: MovingMNIST(**{**source, **dict(num_digits=[1,2,3], num_frames=5, normalize=False, seed=0), **kw})


@pytest.fixture
def fonts():
    "Like `make`, with font digits only"
    return lambda **kw: MovingMNIST(**{**dict(digits='fonts', num_digits=[1,2,3], num_frames=5, normalize=False, seed=0), **kw})

