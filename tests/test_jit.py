"Machine code on disk: compiled once, whoever needs it first, and never wrong"
import os, shutil, subprocess, sys, textwrap
from pathlib import Path

import processes
import pytest

import torch_moving_mnist

PACKAGE = Path(torch_moving_mnist.__file__).parent
NUMBERS = """if True:
    import torch
    from torch_moving_mnist.rng import Philox
    print(Philox(3, torch.arange(2)).words(2).flatten().tolist())"""
BATCH = """if True:
    from torch_moving_mnist import loops
    from torch_moving_mnist.data import MovingMNIST
    frames = MovingMNIST(digits='fonts', num_digits=3, seed=0, normalize=False).get_batch(4)
    from torch_moving_mnist.engine import paint
    functions = {k: f for m in (loops, paint) for k,f in vars(m).items() if hasattr(f, 'stats')}
    compiled = [k for k,f in functions.items() if f.stats.cache_misses]
    print(round(frames.sum().item()), *sorted(compiled))"""


def start(code, cache, warn=(), cwd=None, **env): return processes.start(code, warn=warn, cwd=cwd, env={'NUMBA_CACHE_DIR': str(cache), **env})


def finish(process):
    r = process.finish()
    assert r.returncode==0, r.stderr
    return r.stdout.strip(),r.stderr.strip()


def run(*args, **kw): return finish(start(*args, **kw))


@pytest.fixture(scope='module')
def numbers(tmp_path_factory):
    "A folder with machine code, and the output of the process that has compiled it"
    folder = tmp_path_factory.mktemp('cache')
    return folder,*run(NUMBERS, folder, ['error'])


def files(folder): return sorted(folder.rglob('*.nbc'))


def test_one_line_on_stderr_when_compiling_and_silence_afterwards(numbers):
    folder,out,err = numbers
    assert len(err.splitlines())==1 and 'compiles loops for this processor' in err and 'mmnist-warmup' in err and out.count('\n')==0
    assert run(NUMBERS, folder, ['error'])==(out, '')
    assert [o.suffix for o in (folder/'torch_moving_mnist').iterdir() if o.suffix!='.lock']==['.nbc']


def test_damaged_files_are_replaced(numbers, tmp_path):
    folder,out,_ = numbers
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    file, = files(tmp_path)
    whole = file.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:40], b''):
        file.write_bytes(damaged)
        found,said = run(NUMBERS, tmp_path)
        assert found==out and 'compiles' in said and file.read_bytes()!=damaged
    assert run(NUMBERS, tmp_path)==(out, '')


def test_without_a_folder_that_can_be_written_to(numbers, tmp_path):
    (tmp_path/'file').write_text('')
    assert run(NUMBERS, tmp_path/'file')[0]==numbers[1]


def test_a_full_disk(numbers, tmp_path):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000,1000))\n" # Writing more raises OSError
    assert run(limited + textwrap.dedent(NUMBERS), tmp_path)[0]==numbers[1]
    assert not files(tmp_path) and not list(tmp_path.rglob('*.tmp'))


def test_code_for_other_sources_and_processors_is_not_used(numbers, tmp_path):
    "An edit in any module with loops, and another processor, lead to other files"
    folder,out,_ = numbers
    shutil.copytree(PACKAGE, tmp_path/'torch_moving_mnist', ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copytree(folder, tmp_path/'cache')
    at = dict(cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert run(NUMBERS, tmp_path/'cache', **at)==(out, '')
    file = tmp_path/'torch_moving_mnist/engine/simd.py'
    file.write_text(file.read_text(encoding='utf-8') + '# An edit\n', encoding='utf-8')
    assert 'compiles' in run(NUMBERS, tmp_path/'cache', **at)[1]
    assert 'compiles' in run(NUMBERS, folder, NUMBA_CPU_NAME='generic', NUMBA_CPU_FEATURES='')[1]


def test_an_edit_during_a_process_is_not_mixed_up(numbers, tmp_path):
    "A process that has imported the old text keeps nothing under the new one's name"
    shutil.copytree(PACKAGE, tmp_path/'torch_moving_mnist', ignore=shutil.ignore_patterns('__pycache__'))
    file = tmp_path/'torch_moving_mnist/loops.py'
    edit = f"""
        from torch_moving_mnist import loops
        with open({str(file)!r}, 'a') as f: f.write('# An edit')
        """
    assert run(textwrap.dedent(edit) + textwrap.dedent(NUMBERS), tmp_path/'cache', cwd=tmp_path, PYTHONPATH=str(tmp_path))[0]==numbers[1]
    assert not files(tmp_path)


@pytest.fixture(scope='module')
def three(tmp_path_factory):
    "Three processes that start together with an empty cache"
    folder = tmp_path_factory.mktemp('cache')
    return folder,[finish(p) for p in [start(BATCH, folder) for _ in range(3)]]


def test_processes_that_start_together_compile_each_function_once(three):
    _,done = three
    frames = {out.split()[0] for out,_ in done}
    compiled = sorted(name for out,_ in done for name in out.split()[1:])
    assert len(frames)==1 and 'paint' in compiled and 'draw_digit' in compiled
    assert compiled==sorted(set(compiled))


@pytest.mark.skipif(os.name!='posix', reason='SIGKILL')
def test_a_lock_does_not_outlive_its_holder(numbers, tmp_path):
    (tmp_path/'torch_moving_mnist').mkdir()
    lock = str(tmp_path/'torch_moving_mnist/torch_moving_mnist.lock')
    code = f"""if True:
        import time
        from filelock import FileLock
        with FileLock({lock!r}):
            print('held', flush=True)
            time.sleep(300)"""
    holder = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline()=='held\n'
    waiting = start(NUMBERS, tmp_path)
    with pytest.raises(subprocess.TimeoutExpired): waiting.wait(4)
    holder.kill()
    assert finish(waiting)[0]==numbers[1]
    holder.communicate()


@pytest.mark.parametrize('method', ['fork','spawn'])
def test_loader_workers_use_what_is_compiled(three, method):
    if method=='fork' and not hasattr(os, 'fork'): pytest.skip('no fork')
    found = run(f"""
        from torch.utils.data import DataLoader
        from torch_moving_mnist.data import MovingMNIST
        if __name__=='__main__':
            ds = MovingMNIST(digits='fonts', num_digits=3, seed=0, normalize=(.1,.3), length=8)
            print(sum(int(o.sum()) for o in DataLoader(ds, batch_size=4, num_workers=2, multiprocessing_context={method!r})) > 0)""", three[0], ['ignore']) # Python warns of semaphores
    assert found==('True', '')


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork')
def test_a_fork_waits_until_another_thread_has_compiled(tmp_path):
    code = """
        import os, threading, time, torch
        from torch_moving_mnist import jit
        from torch_moving_mnist.rng import Philox
        def numbers(): return Philox(3, torch.arange(2)).words(2).tolist()
        thread = threading.Thread(target=numbers)
        thread.start()
        while not jit._turn.depth: time.sleep(.001) # Compiling
        child = os.fork()
        if not child: os._exit(numbers()!=numbers())
        thread.join()
        print(os.waitpid(child, 0)[1], numbers()==numbers())"""
    assert run(code, tmp_path)[0]=='0 True'


def test_garbage_collection_goes_on_after_compiling(tmp_path):
    code = "import gc, torch\nfrom torch_moving_mnist.rng import Philox\nPhilox(3, torch.arange(2)).words(2); print(gc.isenabled())"
    assert run(code, tmp_path)[0]=='True'
    assert run('import gc; gc.disable()\n' + code, tmp_path)[0]=='False'


def test_warmup_leaves_nothing_to_compile(three, tmp_path):
    shutil.copytree(three[0], tmp_path, dirs_exist_ok=True) # Something is there already
    out,err = run("from torch_moving_mnist.cli import warmup; warmup()", tmp_path)
    assert out.startswith('compiled in ') and str(tmp_path) in out and len(err.splitlines())==1
    everything = """
        import torch
        from torch_moving_mnist.data import MovingMNIST
        from torch_moving_mnist.truth import available_targets
        pictures = torch.zeros(2,3,32,32, dtype=torch.uint8)
        for composite in ('max','sum','over','opaque'):
            targets = available_targets(composite, background=True)
            ds = MovingMNIST(digits='fonts', composite=composite, background=pictures, targets=targets, normalize=False, color='random')
            ds[0], ds.get_batch(3)
        for motion in ('bounce','affine'):
            for boxes in ((), ('boxes',)): MovingMNIST(digits='fonts', motion=motion, interpolation='nearest', normalize=False, targets=boxes)[0]
        MovingMNIST(digits='shapes', motion='collide', num_digits=2, normalize=False, foreground=torch.zeros(2,4,32,32, dtype=torch.uint8), lifetime=(1,3), corrupt='blur')[[0,1]]"""
    assert run(everything, tmp_path)==('', '')
