"Every notebook runs from top to bottom; cells flagged `#| mnist` where the data is"
from pathlib import Path

import pytest
from conftest import needs_mnist
from nbdev.test import nb_test_cells, test_nb as run_notebook

NOTEBOOKS = sorted((Path(__file__).parent.parent/'nbs').glob('*.ipynb'))
FLAG = 'mnist'


def _id(path): return path.stem


@pytest.mark.parametrize('path', NOTEBOOKS, ids=_id)
def test_notebook(path):
    if path.stem=='02c_gpu': pytest.importorskip('triton', reason='Triton comes with torch on Linux only')
    assert nb_test_cells(path, skip_flags=[FLAG])
    assert run_notebook(path, skip_flags=[FLAG], profile=False)[0], 'the traceback is on stderr'


@needs_mnist
@pytest.mark.parametrize('path', [p for p in NOTEBOOKS if f'#| {FLAG}' in p.read_text(encoding='utf-8')], ids=_id)
def test_notebook_with_mnist(path):
    assert len(nb_test_cells(path)) > len(nb_test_cells(path, skip_flags=[FLAG]))
    assert run_notebook(path, force_flags=[FLAG], profile=False)[0], 'the traceback is on stderr'
