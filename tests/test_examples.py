"Scripts in examples/ run as they are, in an empty folder"
import os, runpy, sys, traceback
from pathlib import Path

import pytest
import torch

import torch_moving_mnist.data # Imported once, for all forks

EXAMPLES = Path(__file__).parent.parent/'examples'


@pytest.mark.parametrize('name', sorted(o.stem for o in EXAMPLES.glob('read_with_*.py')))
def test_the_example_runs(name, tmp_path):
    child = os.fork()
    if not child:
        code = 1
        try:
            os.chdir(tmp_path)
            os.environ.update(HF_HUB_OFFLINE='1', HF_HOME=str(tmp_path/'hf'))
            sys.stdout = sys.stderr = open('out', 'w', buffering=1)
            for o in (1, 2): os.dup2(sys.stdout.fileno(), o)
            torch.set_num_threads(1)
            runpy.run_path(str(EXAMPLES/f'{name}.py'), run_name='__main__')
            code = 0
        except BaseException: traceback.print_exc()
        finally:
            print(flush=True)
            os._exit(code)
    code = os.waitpid(child, 0)[1]
    printed = (tmp_path/'out').read_text()
    assert code==0, printed
    assert printed.strip(), 'each ends with a line about what was read'
