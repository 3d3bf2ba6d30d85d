"Every notebook runs from top to bottom; cells flagged `#| mnist` run if the data is available"
from pathlib import Path

import pytest
from conftest import needs_mnist
from nbdev.test import nb_test_cells, test_nb as run_notebook

NOTEBOOKS = sorted((Path(__file__).parent.parent/'nbs').rglob('*.ipynb'))
FLAG = 'mnist'


def _id(path): return path.stem


@pytest.mark.parametrize('path', NOTEBOOKS, ids=_id)
def test_notebook(path):
    if path.stem in ('06_rng_cuda','06_cuda'): pytest.importorskip('triton', reason='Triton comes with torch on Linux only')
    assert nb_test_cells(path, skip_flags=[FLAG])
    assert run_notebook(path, skip_flags=[FLAG], profile=False)[0], 'the traceback is on stderr'


@needs_mnist
@pytest.mark.parametrize('path', [p for p in NOTEBOOKS if f'#| {FLAG}' in p.read_text(encoding='utf-8')], ids=_id)
def test_notebook_with_mnist(path):
    assert len(nb_test_cells(path)) > len(nb_test_cells(path, skip_flags=[FLAG]))
    assert run_notebook(path, force_flags=[FLAG], profile=False)[0], 'the traceback is on stderr'
