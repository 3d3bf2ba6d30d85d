"Scripts in examples/ run as they are, in an empty folder"
import json, os, runpy, sys, traceback
from pathlib import Path

import processes
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


@pytest.mark.parametrize('model', ['simvp','convlstm'])
def test_next_frame_trains_goes_on_and_is_scored(model, tmp_path):
    code = f"import runpy, torch; torch.set_num_threads(1); runpy.run_path({str(EXAMPLES/'next_frame.py')!r}, run_name='__main__')"
    args = ['--model', model, '--digits', 'fonts', '--hidden', 16, '--blocks', 1, '--bs', 2, '--n-test', 6, '--out', tmp_path/'run']
    first = processes.run(code, *args, '--minutes', .01)
    assert first.returncode==0 and 'new run' in first.stdout, first.stderr
    again = processes.run(code, *args, '--minutes', .02)
    assert again.returncode==0 and 'resumed' in again.stdout and 'spent waiting for data' in again.stdout, again.stderr
    scores = json.loads((tmp_path/'run/results.json').read_text())['scores']
    assert list(scores)==['prediction','black','mean frame','last frame','straight line','true scene'] and scores['prediction']['mse']<400
    assert {o.name for o in (tmp_path/'run').iterdir()}=={'checkpoint.pt','results.md','results.json','predictions.png'}
    other = processes.run(code, *args, '--minutes', .02, '--seed', 1)
    assert other.returncode==1 and 'has the settings' in other.stderr
