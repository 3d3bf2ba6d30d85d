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


def trained(name, *args):
    "Run a script that trains, as `python examples/name.py` does"
    code = f"import runpy, sys, torch; torch.set_num_threads(1); sys.path.insert(0, {str(EXAMPLES)!r}); runpy.run_path({str(EXAMPLES/name)!r}, run_name='__main__')"
    return processes.run(code, '--digits', 'fonts', '--bs', 2, '--n-test', 6, *args)


@pytest.mark.parametrize('model', ['simvp','convlstm'])
def test_next_frame_trains_goes_on_and_is_scored(model, tmp_path):
    args = ['--model', model, '--hidden', 16, '--blocks', 1, '--out', tmp_path/'run']
    first = trained('next_frame.py', *args, '--minutes', .01)
    assert first.returncode==0 and 'new run' in first.stdout, first.stderr
    again = trained('next_frame.py', *args, '--minutes', .02)
    assert again.returncode==0 and 'resumed' in again.stdout and 'spent waiting for data' in again.stdout, again.stderr
    scores = json.loads((tmp_path/'run/results.json').read_text())['scores']
    assert list(scores)==['prediction','black','mean frame','last frame','straight line','true scene'] and scores['prediction']['mse']<400
    assert {o.name for o in (tmp_path/'run').iterdir()}=={'checkpoint.pt','results.md','results.json','predictions.png'}
    other = trained('next_frame.py', *args, '--minutes', .02, '--seed', 1)
    assert other.returncode==1 and 'has the settings' in other.stderr


@pytest.mark.parametrize('name,files', [('segment', {'results.md','segments.png'}), ('diffusion', {'results.md','results.json','samples.png'})])
def test_the_other_trainings_run_and_go_on(name, files, tmp_path):
    for minutes,said in ((.01, ''), (.02, 'resumed')):
        run = trained(f'{name}.py', '--out', tmp_path/'run', '--minutes', minutes)
        assert run.returncode==0 and said in run.stdout, run.stderr
    assert {o.name for o in (tmp_path/'run').iterdir()}=={'checkpoint.pt', *files}
    (tmp_path/'run/checkpoint.pt').write_bytes(b'damaged')
    damaged = trained(f'{name}.py', '--out', tmp_path/'run', '--minutes', .02)
    assert damaged.returncode==1 and 'checkpoint.pt cannot be read' in damaged.stderr


@pytest.mark.parametrize('args', [('--minutes', 0), ('--n-test', 20_000), ('--out', __file__)], ids=str)
def test_wrong_arguments_are_refused_before_training(args):
    run = trained('segment.py', *args)
    assert run.returncode==2 and args[0] in run.stderr.splitlines()[-1]
