"Every notebook runs from top to bottom; cells flagged `#| mnist` run if the data is available"
from pathlib import Path

import pytest
from conftest import HAS_MNIST, needs_mnist
from nbdev.test import nb_test_cells, test_nb as run_notebook

NOTEBOOKS = sorted((Path(__file__).parent.parent/'nbs').rglob('*.ipynb'))
FLAG = 'mnist'


def needs_data(path): return f'#| {FLAG}' in path.read_text(encoding='utf-8')


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda o: o.stem)
def test_notebook(path):
    if path.stem in ('06_loops_cuda','06_cuda'): pytest.importorskip('triton', reason='Triton comes with torch on Linux only')
    assert nb_test_cells(path, skip_flags=[FLAG])
    flags = dict(force_flags=[FLAG]) if HAS_MNIST else dict(skip_flags=[FLAG])
    assert run_notebook(path, **flags, profile=False)[0], 'the traceback is on stderr'


@needs_mnist
@pytest.mark.parametrize('path', [o for o in NOTEBOOKS if needs_data(o)], ids=lambda o: o.stem)
def test_cells_that_need_mnist_are_run(path):
    "Skipped by name where the data is missing"
    assert len(nb_test_cells(path, force_flags=[FLAG])) > len(nb_test_cells(path, skip_flags=[FLAG]))
