"Batches prefetched in the background equal those of `get_batch`, and no thread outlives its loop"
import copy, itertools, os, pickle, threading, time, warnings

import processes
import pytest
import torch
from torch.utils.data import DataLoader

from torch_moving_mnist.data import MovingMNIST


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


def test_batches_have_a_length_if_they_end(ds):
    batches = ds.batches(3, bs=2)
    next(batches)
    assert len(batches)==3 and len(list(batches))==2
    with pytest.raises(TypeError, match='no end.*ds.batches'): len(ds.batches(bs=2))


@pytest.mark.parametrize('ending', ['', 'sys.exit(3)', 'raise RuntimeError'])
def test_the_interpreter_exits_with_an_open_iterator(ending):
    code = f"import sys\nfrom torch_moving_mnist.data import MovingMNIST\nds = MovingMNIST(digits='fonts', seed=0)\nstream = ds.batches(bs=64, prefetch=4)\nnext(stream)\n{ending}"
    r = processes.run(code, timeout=120)
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
    processes.run(FORK, timeout=120).check_returncode()


@pytest.mark.parametrize('k,prefetch', [(0,2), (3,0), (3,2), (7,5)])
def test_batches_resume_after_what_was_handed_out(fonts, k, prefetch):
    whole = list(fonts(num_frames=2, seed=0).batches(7, bs=3))
    first = fonts(num_frames=2, seed=0).batches(7, bs=3, prefetch=prefetch)
    for _ in range(k): next(first)
    state = first.state_dict()
    second = fonts(num_frames=2, seed=0).batches(7, bs=3, prefetch=prefetch)
    if k: next(second) # What it has already prepared is discarded
    second.load_state_dict(state)
    rest = list(second)
    assert len(rest)==7-k and all(map(torch.equal, rest, whole[k:]))
    first.load_state_dict(state)
    assert all(map(torch.equal, list(first), whole[k:]))


@pytest.mark.parametrize('state', [None, {}, dict(batches=1), dict(batches=1, sequences=-1), dict(batches='1', sequences=2)])
def test_other_states_are_refused(ds, state):
    with pytest.raises((ValueError, TypeError), match='state'): ds.batches().load_state_dict(state)
    with pytest.raises((ValueError, TypeError), match='state'): iter(ds.stream(bs=2)).load_state_dict(state)


@pytest.mark.parametrize('owner', ['globals()', 'sys'])
def test_a_half_used_iterator_in_a_module_does_not_disturb_the_exit(owner):
    code = "import sys\nfrom torch_moving_mnist.data import MovingMNIST\nds = MovingMNIST(digits='fonts', seed=0, normalize=(.1,.3))\nx = ds.batches(bs=64, prefetch=4)\nnext(x)\nx.me = x\n"
    code += "sys.kept = x\n" if owner=='sys' else ''
    r = processes.run(code, timeout=120)
    assert (r.returncode,r.stderr)==(0,'')


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this system')
def test_a_forked_child_cannot_go_on_with_its_parents_iterator(ds):
    batches = ds.batches(bs=2)
    next(batches)
    child = os.fork()
    if not child:
        try: next(batches)
        except RuntimeError as e: os._exit('has forked' not in str(e))
        os._exit(1)
    assert os.waitpid(child, 0)[1]==0
    next(batches)


def sequences(batches): return [x.numpy().tobytes() for batch in batches for x in batch]


@pytest.fixture(scope='module')
def expected():
    "The first sequences, in order"
    ds = MovingMNIST(digits='fonts', num_digits=1, num_frames=2, normalize=(.1,.3), seed=5, length=200)
    return [x.numpy().tobytes() for x in ds.get_batch(indices=range(200))]


def tiny(**kw): return MovingMNIST(**{**dict(digits='fonts', num_digits=1, num_frames=2, normalize=(.1,.3), seed=5), **kw})


@pytest.mark.parametrize('workers,method,persistent', [(0,None,False), (1,'fork',False), (2,'fork',False), (3,'fork',True), (1,'spawn',True), (3,'forkserver',False)])
def test_a_stream_goes_on_from_epoch_to_epoch(expected, workers, method, persistent):
    loader = DataLoader(tiny().stream(bs=3, n=7), batch_size=None, num_workers=workers, multiprocessing_context=method, persistent_workers=persistent)
    assert len(loader)==7
    for epoch in range(3): assert sequences(loader)==expected[21*epoch:21*epoch+21]


@pytest.mark.parametrize('workers,persistent', [(0,False), (2,False), (2,True)])
def test_leaving_a_stream_early_repeats_nothing(expected, workers, persistent):
    loader = DataLoader(tiny().stream(bs=2, n=5), batch_size=None, num_workers=workers, persistent_workers=persistent)
    for epoch in range(3):
        for i,batch in enumerate(loader):
            assert sequences([batch])==expected[10*epoch+2*i:10*epoch+2*i+2]
            if i==1: break
    seen = set()
    loader = DataLoader(tiny().stream(bs=2), batch_size=None, num_workers=workers, persistent_workers=persistent)
    for epoch in range(3):
        new = sequences(itertools.islice(loader, 5))
        assert len(set(new))==10 and not seen & set(new)
        seen |= set(new)


def test_workers_may_change_from_epoch_to_epoch(expected):
    stream = tiny().stream(bs=3, n=4)
    for epoch,workers in enumerate([0,2,0,3,1]): assert sequences(DataLoader(stream, batch_size=None, num_workers=workers))==expected[12*epoch:12*epoch+12]


def test_unseeded_streams_draw_new_sequences():
    loader = DataLoader(tiny(seed=None).stream(bs=4, n=3), batch_size=None, num_workers=2)
    found = sequences(loader) + sequences(loader)
    assert len(set(found))==24


@pytest.mark.parametrize('workers', [0,2])
def test_torchdata_resumes_a_stream_in_mid_epoch(workers):
    torchdata = pytest.importorskip('torchdata.stateful_dataloader')
    def make(): return torchdata.StatefulDataLoader(tiny().stream(bs=2, n=6), batch_size=None, num_workers=workers)
    loader = make()
    whole = [sequences(loader), sequences(loader), sequences(loader)]
    loader = make()
    list(loader)
    second = iter(loader)
    for _ in range(3): next(second)
    state = loader.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    assert [sequences(resumed), sequences(resumed)]==[whole[1][6:], whole[2]]


RANKS = """
import itertools, os, sys, torch
from torch.utils.data import DataLoader
from torch_moving_mnist.data import MovingMNIST
torch.distributed.init_process_group('gloo', init_method='file://' + sys.argv[1], rank=int(sys.argv[2]), world_size=2)
ds = MovingMNIST(digits='fonts', num_digits=1, num_frames=2, normalize=(.1,.3), seed=5)
loader = DataLoader(ds.stream(bs=2, n=6), batch_size=None, num_workers=int(sys.argv[3]))
torch.save([list(loader), list(loader)], sys.argv[1] + sys.argv[2])
try: len(ds.stream(n=3))
except ValueError as e: print(e)
"""


@pytest.mark.parametrize('workers', [0,2])
def test_ranks_share_a_stream(expected, tmp_path, workers):
    ranks = [processes.start(RANKS, tmp_path/'store', rank, workers) for rank in range(2)]
    out = [p.finish(240).stdout for p in ranks]
    assert all('n=3 with 2 ranks' in o for o in out)
    for epoch in range(2):
        ranks = [torch.load(f'{tmp_path}/store{rank}')[epoch] for rank in range(2)]
        merged = [batch for pair in zip(*ranks) for batch in pair]
        assert sequences(merged)==expected[12*epoch:12*epoch+12]


class GetBatch(torch.utils.data.IterableDataset):
    def __init__(self, ds): self.ds = ds
    def __iter__(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            for _ in range(2): self.ds.get_batch(1)
            next(self.ds.batches(bs=1))
        yield [str(o.message) for o in caught]


@pytest.mark.parametrize('seed', [5,None])
def test_get_batch_in_a_worker_warns_once_and_names_the_stream(seed):
    found, = DataLoader(GetBatch(tiny(seed=seed)), batch_size=None, num_workers=1)
    assert ['ds.stream' in o for o in found]==([True] if seed else [])


@pytest.mark.parametrize('wrong', [dict(bs=0), dict(n=0), dict(n=1.5)])
def test_stream_checks_its_arguments(ds, wrong):
    with pytest.raises((ValueError, TypeError), match=next(iter(wrong))): ds.stream(**wrong)


def test_a_compiled_step_may_call_the_dataset():
    torch._dynamo.reset()
    ds,reference = tiny(targets=['boxes']),tiny(targets=['boxes'])
    batches,net = ds.batches(bs=2),torch.nn.Conv2d(1, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        @torch.compile(backend='eager')
        def step():
            x,y = ds.get_batch(3),ds[0][0]
            z,w = ds.render(ds.draw(indices=[1])),next(batches)
            return net(x[0].flatten(0, 1)).mean(), y.float().mean() + 0*z.sum() + 0*w[0].sum()
        found = step()
    x = reference.get_batch(3)[0]
    assert torch.equal(found[0], net(x.flatten(0, 1)).mean()) and found[1]==reference[0][0].float().mean()
    found[0].backward()
    torch._dynamo.reset()


@pytest.mark.parametrize('generator', [False,True])
def test_equal_seeds_before_each_epoch_repeat_nothing(expected, generator):
    stream = tiny().stream(2, 4)
    def epoch():
        torch.manual_seed(0)
        given = torch.Generator().manual_seed(1) if generator else None
        return sequences(DataLoader(stream, batch_size=None, num_workers=2, generator=given))
    assert [epoch() for _ in range(3)]==[expected[8*i:8*i+8] for i in range(3)]


@pytest.mark.parametrize('duplicate', [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=['copy','deepcopy','pickle'])
@pytest.mark.parametrize('workers', [1,2])
def test_copies_of_a_stream_go_on_from_epoch_to_epoch(expected, duplicate, workers):
    stream = duplicate(tiny().stream(2, 4))
    assert [sequences(DataLoader(stream, batch_size=None, num_workers=workers)) for _ in range(2)]==[expected[:8], expected[8:16]]


class Brighter(MovingMNIST):
    def get_batch(self, bs=32): return super().get_batch(bs)*2


class Halved(MovingMNIST):
    def get_batch(self, bs=32): return super().get_batch(bs//2)


@pytest.mark.parametrize('workers', [0,2])
def test_a_stream_of_a_subclass_that_overrides_get_batch_has_no_end(workers):
    kw = dict(digits='fonts', num_digits=1, num_frames=1, img_size=32, normalize=False, seed=0)
    got = list(DataLoader(Brighter(**kw, length=10).stream(4, 4), batch_size=None, num_workers=workers))
    assert torch.equal(torch.cat(got), MovingMNIST(**kw).get_batch(16)*2)
    with pytest.raises(ValueError, match='get_batch of a subclass takes 2 sequences; expected 4'): next(iter(Halved(**kw).stream(4)))


class Twice(MovingMNIST):
    def get_batch(self, bs=32): return super().get_batch(bs), super().get_batch(bs)


def test_a_stream_refuses_a_subclass_that_takes_sequences_twice():
    kw = dict(digits='fonts', num_digits=1, num_frames=1, img_size=32, normalize=False, seed=0)
    with pytest.raises(ValueError, match='takes sequences twice'): next(iter(Twice(**kw).stream(4)))


SIGNALS = """
import os, signal, time
from torch_moving_mnist.engine import parallel
got = []
signal.signal(signal.SIGUSR1, lambda *args: got.append(1))
try:
    with parallel.deferred_signals():
        for o in (signal.SIGINT, signal.SIGUSR1):
            os.kill(os.getpid(), o)
            time.sleep(.02)
except KeyboardInterrupt: print(got)
"""

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no such signals on this system')
def test_a_handler_that_raises_does_not_lose_the_next_signal():
    assert processes.run(SIGNALS).stdout=='[1]\n'


def test_a_state_from_before_is_gone_back_to(fonts):
    torchdata = pytest.importorskip('torchdata.stateful_dataloader')
    loader = torchdata.StatefulDataLoader(fonts(seed=0).stream(2, 3), batch_size=None)
    first = next(iter(loader))
    state,rest = loader.state_dict(), [list(loader) for _ in range(2)]
    loader.load_state_dict(state)
    again = [list(loader) for _ in range(2)]
    assert torch.equal(torch.cat([first, *again[0]]), fonts(seed=0).get_batch(6)) and torch.equal(torch.cat(again[1]), torch.cat(rest[0]))


def test_a_state_before_the_first_batch_is_the_position_of_the_dataset(ds):
    iterator = ds.batches(bs=2)
    ds.get_batch(4)
    assert iterator.state_dict()==dict(batches=0, sequences=4)
    iterator.close()
    assert iterator.state_dict()==dict(batches=0, sequences=4)


def test_states_too_large_for_64_bits_are_refused(ds):
    with pytest.raises(ValueError, match=r"state\['sequences'\]=.*at most"): ds.batches().load_state_dict(dict(batches=1, sequences=2**70))
    for stream in ds.stream(2), ds.stream(2, 5):
        with pytest.raises(ValueError, match=r"state\['epoch'\]=.*at most"): iter(stream).load_state_dict(dict(epoch=2**61, made=0, ranks=1))


AT_EXIT = """
import atexit, threading, time
from torch_moving_mnist.data import MovingMNIST
ds = MovingMNIST(digits='fonts', normalize=False, seed=0)
ds.get_batch(64)
over = []
def until_over():
    while not over: ds.get_batch(64)
def last():
    time.sleep(.1)
    over.append(True)
    daemon.join() # PyTorch aborts where a daemon thread uses it until the very end
    print('exit', ds.get_batch(64).shape[0], next(ds.batches(bs=3)).shape[0])
def go_on():
    iterator = ds.batches(bs=64)
    for _ in range(200): next(iterator), ds.get_batch(64)
    print('thread')
atexit.register(last)
daemon = threading.Thread(target=until_over, daemon=True)
daemon.start()
threading.Thread(target=go_on).start()
time.sleep(.2)
"""

def test_threads_and_exit_functions_go_on_while_the_interpreter_ends():
    r = processes.run(AT_EXIT, warn=['error'])
    assert r.returncode==0 and r.stdout.split()==['thread','exit','64','3'] and not r.stderr


INTERRUPTED = """
import os, random, signal, sys, threading, time
from torch_moving_mnist.data import MovingMNIST
ds = MovingMNIST(digits='fonts', normalize=False, num_frames=10, seed=0)
ds.get_batch(128)
class Timeout(Exception): pass
def late(*args): raise Timeout
signal.signal(signal.SIGALRM, late)
signal.signal(signal.SIGINT, signal.default_int_handler) # A job in the background ignores it
arrived,seen = [],[-1]
def kick():
    for i in range(61):
        deadline = time.monotonic() + 20
        while seen[0]<i and time.monotonic()<deadline: time.sleep(.001) # Two signals at a time could count once
        time.sleep(random.uniform(0, .015))
        if i<60: os.kill(os.getpid(), (signal.SIGINT, signal.SIGALRM)[i % 2])
sender = threading.Thread(target=kick)
sender.start()
going = True
while going:
    try:
        while going:
            seen[0],going = len(arrived),sender.is_alive()
            ds.get_batch(128)
    except (KeyboardInterrupt, Timeout) as e: arrived.append(type(e).__name__)
print(len(arrived), arrived.count('Timeout'), signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGALRM) is late)
"""

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no such signals on this system')
def test_interrupts_are_raised_in_the_main_thread_and_print_nothing():
    r = processes.run(INTERRUPTED)
    n,timeouts,*restored = r.stdout.split()
    assert not r.stderr and restored==['True','True'] and [n,timeouts]==['60','30']
