"Scripts in examples/ run as they are, in an empty folder"
import json, os, signal, subprocess, sys, time
from pathlib import Path

import processes
import pytest

EXAMPLES = Path(__file__).parent.parent/'examples'


@pytest.mark.parametrize('name', sorted(o.stem for o in EXAMPLES.glob('read_with_*.py')))
def test_the_example_runs(name, tmp_path):
    code = f"import runpy, torch; torch.set_num_threads(1); runpy.run_path({str(EXAMPLES/f'{name}.py')!r}, run_name='__main__')"
    run = processes.run(code, cwd=tmp_path, env=dict(HF_HUB_OFFLINE='1', HF_HOME=str(tmp_path/'hf')))
    assert run.returncode==0, run.stderr
    assert run.stdout.strip(), 'each ends with a line about what was read'


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
    if model=='simvp': # The settings of both are compared by one function
        other = trained('next_frame.py', *args, '--minutes', .02, '--seed', 1)
        assert other.returncode==1 and 'has the settings' in other.stderr


@pytest.mark.parametrize('name,files', [('segment', {'results.md','segments.png'}), ('diffusion', {'results.md','results.json','samples.png'})])
def test_the_other_trainings_run_and_go_on(name, files, tmp_path):
    for minutes,said in ((.01, ''), (.02, 'resumed')):
        run = trained(f'{name}.py', '--out', tmp_path/'run', '--minutes', minutes)
        assert run.returncode==0 and said in run.stdout, run.stderr
    assert {o.name for o in (tmp_path/'run').iterdir()}=={'checkpoint.pt', *files}
    if name=='segment': # Both read it with one function
        (tmp_path/'run/checkpoint.pt').write_bytes(b'damaged')
        damaged = trained('segment.py', '--out', tmp_path/'run', '--minutes', .02)
        assert damaged.returncode==1 and 'checkpoint.pt cannot be read' in damaged.stderr


@pytest.mark.parametrize('args', [('--minutes', 0), ('--n-test', 20_000), ('--out', __file__)], ids=str)
def test_wrong_arguments_are_refused_before_training(args):
    run = trained('segment.py', *args)
    assert run.returncode==2 and args[0] in run.stderr.splitlines()[-1]


# ---- Several processes

def test_ranks_train_together_and_go_on_with_another_number(tmp_path):
    for world,said in ((2, 'sequences 0 to 15 on 2 ranks: loss '), (1, 'sequences 16 to 23 on 1 ranks: loss ')):
        line = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(world), str(EXAMPLES/'ranks_ddp.py'), '--steps', '2', '--bs', '4']
        run = subprocess.run(line, cwd=tmp_path, env={**os.environ, 'OMP_NUM_THREADS': '1'}, capture_output=True, text=True, timeout=240)
        assert run.returncode==0, run.stderr
        assert said in run.stdout and run.stdout.count('New computed stats')==1 # Of the first rank


def test_lightning_trains_on_two_ranks(tmp_path):
    pytest.importorskip('lightning')
    run = subprocess.run([sys.executable, str(EXAMPLES/'ranks_lightning.py')], cwd=tmp_path, env={**os.environ, 'OMP_NUM_THREADS': '1'}, capture_output=True, text=True, timeout=240)
    assert run.returncode==0 and '8 steps on 2 ranks: loss ' in run.stdout, run.stderr


def children(pid):
    with open(f'/proc/{pid}/task/{pid}/children') as f: found = [int(o) for o in f.read().split()]
    return found + [x for o in found for x in children(o)]


@pytest.mark.skipif(not os.path.exists('/proc/self/task'), reason='the test looks for processes in /proc')
def test_jobs_that_are_killed_begin_again(tmp_path):
    from torch_moving_mnist import MovingMNIST
    from torch_moving_mnist.files import verify
    options = ['--digits', 'fonts', '--num-frames', '10', '--seed', '3']
    line = ['sh', str(EXAMPLES/'export_array.sh'), '2', '30', 'canonical', 'set', '--shard-rows', '100', '--n', '3000', '--length', '3000', *options]
    env = {**os.environ, 'PATH': f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}", 'OMP_NUM_THREADS': '1'}
    with subprocess.Popen(line, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as script:
        while len([*(tmp_path/'set').glob('shard-*')])<4: # Both are at work, and not near the end
            assert script.poll() is None, script.communicate()
            time.sleep(.005)
        killed = children(script.pid)
        for pid in killed: os.kill(pid, signal.SIGKILL)
        out,err = script.communicate(timeout=240)
    assert script.returncode==0 and 'shards are missing: ' in out and 'set is finished: 3,000 sequences, 30 shards' in out, err
    MovingMNIST.preset('canonical', digits='fonts', num_frames=10, seed=3, length=3000).save(tmp_path/'alone', n=3000, shards=30, progress=False)
    def content(folder): return {o.name: o.read_bytes() for o in folder.iterdir()}
    assert verify(tmp_path/'set')==[] and content(tmp_path/'set')==content(tmp_path/'alone') and len(killed)>=2


def test_the_job_array_of_slurm_covers_all_shards(tmp_path):
    "Run as Slurm runs it, with a command that only tells its arguments"
    (tmp_path/'mmnist-export').write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path/'mmnist-export').chmod(0o755)
    ranges = []
    for k in range(16):
        env = {**os.environ, 'PATH': f"{tmp_path}{os.pathsep}{os.environ['PATH']}", 'SCRATCH': '/scratch', 'SLURM_ARRAY_TASK_ID': str(k), 'SLURM_ARRAY_TASK_COUNT': '16'}
        words = subprocess.run(['bash', str(EXAMPLES/'export_array.slurm')], env=env, capture_output=True, text=True, check=True).stdout.split()
        assert words[:2]==['canonical','/scratch/set'] and words[words.index('--n')+1]=='10000000' and words[words.index('--shard-rows')+1]=='4096'
        ranges.append([int(o) for o in words[words.index('--shards')+1].split(':')])
    assert ranges[0][0]==0 and ranges[-1][1]==-(-10_000_000//4096) and all(a[1]==b[0] for a,b in zip(ranges, ranges[1:]))
