"""Folders and batches made by a Ray cluster of several nodes, some of which are killed

`python tests/test_ray.py 20` kills a worker or a node 20 times. The suite does so less often.
"""
import contextlib, hashlib, os, random, re, runpy, shutil, signal, socket, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

ray = pytest.importorskip('ray', reason="Ray is not installed: pip install 'torch_moving_mnist[ray]'")
pytest.importorskip('ray.data', reason="Ray Data is not installed: pip install 'torch_moving_mnist[ray]'")
from ray.cluster_utils import Cluster

from torch_moving_mnist import MovingMNIST, load
from torch_moving_mnist import ray as cluster_files
from torch_moving_mnist.export import export
from torch_moving_mnist.files import verify, write_shard
from torch_moving_mnist.ray import read, save

EXAMPLES = Path(__file__).parent.parent/'examples'
N,SHARDS = 600,24
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__]) # The nodes cannot import this file


def slowly(frames, rng):
    "A corruption that changes nothing, and takes time, so that there is a moment for a kill"
    time.sleep(.1)
    return frames


def dataset(**kwargs):
    settings = dict(digits='fonts', num_digits=[1,2], num_frames=5, seed=0, normalize=False, length=N, targets=['labels','boxes','caption'])
    return MovingMNIST(**{**settings, **kwargs})


def contents(folder):
    "Name → hash of all files below a folder, hidden ones too"
    return {str(o.relative_to(folder)): hashlib.sha256(o.read_bytes()).hexdigest() for o in sorted(folder.rglob('*')) if o.is_file()} | \
        {str(o.relative_to(folder)): 'folder' for o in folder.rglob('*') if o.is_dir()}


@contextlib.contextmanager
def nodes():
    "A cluster: a head node for the driver, and nodes for the tasks"
    os.environ.update(RAY_USAGE_STATS_ENABLED='0', RAY_DEDUP_LOGS='0')
    soon = dict(health_check_initial_delay_ms=1000, health_check_period_ms=1000, health_check_failure_threshold=4) # Dead nodes are noticed sooner
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=0, include_dashboard=False, object_store_memory=2**28, _system_config=soon))
    try:
        for i in range(2): cluster.add_node(num_cpus=1, num_gpus=i, object_store_memory=2**28)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope='module')
def cluster():
    with nodes() as found:
        ray.init(address=found.address, logging_level='ERROR', log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield found


# GPUs; first, while the node with one is there

def test_tasks_that_ask_for_gpus_get_them(cluster, tmp_path):
    "Ray believes a node that says it has a GPU"
    def noted(frames, rng):
        if len(frames)>2: (notes/ray.get_runtime_context().get_node_id()).touch() # The driver makes two sequences at most
        return frames
    (notes := tmp_path/'notes').mkdir()
    ds = dataset(corrupt=noted)
    node, = (o['NodeID'] for o in ray.nodes() if o['Alive'] and 'GPU' in o['Resources'])
    save(ds, tmp_path/'set', 60, shards=12, num_gpus=1, progress=False)
    assert os.listdir(notes)==[node] and verify(tmp_path/'set')==[]
    (notes/node).unlink()
    assert len(read(ds, 60, num_gpus=.5, override_num_blocks=4).take_all())==60 and os.listdir(notes)==[node]


# Kills

def workers_of(node, name):
    "Processes of a node that run a task"
    raylet,found = node.all_processes['raylet'][0].process.pid,[]
    for o in Path('/proc').iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((o/'stat').read_text().rpartition(')')[2].split()[1])
            if parent==raylet and (o/'cmdline').read_text().startswith(f'ray::{name}'): found.append(int(o.name))
    return found


def kill(cluster, kind, name='write_one'):
    "Kill a worker that runs a task, or its node; False if no task is running now"
    busy = [(node,pid) for node in cluster.worker_nodes for pid in workers_of(node, name)]
    if not busy: return False
    node,pid = random.choice(sorted(busy, key=lambda o: o[1]))
    if kind=='worker': os.kill(pid, signal.SIGKILL)
    else:
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1, object_store_memory=2**28)
    return True


def save_with_kill(cluster, ds, out, kind, moment, **how):
    "Save in a thread; after so many seconds of work, kill. How many shards were there at that moment, None if the work had ended"
    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(save, ds, out, progress=False, **how)
        while not (saving.done() or [*out.glob('.part/*.driver')]): time.sleep(.01)
        time.sleep(moment)
        there,killed = len([*out.glob('.part/shard-*.json')]),False
        while not (saving.done() or (killed := kill(cluster, kind))): time.sleep(.001)
        saving.result()
    return there if killed else None


@pytest.mark.parametrize('kind', ['worker','node'])
def test_a_kill_changes_nothing(cluster, kind, tmp_path):
    "Whether a worker or its node is killed, the folder has the bytes of a single process, and nothing is left over"
    ds = dataset(corrupt=slowly)
    ds.save(tmp_path/'alone', n=N, shards=SHARDS, progress=False)
    expected = contents(tmp_path/'alone')
    shutil.rmtree(tmp_path/'alone')
    there = save_with_kill(cluster, ds, tmp_path/'set', kind, random.uniform(.1, .8), shards=SHARDS)
    assert there is not None and there<SHARDS
    assert contents(tmp_path/'set')==expected and os.listdir(tmp_path)==['set']


# Folders

@pytest.mark.parametrize('format', ['npy','tar'])
def test_the_folder_is_that_of_one_process(cluster, format, tmp_path):
    ds = dataset()
    ds.save(tmp_path/'alone', n=50, shards=7, format=format, targets=['flow','caption'], progress=False)
    save(ds, tmp_path/'set', 50, shards=7, format=format, targets=['flow','caption'], progress=False)
    assert contents(tmp_path/'set')==contents(tmp_path/'alone') and sorted(os.listdir(tmp_path))==['alone','set']
    assert len(os.listdir(tmp_path/'set'))==1 + 7*(3 if format=='npy' else 1) and verify(tmp_path/'set', against=ds)==[]


def test_a_folder_goes_on_and_is_mended(cluster, tmp_path):
    "Whoever has begun it, and whatever was damaged afterwards"
    ds,out = dataset(), tmp_path/'set'
    ds.save(tmp_path/'alone', n=50, shards=5, progress=False)
    for k in (1,3): write_shard(ds, k, 5, out, n=50)
    times = {o: o.stat().st_mtime_ns for o in out.glob('*.npy')}
    save(ds, out, 50, shards=5, progress=False)
    assert contents(out)==contents(tmp_path/'alone') and len(times)==8 and all(o.stat().st_mtime_ns==t for o,t in times.items())
    (out/'shard-00002-of-00005.boxes.npy').write_bytes(b'damaged')
    save(ds, out, 50, shards=5, progress=False)
    assert contents(out)==contents(tmp_path/'alone')
    with pytest.raises(FileExistsError, match='shards=5 instead of 4'): save(ds, out, 50, shards=4, progress=False)
    save(ds, out, 50, shards=4, overwrite=True, progress=False)
    assert verify(out)==[] and len(load(out))==50 and (out/'shard-00003-of-00004.frames.npy').exists()


def test_a_seed_is_drawn_and_kept(cluster, tmp_path):
    torch.manual_seed(3)
    save(dataset(seed=None), tmp_path/'set', 50, shards=3, progress=False)
    torch.manual_seed(3)
    dataset(seed=None).save(tmp_path/'alone', n=50, shards=3, progress=False)
    assert contents(tmp_path/'set')==contents(tmp_path/'alone') and load(tmp_path/'set').recipe['seed'] is not None


def fails(frames, rng):
    if len(frames)>2: raise ValueError('not today')
    return frames


def test_an_error_in_a_task_is_that_of_the_call(cluster, tmp_path):
    with pytest.raises(ValueError, match='^not today$'): save(dataset(corrupt=fails), tmp_path/'set', 50, shards=5, progress=False)
    assert not (tmp_path/'set'/'index.json').exists()


def test_a_worker_that_comes_back_leaves_nothing_behind(tmp_path):
    "It finds no ticket: the folder was finished without it"
    ds,refs = _copy(dataset(), 50),[type('Ref', (), dict(hex=lambda self: 'here'))()]
    ds.save(tmp_path/'set', n=50, shards=2, progress=False)
    before = contents(tmp_path/'set')
    args = refs,0,2,tmp_path/'set',50,'npy',tmp_path/'set'/'.part'/'a.driver',1
    assert cluster_files.write_one(*args)==socket.gethostname() and contents(tmp_path/'set')==before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_files, '_latest', ('here', ds))
        answers = iter([True, False])
        ticket = type('Ticket', (), dict(exists=lambda self: next(answers)))() # Removed while the task was at work
        assert cluster_files.write_one(*args[:6], ticket, 1)[0]==25
    assert contents(tmp_path/'set')==before


def _copy(ds, n):
    ds.length = n
    return ds


# The command

def start_command(*args):
    line = [sys.executable, '-W', 'ignore', '-c', 'import sys; from torch_moving_mnist.export import export; sys.exit(export())', *map(str, args)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_is_interrupted_and_goes_on(cluster, tmp_path):
    line = 'canonical', tmp_path/'set', '--n', 3000, '--length', 3000, '--digits', 'fonts', '--shard-rows', 100, '--engine', 'ray', '--address', cluster.address
    process = start_command(*line)
    while not [*tmp_path.glob('set/.part/shard-*.json')] and process.poll() is None: time.sleep(.01)
    process.send_signal(signal.SIGINT)
    out,err = process.communicate(timeout=60)
    assert process.returncode==130 and err.rstrip().endswith('mmnist-export: interrupted; the same command goes on where it stopped') and 'Traceback' not in err
    there = {o.name: o.stat().st_mtime_ns for o in tmp_path.glob('set/shard-*.npy') if (tmp_path/'set'/'.part'/f"{o.name.partition('.')[0]}.json").exists()}
    assert 0<len(there)<30
    assert export([*map(str, line), '--quiet'])==0 # From here, where workers run already
    assert all((tmp_path/'set'/k).stat().st_mtime_ns==t for k,t in there.items()) and os.listdir(tmp_path)==['set']
    assert export(['canonical', str(tmp_path/'alone'), *map(str, line[2:10]), '--quiet'])==0
    assert contents(tmp_path/'set')==contents(tmp_path/'alone')


# Errors

def test_an_address_that_does_not_answer(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster_files, 'import_ray', lambda data=False: type('Ray', (), dict(is_initialized=lambda: False))) # As in a process of its own
    monkeypatch.setattr(cluster_files, 'PATIENCE', 6)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        address = f'127.0.0.1:{silent.getsockname()[1]}'
        with pytest.raises(ConnectionError, match=f"address='{address}' does not answer: nothing came back in 6 seconds"): save(dataset(), tmp_path/'set', 50, address=address)
    with pytest.raises(ConnectionError, match=f"address='{address}' does not answer: .*refused"): save(dataset(), tmp_path/'set', 50, address=address)
    monkeypatch.setenv('RAY_ADDRESS', address)
    with pytest.raises(ConnectionError, match=f"address='{address}' does not answer: .*refused"): save(dataset(), tmp_path/'set', 50)
    assert os.listdir(tmp_path)==[]


def test_the_extra_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, 'ray', None)
    for call in (lambda: save(dataset(), tmp_path/'set', 50), lambda: read(dataset(), 50)):
        with pytest.raises(ImportError, match=r"pip install 'torch_moving_mnist\[ray\]'"): call()
    assert export(['canonical', str(tmp_path/'set'), '--n', '50', '--digits', 'fonts', '--shard-rows', '9', '--engine', 'ray'])==2
    assert "pip install 'torch_moving_mnist[ray]'" in capsys.readouterr().err and os.listdir(tmp_path)==[]


@pytest.mark.parametrize('kwargs,match', [
    (dict(n=0), 'n=0'), (dict(n=N+1), f'n={N+1}; expected at most {N}'), (dict(shards=51), 'shards=51'), (dict(format='zip'), "format='zip'"), (dict(targets=['boxs']), "Did you mean 'boxes'"),
    (dict(num_cpus=0), 'num_cpus=0'), (dict(num_cpus=99), 'num_cpus=99, num_gpus=0 for a task; none of the 3 nodes'), (dict(num_gpus=9), 'num_gpus=9 for a task; none of the'),
    (dict(address='nowhere'), "address='nowhere'; expected 'host:port'"), (dict(address='local'), "address='local', but this process is connected to"), (dict(out='a.npy', shards=None), 'a.npy.* is a single file'), (dict(out='a.npy'), 'a.npy.* with shards, which is for folders'), (dict(progress=1), 'progress=1')], ids=str)
def test_wrong_arguments(cluster, kwargs, match, tmp_path):
    with pytest.raises((ValueError, TypeError), match=match):
        save(dataset(), tmp_path/kwargs.get('out', 'set'), **{**dict(n=50, shards=5), **{k: o for k,o in kwargs.items() if k!='out'}})
    assert os.listdir(tmp_path)==[]


@pytest.fixture
def apart(cluster, tmp_path):
    "A node of the cluster, on which the folder `shared` is another one"
    shared = tmp_path/'shared'
    shared.mkdir()
    hide = ['unshare', '-rm', 'sh', '-c', 'mount -t tmpfs none "$0" && exec "$@"', str(shared)]
    if subprocess.run([*hide, 'true'], capture_output=True).returncode: pytest.skip('this machine does not let a process have mounts of its own')
    before = {o['NodeID'] for o in ray.nodes()}
    node = subprocess.Popen([*hide, sys.executable, '-m', 'ray.scripts.scripts', 'start', f'--address={cluster.address}', '--num-cpus=1', '--object-store-memory=100000000', '--resources={"apart": 1}', '--block'],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    def alive(): return [o for o in ray.nodes() if o['Alive'] and o['NodeID'] not in before]
    while not alive(): time.sleep(.1)
    yield shared
    node.terminate()
    node.wait()
    while alive(): time.sleep(.1)


def test_disks_that_differ_between_nodes(apart, monkeypatch, tmp_path):
    "They are found out before the work begins; and also if the node has joined afterwards"
    monkeypatch.setattr(cluster_files, 'DELAY', .5)
    name = f'{socket.gethostname()} \\(node [0-9a-f]{{8}}\\)'
    with pytest.raises(OSError, match=f'cannot write to .*set.* together: {name} does not see what the driver writes there .*; expected a folder on a disk that all nodes share'):
        save(dataset(), apart/'set', 50, shards=5, progress=False)
    assert os.listdir(apart)==[]
    save(dataset(), tmp_path/'other', 50, shards=5, progress=False) # A folder that it sees
    monkeypatch.setattr(cluster_files, 'check_shared', lambda *_: None) # As if it had joined later
    with pytest.raises(OSError, match='has joined the cluster, and does not see'): save(dataset(corrupt=slowly), apart/'set', 50, shards=25, progress=False)
    assert not (apart/'set'/'index.json').exists()


# Blocks

def test_batches_are_the_sequences(cluster):
    ds = dataset(targets=['boxes','pose','masks'])
    seen = []
    for batch in read(ds, 200, start=30).iter_torch_batches(batch_size=32):
        frames,target = ds[batch['index']]
        assert torch.equal(batch['frames'], frames) and torch.equal(batch['boxes'], target['boxes']) and torch.equal(batch['masks'], target['masks'])
        assert torch.equal(batch['pose.angle'], target['pose']['angle']) and batch['masks'].dtype==torch.bool and batch['frames'].dtype==torch.uint8
        seen += batch['index'].tolist()
    assert sorted(seen)==[*range(30, 230)]


def test_captions_are_rows_of_text(cluster):
    ds = dataset()
    rows = read(ds, 20).take_all()
    assert {o['index']: o['caption'] for o in rows}==dict(enumerate(ds[:20][1]['caption']))


def test_two_trainers_share_the_sequences(cluster):
    ds = dataset(targets=['labels'])
    def train(shard): return [(i, int(frames.sum())) for o in shard.iter_batches(batch_size=25) for i,frames in zip(o['index'], o['frames'])]
    with ThreadPoolExecutor(2) as pool: found = [*pool.map(train, read(ds, 200, override_num_blocks=8).streaming_split(2, equal=True))]
    assert [len(o) for o in found]==[100,100] and dict(found[0] + found[1])=={i: int(o.sum()) for i,o in enumerate(ds[:200][0])}


def test_lost_blocks_are_made_again(cluster):
    "A node is killed that holds blocks"
    ds = dataset(targets=[], img_size=128)
    made = read(ds, N, override_num_blocks=12).materialize()
    holders = set().union(*(o['node_ids'] for o in ray.experimental.get_object_locations(made.get_internal_block_refs()).values()))
    lost = [o for o in cluster.worker_nodes if o.node_id in holders]
    assert lost
    cluster.remove_node(lost[0], allow_graceful=False)
    cluster.add_node(num_cpus=1, object_store_memory=2**28)
    found = {i: frames for o in made.iter_batches(batch_size=100) for i,frames in zip(o['index'], o['frames'])}
    assert sorted(found)==[*range(N)] and np.array_equal(np.stack([found[i] for i in range(N)]), ds[:N].numpy())


def test_blocks_are_small(cluster):
    "However few are wanted"
    source = cluster_files.datasource(MovingMNIST(digits='fonts', num_frames=20, img_size=256, seed=0, normalize=False, length=10**6))
    tasks = source.get_read_tasks(1)
    assert max(o.metadata.size_bytes for o in tasks)<=2**27 and sum(o.metadata.num_rows for o in tasks)==10**6
    assert source.estimate_inmemory_data_size()==sum(o.metadata.size_bytes for o in tasks)==10**6*(20*256*256 + 8)
    one = cluster_files.datasource(dataset(), 10).get_read_tasks(10)
    assert [o.metadata.num_rows for o in one]==[1]*10 and [o.column('index').to_pylist() for task in one for o in task()]==[[i] for i in range(10)]


@pytest.mark.parametrize('kwargs,args,match', [
    (dict(seed=None), dict(), 'seed=None; expected a dataset with a seed, because blocks that are lost are made again'), (dict(), dict(n=0), 'n=0'), (dict(), dict(n=N+1), f'n={N+1}'),
    (dict(), dict(start=N), f'start={N}'), (dict(), dict(start=5, n=N-4), f'n={N-4}; expected a whole number, at least 1, at most {N-5}'), (dict(), dict(num_gpus=-1), 'num_gpus=-1')], ids=str)
def test_what_cannot_be_read(cluster, kwargs, args, match):
    with pytest.raises(ValueError, match=match): read(dataset(**kwargs), **args)


def test_what_is_no_dataset(cluster, tmp_path):
    for call in (lambda: read([1,2]), lambda: cluster_files.datasource([1,2]), lambda: save([1,2], tmp_path/'set', 1)):
        with pytest.raises(TypeError, match='ds is a list; expected a MovingMNIST'): call()


def test_the_example_trains(cluster, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['ray_train.py', '--n', '320', '--epochs', '2'])
    runpy.run_path(str(EXAMPLES/'ray_train.py'), run_name='__main__')
    lines = [o for o in capsys.readouterr().out.splitlines() if o.startswith('epoch')]
    (_,first,still),(_,second,_) = ([*map(float, re.findall(r'[\d.]+', o))] for o in lines)
    assert second<first and second<still


def main(times, n=12_000, shards=48):
    "Kill a worker or a node at a random moment, so many times, while real frames are written"
    work,killed = Path(tempfile.mkdtemp(prefix='ray-')),0
    try:
        ds = dataset(length=n, num_frames=20, targets=['boxes','caption'])
        ds.save(work/'set', n=n, shards=shards, progress=False)
        expected = contents(work/'set')
        with nodes() as cluster:
            ray.init(address=cluster.address, logging_level='ERROR', log_to_driver=False)
            for _ in range(2): # The second time, workers have begun
                shutil.rmtree(work/'set')
                start = time.monotonic()
                save(ds, work/'set', shards=shards, progress=False)
                seconds = time.monotonic() - start
            print(f'without a kill: {seconds:.1f} s')
            while killed<times:
                shutil.rmtree(work/'set')
                kind,moment,start = random.choice(['worker','node']),random.uniform(0, seconds),time.monotonic()
                there = save_with_kill(cluster, ds, work/'set', kind, moment, shards=shards)
                if there is None: continue # It had ended before
                killed += 1
                same,rest = contents(work/'set')==expected,os.listdir(work)==['set']
                print(f'{killed:3}. {kind} killed {moment:.2f} s after the start, {there} of {shards} shards were there: '
                      f'{time.monotonic()-start:.1f} s, bytes equal: {same}, nothing left over: {rest}', flush=True)
                if not (same and rest): return 1
    finally: shutil.rmtree(work)


if __name__=='__main__': sys.exit(main(int(sys.argv[1])))
