"Where MNIST is, and a picture backend without a screen"
import os

os.environ.setdefault('MPLBACKEND', 'agg')

import hypothesis
import pytest

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import load_digits

ROOT = os.environ.get('MNIST_ROOT', '.')

hypothesis.settings.register_profile('ci', derandomize=True) # The same examples in every run, so that a red build is this change's doing
if os.environ.get('CI'): hypothesis.settings.load_profile('ci')


def _mnist_is_there():
    try: return bool(load_digits('mnist', ROOT, download=False))
    except RuntimeError: return False


HAS_MNIST = _mnist_is_there()
needs_mnist = pytest.mark.skipif(not HAS_MNIST, reason=f'no MNIST under MNIST_ROOT={ROOT!r}')


@pytest.fixture(scope='session', params=['fonts', pytest.param('mnist', marks=needs_mnist)])
def source(request):
    "Keyword arguments that name the digits: fonts everywhere, and MNIST where it is"
    return dict(digits=request.param, path=ROOT, download=False)


@pytest.fixture
def make(source):
    "A small dataset; any argument can be changed"
    return lambda **kw: MovingMNIST(**{**source, **dict(num_digits=[1,2,3], num_frames=5, normalize=False, seed=0), **kw})


@pytest.fixture
def fonts():
    "The same, on font digits alone"
    return lambda **kw: MovingMNIST(**{**dict(digits='fonts', num_digits=[1,2,3], num_frames=5, normalize=False, seed=0), **kw})

