"Batches prefetched in the background equal those of `get_batch`, and no thread outlives its loop"
import os, subprocess, sys, threading, time

import pytest
import torch


def threads(): return [t for t in threading.enumerate() if t.name.startswith('torch_moving_mnist')]


@pytest.fixture
def ds(fonts): return fonts(num_frames=2, seed=0)


@pytest.mark.parametrize('prefetch', [0,1,2,7])
def test_the_same_batches_as_get_batch(fonts, prefetch):
    expected = fonts(num_frames=2, seed=0).get_batch(15)
    got = list(fonts(num_frames=2, seed=0).batches(5, bs=3, prefetch=prefetch))
    assert [len(o) for o in got]==[3]*5 and torch.equal(torch.cat(got), expected)


def test_unseeded_batches_repeat_under_manual_seed_even_if_the_loop_draws_numbers(fonts):
    ds = fonts(num_frames=2, seed=None)
    def run(delay):
        torch.manual_seed(3)
        out = []
        for batch in ds.batches(4, bs=2):
            out += [batch, torch.rand(2)]
            time.sleep(delay)
        return out
    assert all(map(torch.equal, run(0), run(.02)))
    assert not torch.equal(*[o for o in run(0) if o.ndim==5][:2])


def test_batches_are_prefetched(ds, monkeypatch):
    made = []
    batch = type(ds)._batch
    monkeypatch.setattr(type(ds), '_batch', lambda self, *a: (batch(self, *a), made.append(threading.current_thread()))[0])
    stream = ds.batches(bs=2, prefetch=3)
    assert not made
    next(stream)
    for _ in range(200):
        if len(made)==4: break
        time.sleep(.02)
    assert len(made)==4 and threading.main_thread() not in made
    time.sleep(.1)
    assert len(made)==4
    stream.close()


def test_break_and_errors_leave_no_thread(ds):
    ds.get_batch(2) # The renderer's threads are started here and stay
    before = set(threads())
    for batch in ds.batches(): break
    assert set(threads())==before
    with pytest.raises(ZeroDivisionError):
        for batch in ds.batches(bs=4): 1/0
    assert set(threads())==before
    assert len(list(ds.batches(2)))==2 and set(threads())==before


def test_errors_are_raised_in_place_of_the_batch(ds):
    def broken(x): raise ArithmeticError('from the transforms')
    ds.batch_tfms = broken
    stream = ds.batches(bs=2)
    with pytest.raises(ArithmeticError, match='from the transforms'): next(stream)
    assert list(stream)==[]


@pytest.mark.parametrize('wrong,message', [(dict(n=-1), 'n=-1'), (dict(bs=0), 'bs=0'), (dict(prefetch=-1), 'prefetch=-1'), (dict(prefetch='all'), "prefetch='all'"), (dict(n=1.5), 'n=1.5')])
def test_arguments_are_checked_immediately(ds, wrong, message):
    with pytest.raises((ValueError, TypeError), match=message): ds.batches(**wrong)


def test_zero_batches(ds): assert list(ds.batches(0))==[]


@pytest.mark.parametrize('ending', ['', 'sys.exit(3)', 'raise RuntimeError'])
def test_the_interpreter_exits_with_an_open_iterator(ending):
    code = f"import sys\nfrom torch_moving_mnist.data import MovingMNIST\nds = MovingMNIST(digits='fonts', seed=0)\nstream = ds.batches(bs=64, prefetch=4)\nnext(stream)\n{ending}"
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert r.returncode=={'': 0, 'sys.exit(3)': 3}.get(ending, 1)
    assert 'RuntimeError' in r.stderr if 'raise' in ending else not r.stderr


def test_two_iterators_draw_from_one_stream(fonts):
    ds,expected = fonts(num_frames=2, seed=0), fonts(num_frames=2, seed=0).get_batch(8)
    pairs = list(zip(ds.batches(2, bs=2, prefetch=0), ds.batches(2, bs=2, prefetch=0)))
    got = torch.cat([o for pair in pairs for o in pair])
    assert torch.equal(got, expected)


@pytest.mark.skipif(not hasattr(os, 'SCHED_BATCH'), reason='a policy of Linux')
def test_only_the_prefetch_thread_has_lower_priority(ds):
    seen = []
    ds.batch_tfms = lambda x: (seen.append(os.sched_getscheduler(0)), x)[1]
    assert len(list(ds.batches(3)))==3
    assert set(seen)=={os.SCHED_BATCH} and os.sched_getscheduler(0)!=os.SCHED_BATCH


FORK = """if True:
    import multiprocessing, torch
    from torch_moving_mnist.data import MovingMNIST
    ds = MovingMNIST(digits='fonts', num_digits=1, num_frames=1, normalize=False, length=2**40)
    def draw(seed=None):
        if seed is not None: torch.manual_seed(seed)
        return tuple(ds.draw(4).translate.flatten().tolist())
    with multiprocessing.get_context('fork').Pool(2, maxtasksperchild=1) as pool: found = pool.map(draw, [None]*4, chunksize=1)
    assert len({*found, draw()})==5
    with multiprocessing.get_context('fork').Pool(2, maxtasksperchild=1) as pool: seeded = pool.map(draw, [7,7,8], chunksize=1)
    assert seeded[0]==seeded[1]==draw(7) and seeded[2]!=seeded[0]"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this system')
def test_forked_processes_draw_different_sequences():
    "An unseeded dataset in a pool of processes, none of which is a loader worker"
    subprocess.run([sys.executable, '-c', FORK], check=True, timeout=120)
