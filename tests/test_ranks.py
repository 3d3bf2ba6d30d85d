"Ranks of one job: disjoint sequences whose union is a single process', resuming on another number of ranks, one download, and a rank that dies"
import hashlib, itertools, json, os, random, time
from pathlib import Path

import processes
import pytest

from torch_moving_mnist import stream as streams
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.files import verify


def tiny(**kwargs): return MovingMNIST(**{**dict(digits='fonts', num_digits=1, num_frames=2, img_size=32, digit_size=16, normalize=(.1,.3), seed=5, affine_params=dict(translate=((-8,8),(-8,8)))), **kwargs})


def digest(x): return hashlib.md5(x.numpy().tobytes()).hexdigest()


@pytest.fixture(scope='module')
def expected():
    "Names of the first sequences, in order: normalised, and as bytes"
    ds = tiny(length=400)
    assert len({digest(x) for x in ds[:400]})==400
    return [digest(x) for x in ds.get_batch(indices=range(400))], [digest(x) for x in ds[:400]]


# ---- In processes

RANK = """
import hashlib, itertools, json, sys, torch
from torch.utils.data import DataLoader, DistributedSampler
from torch_moving_mnist.data import MovingMNIST
store,rank,world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.distributed.init_process_group('gloo', init_method='file://' + store, rank=rank, world_size=world)
def make(): return MovingMNIST(digits='fonts', num_digits=1, num_frames=2, img_size=32, digit_size=16, normalize=(.1,.3), seed=5, length=48, affine_params=dict(translate=((-8,8),(-8,8))))
def names(batches): return [hashlib.md5(x.numpy().tobytes()).hexdigest() for batch in batches for x in batch]
ds,sampled,found = make(),make(),{}
found['get_batch'] = names([ds.get_batch(5), ds.get_batch(1)])
found['batches'] = names(ds.batches(2, bs=3)) # Goes on
for workers in (0,2): found[f'stream {workers}'] = names(DataLoader(make().stream(bs=3, n=2*world), batch_size=None, num_workers=workers))
sampler = DistributedSampler(sampled, shuffle=True, seed=1)
found['sampler'] = names(DataLoader(sampled, batch_size=4, sampler=sampler))
print(json.dumps(found))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize('world', [2,4])
def test_ranks_draw_what_one_process_draws(expected, tmp_path, world):
    ranks = [processes.start(RANK, tmp_path/'store', rank, world) for rank in range(world)]
    ended = [p.finish(240) for p in ranks]
    assert all(o.returncode==0 for o in ended), [o.stderr for o in ended]
    found = [json.loads(o.stdout.splitlines()[-1]) for o in ended]
    def union(kind): return [x for o in found for x in o[kind]]
    floats,samples = expected
    for kind,which in {'get_batch': floats[:6*world], 'batches': floats[6*world:12*world], 'stream 0': floats[:6*world], 'stream 2': floats[:6*world], 'sampler': samples[:48]}.items():
        assert len(union(kind))==len(which) and set(union(kind))==set(which), kind
    assert [x for group in zip(*(o['get_batch'] for o in found)) for x in group]==floats[:6*world] # Rank r has every world-th sequence from r on


# ---- As if there were several ranks

@pytest.fixture
def as_rank(monkeypatch):
    "A function that makes this process act as one of several ranks"
    def act(rank, world): monkeypatch.setattr(streams, 'rank_and_world', lambda: (rank, world))
    return act


@pytest.mark.parametrize('worlds', [(2,4), (4,2,3), (1,3,1), (3,2), (5,1,4,2)], ids=str)
def test_batches_go_on_with_another_number_of_ranks(expected, as_rank, worlds):
    "Whoever resumes takes up where the others stopped, without a gap and without repeats"
    state,position = None,0
    for world in worlds:
        drawn,states = [],[]
        for rank in range(world):
            as_rank(rank, world)
            batches = tiny().batches(bs=3)
            if state: batches.load_state_dict(state)
            drawn += [digest(x) for batch in itertools.islice(batches, 2) for x in batch]
            states.append(batches.state_dict())
            batches.close()
        assert sorted(drawn)==sorted(expected[0][position:position + 6*world])
        assert all(o==states[0] for o in states) # So one rank can save it for all
        state,position = states[0],position + 6*world
    assert state['sequences']==position


@pytest.mark.parametrize('n', [None,24])
@pytest.mark.parametrize('worlds', [(2,4), (4,2,3), (1,3), (3,2,1), (2,3,4)], ids=str)
def test_streams_go_on_with_another_number_of_ranks(expected, as_rank, worlds, n):
    state,seen = None,[]
    for world in worlds:
        rounds,states = [],[]
        for rank in range(world):
            as_rank(rank, world)
            iterator = iter(tiny().stream(bs=2, n=n))
            if state: iterator.load_state_dict(state)
            rounds.append([digest(x) for batch in itertools.islice(iterator, 2) for x in batch])
            states.append(iterator.state_dict())
        seen += [x for o in rounds for x in o]
        assert all(o==states[0] for o in states)
        state = states[0]
    assert sorted(seen)==sorted(expected[0][:len(seen)])
    if n is None: return
    # To the end: equal numbers on all ranks, and then the next epoch
    rest,after = [],[]
    for rank in range(worlds[-1]):
        as_rank(rank, worlds[-1])
        stream = tiny().stream(bs=2, n=n)
        iterator = iter(stream)
        iterator.load_state_dict(state)
        rest.append([digest(x) for batch in iterator for x in batch])
        after.append([digest(x) for x in next(iter(stream))])
    left = expected[0][len(seen):2*n]
    assert len({*map(len, rest)})==1 and len(set(sum(rest, [])))==len(sum(rest, [])) and set(sum(rest, []))<=set(left)
    assert len(left) - len(sum(rest, []))<2*worlds[-1] # What cannot be divided equally is skipped
    assert sum(after, [])==expected[0][2*n:2*n + 2*worlds[-1]]


def test_streams_in_workers_go_on_with_another_number_of_ranks(expected, as_rank):
    "torchdata's loader keeps the state of each worker; four ranks load the state of one of two"
    torchdata = pytest.importorskip('torchdata.stateful_dataloader')
    def loader(): return torchdata.StatefulDataLoader(tiny().stream(bs=2, n=24), batch_size=None, num_workers=2)
    seen,states = [],[]
    for rank in range(2):
        as_rank(rank, 2)
        mine = loader()
        seen += [digest(x) for batch in itertools.islice(mine, 3) for x in batch]
        states.append(mine.state_dict())
    rest = []
    for rank in range(4):
        as_rank(rank, 4)
        mine = loader()
        mine.load_state_dict(states[0])
        rest.append([digest(x) for batch in mine for x in batch])
    together = seen + sum(rest, [])
    assert len(set(together))==len(together) and len({*map(len, rest)})==1
    assert set(together)<=set(expected[0][:48]) and len(together)>48 - 2*2*4 # Each of the two workers may skip what four ranks cannot share


# ---- What ranks share

DOWNLOAD = """
import functools, os, sys, time, torch, torchvision
from torch_moving_mnist import digits
from torch_moving_mnist.data import MovingMNIST
sys.path.insert(0, sys.argv[3])
from test_digits import FILES
class Slow(torchvision.datasets.MNIST):
    def download(self):
        if self._check_exists(): return
        with open(sys.argv[2], 'a') as log: log.write(f'{os.getpid()}\\n')
        time.sleep(1)
        os.makedirs(self.raw_folder)
        for name,data in FILES.items(): open(os.path.join(self.raw_folder, name), 'wb').write(data)
Slow.__name__ = 'MNIST'
digits.FAMILY['mnist'] = Slow
print(len(MovingMNIST(sys.argv[1], normalize=False).digits))
"""


def test_one_process_downloads_and_the_others_wait(tmp_path):
    started = [processes.start(DOWNLOAD, tmp_path/'data', tmp_path/'log', Path(__file__).parent) for _ in range(4)]
    ended = [p.finish(120) for p in started]
    assert [o.stdout for o in ended]==['50\n']*4, [o.stderr for o in ended]
    assert len((tmp_path/'log').read_text().split())==1
    assert sorted(o.name for o in (tmp_path/'data').rglob('*') if o.is_file())==sorted(os.listdir(tmp_path/'data'/'MNIST'/'raw')) and len(os.listdir(tmp_path/'data'))==1


SAVE = """
import sys, torch
from torch_moving_mnist.data import MovingMNIST
store,rank,world,out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.distributed.init_process_group('gloo', init_method='file://' + store, rank=rank, world_size=world)
torch.set_num_threads(1)
ds = MovingMNIST(digits='fonts', num_digits=2, num_frames=6, normalize=False, seed=1, length=3000)
print('ready', flush=True)
ds.save(out, n=3000, shards=100, progress=False)
"""


def test_a_rank_that_dies_stops_no_other_from_writing(tmp_path):
    "All ranks save the same folder: they share the shards out; one is killed, and the others write everything"
    ranks = [processes.start(SAVE, tmp_path/'store', rank, 3, tmp_path/'set') for rank in range(3)]
    rng = random.Random(0)
    processes.until(lambda: len(list((tmp_path/'set').glob('shard-*')))>=10)
    time.sleep(rng.random()*.3)
    ranks[1].kill()
    ended = [ranks[i].finish(240) for i in (0,2)]
    assert all(o.returncode==0 for o in ended), [o.stderr for o in ended]
    assert verify(tmp_path/'set')==[] and not (tmp_path/'set'/'.part').exists()
    MovingMNIST(digits='fonts', num_digits=2, num_frames=6, normalize=False, seed=1, length=3000).save(tmp_path/'alone', n=3000, shards=100, progress=False)
    def content(folder): return {o.name: o.read_bytes() for o in folder.iterdir()}
    assert content(tmp_path/'set')==content(tmp_path/'alone')
