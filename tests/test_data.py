"The dataset: the same sequence in every context for the same seed and index, and different ones otherwise"
import concurrent.futures, copy, hashlib, inspect, pickle, random, textwrap, threading, time
from types import SimpleNamespace

import numpy as np
import processes
import pytest
import torch
import torchvision.transforms as T
import torchvision.transforms.v2 as v2
from conftest import ROOT, needs_mnist
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Subset

from torch_moving_mnist import load, stats, stream
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import load_digits
from torch_moving_mnist.engine.reference import render_reference
from torch_moving_mnist.motion import MOTIONS
from torch_moving_mnist.scene import Scene

PARAMS = dict(angle=(-20,20), translate=((-30,30),(-30,30)), scale=(.8,1.3), shear=(-20,20))


# ---- The README's examples and defaults

@pytest.mark.parametrize('affine_params', [PARAMS, SimpleNamespace(**PARAMS)], ids=['dict','namespace'])
def test_five_lines(source, affine_params, capsys):
    ds = MovingMNIST(affine_params=affine_params, num_frames=10, num_digits=[1,2,3], img_size=64, **source)
    assert capsys.readouterr().out=='New computed stats for MovingMNIST: ([0.07522265625], [0.17685937499999999])\n'
    assert (ds[0].shape, ds[0].dtype)==((10,1,64,64), torch.uint8)
    batch = ds.get_batch(bs=128)
    assert (batch.shape, batch.dtype)==((128,10,1,64,64), torch.float32)
    assert isinstance(ds.batch_tfms, T.Compose)
    assert str(ds.batch_tfms)==str(T.Compose([T.ConvertImageDtype(torch.float32), T.Normalize([0.07522265625], [0.17685937499999999])]))
    assert ' '.join(str(ds.batch_tfms).split())=='Compose( ConvertImageDtype() Normalize(mean=[0.07522265625], std=[0.17685937499999999]) )'


def test_positional_order_and_defaults(source):
    p = inspect.signature(MovingMNIST.__init__).parameters
    assert list(p)[1:8]==['path','affine_params','num_digits','num_frames','img_size','concat','normalize']
    assert [p[k].default for k in ('path','num_digits','num_frames','img_size','concat','normalize')]==['.',[3],4,64,True,True]
    assert vars(p['affine_params'].default)==PARAMS
    ds = MovingMNIST(source['path'], PARAMS, [2], 6, 70, False, False, digits=source['digits'], download=False)
    assert len(ds[0])==6 and ds[0][0].shape==(1,70,70)


def test_batches_are_the_transformed_sequences(make):
    ds = make(normalize=True)
    batch = ds.get_batch(indices=[4,0,2])
    for x,i in zip(batch, [4,0,2]): assert torch.allclose(x, (ds[i]/255 - .07522265625)/.17685937499999999, atol=1e-6)
    assert torch.equal(ds.get_batch(indices=[1]), ds.batch_tfms(ds.render(ds.draw(indices=[1]))))
    assert (ds.denormalize(batch)*255 - torch.stack([ds[i] for i in (4,0,2)])).abs().max()<1e-3
    assert torch.equal(ds.denormalize(batch[0,0]), ds.denormalize(batch)[0,0])


def test_transforms_may_be_replaced(make):
    ds = make(normalize=True)
    ds.batch_tfms = None
    assert ds.get_batch(2).dtype==torch.uint8
    assert torch.equal(ds.denormalize(ds.get_batch(indices=[0])), ds.get_batch(indices=[0])/255)
    ds.batch_tfms = T.Compose([T.ConvertImageDtype(torch.float64), T.Normalize([.5],[.25])])
    assert ds.get_batch(2).dtype==torch.float64
    assert torch.allclose(ds.denormalize(ds.get_batch(indices=[0])), ds[0][None].double()/255)


@pytest.mark.parametrize('tfms', [
    v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([.1],[.3])]), torch.nn.Sequential(T.ConvertImageDtype(torch.float32), T.Normalize([.1],[.3])),
    T.Compose([T.Compose([T.ConvertImageDtype(torch.float32)]), T.Normalize([.1],[.3])]), lambda x: 1 - x.float()/255], ids=['v2','sequential','nested','function'])
def test_denormalize_inverts_any_pixelwise_transform(fonts, tfms):
    ds = fonts()
    ds.batch_tfms = tfms
    assert (ds.denormalize(ds.get_batch(indices=[0,1]))*255 - torch.stack([ds[0],ds[1]])).abs().max()<1e-3
    assert torch.equal(ds.denormalize(ds[0]), ds[0]/255)
    assert ds.denormalize(ds.get_batch(2)*3, clamp=True).min()==0 and ds.denormalize(ds.get_batch(2)*3 + 5, clamp=True).max()<=1


def test_pickles_contain_one_split(make):
    for split in ('valid','test'):
        ds = make(split=split)
        assert len(pickle.dumps(ds))<1.1*ds.digits.images.numel() + 10*len(ds.digits) + 20_000


def test_concat_and_transform(make):
    whole,parts = make()[1], make(concat=False)[1]
    assert isinstance(parts, list) and torch.equal(torch.stack(parts), whole)
    assert torch.equal(make(transform=lambda x: x.flip(0))[1], whole.flip(0))
    assert make(concat=False, transform=len)[1]==5


def test_normalize_choices(make, capsys):
    def norm(ds): return ds.batch_tfms.transforms[1]
    assert norm(make(normalize=(.1,.3))).mean==[.1]
    assert len(make(normalize=False).batch_tfms.transforms)==1
    assert not capsys.readouterr().out
    measured = make(normalize='measured')
    assert 'New computed stats' in capsys.readouterr().out
    frames = measured.render(measured.draw(indices=range(1500))).double()/255
    assert abs(frames.mean() - norm(measured).mean[0])<.0025 and abs(frames.std() - norm(measured).std[0])<.004
    assert norm(make(normalize='measured')).mean==norm(measured).mean


def test_measuring_statistics_uses_separate_random_numbers(fonts, monkeypatch):
    seen = []
    ds = fonts()
    monkeypatch.setattr(MovingMNIST, 'render', lambda self, scene: seen.append(scene) or torch.ones(len(scene),5,1,4,4, dtype=torch.uint8).random_())
    stats.measure_stats(ds, ds._draw_measured)
    monkeypatch.undo()
    measured,stream = torch.cat([s.translate for s in seen]).flatten(),ds.draw(indices=range(200)).translate.flatten()
    assert not set(measured.tolist()) & set(stream.tolist())


def test_measured_statistics_of_each_channel(fonts):
    red = torch.zeros(70,3,28,28, dtype=torch.uint8)
    red[:,0],red[:,1] = fonts().digits.images[:70,0], fonts().digits.images[:70,0]//2
    red[:,2] = 1
    ds = fonts(digits=red, normalize='measured', num_frames=40)
    mean,std = ds.batch_tfms.transforms[1].mean, ds.batch_tfms.transforms[1].std
    assert len(mean)==3 and mean[0]>mean[1]>mean[2]>0 and std[0]>std[1]>std[2]>0
    assert ds.denormalize(ds.get_batch(2)).shape==(2,40,3,64,64)


def test_statistics_of_other_canvases(fonts, capsys):
    for size,most,ratio in [(64,3,(28/64)**2*3), (100,2,(28/100)**2*2), ((32,128),1,28*28/(32*128)), ((64,64),3,(28/64)**2*3)]:
        fonts(img_size=size, num_digits=most, normalize=True)
        assert capsys.readouterr().out==f'New computed stats for MovingMNIST: ([{0.131*ratio}], [{0.308*ratio}])\n'


def test_length_and_iteration(make):
    ds = make(length=7)
    assert len(ds)==7 and len(list(ds))==7 and torch.equal(ds[-7], ds[0]) and torch.equal(ds[np.int64(3)], ds[torch.tensor(3)])
    assert len(make())==len(make().digits) and make(length=10**15)[10**15-1].shape==(5,1,64,64)


@pytest.mark.parametrize('kw', [
    dict(num_frames=1), dict(num_digits=1), dict(num_digits=[10]), dict(num_digits=range(1,4)), dict(img_size=28), dict(img_size=29), dict(img_size=65), dict(img_size=(28,91)),
    dict(img_size=(128,31)), dict(num_frames=1, num_digits=[1], img_size=28), dict(num_frames=100), dict(composite='over', interpolation='nearest'), dict(composite='sum')], ids=str)
def test_shapes_of_extreme_settings(fonts, kw):
    ds = fonts(**kw)
    size = kw.get('img_size', 64)
    shape = (kw.get('num_frames', 5), 1, *(size if isinstance(size, tuple) else (size,size)))
    assert ds[0].shape==shape and ds.get_batch(1).shape==(1,*shape) and ds.get_batch(3).shape==(3,*shape)
    assert ds.get_batch(indices=range(20)).max()==1


def test_huge_batch(fonts):
    ds = fonts(num_frames=2, img_size=32)
    batch = ds.get_batch(5000)
    assert batch.shape==(5000,2,1,32,32) and torch.equal(batch[4321]*255, fonts(num_frames=2, img_size=32, length=5000)[4321].float())


def test_empty_slots_draw_nothing(fonts):
    ds = fonts(num_digits=[1,4], num_frames=2)
    scene = ds.draw(indices=range(50))
    alone = scene.digit[:,1]<0
    assert 10<alone.sum()<40
    one = fonts(num_digits=[1], num_frames=2)
    trimmed = {k: getattr(scene, k)[alone][:,:1] for k in ('digit','angle','translate','scale','shear','gain')}
    small = Scene(**trimmed, digit_size=(28,28), canvas_size=(64,64))
    assert torch.equal(ds.render(scene)[alone], one.render(small))


def test_repr_describes_the_dataset(make):
    text = repr(make(normalize=True))
    for part in (make().digits.name, '64×64', 'num_digits=[1, 2, 3]', 'seed=0', 'Normalize(mean=[0.07522265625]', 'angle (-20.0, 20.0)', 'cpu'): assert part in text
    assert 'fresh sequences' in repr(make(seed=None))


# ---- The same sequence everywhere

def test_same_in_any_batch_order_and_length(make):
    ds = make()
    singles = [ds[i] for i in range(8)]
    for order in ([0,1,2,3,4,5,6,7], [7,6,5,4,3,2,1,0], [3,3,0]):
        for i,x in zip(order, ds.__getitems__(order)): assert torch.equal(x, singles[i])
        assert torch.equal(ds.get_batch(indices=order)*255, torch.stack([singles[i] for i in order]).float())
    assert torch.equal(ds.get_batch(indices=torch.tensor([-1])), ds.get_batch(indices=np.array([len(ds)-1])))
    assert torch.equal(make(length=10**9)[5], singles[5])
    for order in (np.arange(5)[::-1], np.arange(5, dtype='>i8'), np.arange(5, dtype=np.uint8), range(5), torch.arange(5, dtype=torch.int32)):
        assert torch.equal(ds.get_batch(indices=order)[0]*255, singles[int(order[0])].float())


def test_different_for_other_index_seed_and_split(make):
    seen = {o.numpy().tobytes() for seed in (0,1,2**40) for split in ('train','valid','test') for o in make(seed=seed, split=split).draw(indices=range(10)).translate}
    assert len(seen)==90


def test_successive_batches_continue_the_stream(make):
    ds,again = make(),make()
    parts = [ds.get_batch(n) for n in (1,4,2)]
    assert torch.equal(torch.cat(parts), again.get_batch(7))
    assert torch.equal(torch.cat(parts), again.get_batch(indices=range(7)))


@pytest.mark.parametrize('composite', ['max','over'])
def test_same_under_autocast_and_default_device(fonts, composite):
    ds = fonts(composite=composite, normalize=True)
    batch = ds.get_batch(indices=range(9))
    with torch.autocast('cpu', dtype=torch.bfloat16): assert torch.equal(ds.get_batch(indices=range(9)), batch)
    reference = render_reference(ds.digits.images, (s := ds.draw(indices=range(9))).digit, s.matrix, (64,64), s.gain, composite)
    with torch.autocast('cpu', dtype=torch.bfloat16): assert torch.equal(render_reference(ds.digits.images, s.digit, s.matrix, (64,64), s.gain, composite), reference)
    torch.set_default_device('meta')
    try: again = fonts(composite=composite, normalize=True).get_batch(indices=range(9)), fonts(seed=None).get_batch(2), fonts(normalize='measured')[0], load_digits(np.zeros((7,4,4), np.uint8))
    finally: torch.set_default_device(None)
    assert torch.equal(again[0], batch) and again[1].device.type==again[2].device.type==again[3].images.device.type=='cpu'


def test_same_for_any_thread_count(make):
    before = torch.get_num_threads()
    try:
        batches = []
        for n in (1,2,3):
            torch.set_num_threads(n)
            batches.append(make(composite='sum').get_batch(indices=range(40)))
    finally: torch.set_num_threads(before)
    assert torch.equal(batches[0], batches[1]) and torch.equal(batches[0], batches[2])


def test_same_from_many_threads(make):
    ds = make()
    expected = ds.__getitems__(range(40))
    with concurrent.futures.ThreadPoolExecutor(8) as pool: got = list(pool.map(ds.__getitem__, range(40)))
    assert all(map(torch.equal, got, expected))


def test_threads_share_one_stream(make):
    ds = make(num_frames=1, num_digits=1)
    with concurrent.futures.ThreadPoolExecutor(8) as pool: scenes = list(pool.map(lambda _: ds.draw(3), range(100)))
    drawn = torch.cat([s.translate for s in scenes]).flatten(1)
    expected = make(num_frames=1, num_digits=1).draw(300).translate.flatten(1)
    assert torch.equal(drawn[drawn[:,0].argsort()], expected[expected[:,0].argsort()])


def test_pickles_and_copies(make):
    ds = make(normalize=True)
    for other in (pickle.loads(pickle.dumps(ds)), copy.deepcopy(ds)):
        assert torch.equal(other[3], ds[3]) and torch.equal(other.get_batch(2), make(normalize=True).get_batch(2)) and repr(other)==repr(ds)
    assert torch.equal(pickle.loads(pickle.dumps(ds.draw(indices=[3]))).angle, ds.draw(indices=[3]).angle)


@pytest.mark.parametrize('workers,method', [(0,None), (2,'fork'), (2,'forkserver')])
def test_loader(make, workers, method):
    ds = make(length=24, normalize=True)
    expected = ds.__getitems__(range(24))
    loader = DataLoader(ds, batch_size=5, num_workers=workers, multiprocessing_context=method)
    assert torch.equal(torch.cat(list(loader)), torch.stack(expected))
    g = torch.Generator().manual_seed(3)
    order = torch.cat(list(DataLoader(range(24), batch_size=5, shuffle=True, generator=torch.Generator().manual_seed(3)))).tolist()
    shuffled = torch.cat(list(DataLoader(ds, batch_size=5, shuffle=True, num_workers=workers, multiprocessing_context=method, generator=g)))
    assert sorted(order)==list(range(24)) and order!=list(range(24))
    assert torch.equal(shuffled, torch.stack([expected[i] for i in order]))


def test_loader_variants(make):
    ds = make(length=6)
    expected = torch.stack(ds.__getitems__(range(6)))
    assert torch.equal(torch.stack(list(DataLoader(ds, batch_size=None))), expected)
    assert torch.equal(torch.cat(list(DataLoader(Subset(ds, [4,1]), batch_size=2))), expected[[4,1]])
    frames = next(iter(DataLoader(make(length=6, concat=False), batch_size=6)))
    assert len(frames)==5 and torch.equal(torch.stack(frames, 1), expected)


@pytest.mark.parametrize('method', ['fork','forkserver'])
def test_unseeded_workers_draw_different_sequences(fonts, method):
    ds = fonts(seed=None, length=12, num_frames=1, num_digits=1)
    ds.transform = Fingerprint()
    def epoch(seed):
        torch.manual_seed(seed)
        return [int(o) for batch in DataLoader(ds, batch_size=3, sampler=[0]*12, num_workers=2, multiprocessing_context=method) for o in batch]
    first = epoch(0)
    assert len(set(first))==12
    assert epoch(0)==first
    assert not set(epoch(1)) & set(first)


def digest(x): return hashlib.md5(x.numpy().tobytes()).hexdigest()


class Fingerprint:
    "An integer that differs between different frames; a class, so that it can be pickled"
    def __call__(self, x): return int(digest(x)[:15], 16)


class Stream(IterableDataset):
    "Different batches from `get_batch` in each worker"
    def __init__(self, ds): self.ds = ds
    def __iter__(self): return (self.ds.get_batch(2) for _ in range(3))


@pytest.mark.parametrize('seed', [0, None])
def test_workers_that_call_get_batch_share_the_stream(fonts, seed):
    ds = fonts(seed=seed, num_frames=1, num_digits=1)
    got = {x.numpy().tobytes() for batch in DataLoader(Stream(ds), batch_size=None, num_workers=2) for x in batch}
    assert len(got)==12
    if seed==0: assert got=={x.numpy().tobytes() for x in ds.get_batch(indices=range(12))}


def test_same_in_another_process(fonts):
    code = textwrap.dedent('''
        import hashlib, torch
        torch.set_num_threads(1)
        from torch_moving_mnist.data import MovingMNIST
        ds = MovingMNIST(digits='fonts', num_digits=[1,2,3], num_frames=5, normalize=False, seed=0)
        print(hashlib.md5(ds.get_batch(indices=[5,17]).numpy().tobytes()).hexdigest())''')
    out = processes.run(code).stdout
    assert out.split()==[digest(fonts().get_batch(indices=[5,17]))]


def test_fork_while_a_thread_holds_the_lock(fonts):
    "A fork waits for the lock, so that no child process starts with the lock held"
    ds,taken = fonts(num_frames=1, num_digits=1),threading.Event()
    def hold():
        with stream._lock:
            taken.set()
            time.sleep(1)
    t = threading.Thread(target=hold)
    t.start()
    taken.wait()
    assert len(list(DataLoader(Stream(ds), batch_size=None, num_workers=1, multiprocessing_context='fork', timeout=60)))==3
    t.join()


def test_fork_while_a_thread_draws(fonts):
    "A child process forked while another thread draws can draw"
    ds,stop = fonts(num_frames=1, num_digits=1),threading.Event()
    def busy():
        while not stop.is_set(): ds._cursor.take(1, True)
    threads = [threading.Thread(target=busy) for _ in range(3)]
    for t in threads: t.start()
    try:
        for _ in range(3): assert len(list(DataLoader(Stream(ds), batch_size=None, num_workers=2, multiprocessing_context='fork', timeout=60)))==6
    finally:
        stop.set()
        for t in threads: t.join()


# ---- Unseeded

def test_unseeded_follows_torchs_seed(make):
    ds = make(seed=None)
    torch.manual_seed(1)
    a,b,c = ds.get_batch(2), ds.get_batch(2), ds[0]
    torch.manual_seed(1)
    assert torch.equal(ds.get_batch(2), a) and torch.equal(ds.get_batch(2), b) and torch.equal(ds[0], c)
    assert not torch.equal(a, b) and not torch.equal(ds[0], ds[0])
    assert len({digest(x) for x in make(seed=None, num_digits=1).get_batch(indices=[0]*5)})==5


RANKS = textwrap.dedent('''
    import hashlib, sys, torch
    from torch_moving_mnist.data import MovingMNIST
    rank,world,store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.distributed.init_process_group('gloo', init_method='file://' + store, rank=rank, world_size=world)
    for seed in (0, None):
        torch.manual_seed(0)
        ds = MovingMNIST(digits='fonts', num_digits=1, num_frames=1, normalize=False, seed=seed)
        for bs in (3, 2):
            for x in ds.get_batch(bs): print(seed, hashlib.md5(x.numpy().tobytes()).hexdigest())
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()''')

WORKERS = textwrap.dedent('''
    import hashlib, multiprocessing, sys, torch
    from torch.utils.data import DataLoader, IterableDataset
    from torch_moving_mnist.data import MovingMNIST

    class Stream(IterableDataset):
        def __init__(self, ds): self.ds = ds
        def __iter__(self): return (self.ds.get_batch(2) for _ in range(2))

    if __name__=='__main__':
        rank,world,store,method = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
        multiprocessing.set_forkserver_preload(['torch_moving_mnist.data'])
        torch.distributed.init_process_group('gloo', init_method='file://' + store, rank=rank, world_size=world)
        for seed in (0, None):
            torch.manual_seed(0)
            ds = MovingMNIST(digits='fonts', num_digits=1, num_frames=1, normalize=False, seed=seed)
            for batch in DataLoader(Stream(ds), batch_size=None, num_workers=2, multiprocessing_context=method):
                for x in batch: print(seed, hashlib.md5(x.numpy().tobytes()).hexdigest())
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()''')


def printed(started):
    "Lines that processes have printed, which must end well"
    ended = [p.finish() for p in started]
    assert all(r.returncode==0 for r in ended), [r.stderr for r in ended]
    return [line for r in ended for line in r.stdout.splitlines()]


def test_workers_of_ranks_draw_different_sequences(tmp_path):
    (tmp_path/'rank.py').write_text(WORKERS)
    code = f"__file__ = {str(tmp_path/'rank.py')!r} # Workers import it\n{WORKERS}"
    lines = printed([processes.start(code, r, 2, tmp_path/'store', method) for r,method in enumerate(['fork','forkserver'])])
    assert len(lines)==len(set(lines))==32


def test_ranks_draw_different_sequences(fonts, tmp_path):
    lines = printed([processes.start(RANKS, r, 2, tmp_path/'store') for r in range(2)])
    assert len(lines)==len(set(lines))==20
    stream = fonts(num_digits=1, num_frames=1).get_batch(indices=range(10))
    assert {o.split()[1] for o in lines if o[0]=='0'}=={digest(x) for x in stream}


# ---- Global random states do not change

def states(): return random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist()


@pytest.mark.parametrize('seed', [3, None])
def test_global_random_states_do_not_change(source, seed):
    before = states()
    ds = MovingMNIST(num_digits=[1,2,3], num_frames=3, normalize='measured', seed=seed, **source)
    assert states()==before
    ds[0], ds.get_batch(3), ds.__getitems__([1,2]), ds.draw(2), repr(ds), ds.denormalize(ds.get_batch(2))
    after = states()
    assert after[:2]==before[:2]
    assert (after[2]==before[2]) == (seed is not None)


@needs_mnist
def test_statistics_of_real_mnist():
    "The statistics that the README gives"
    ds = MovingMNIST(ROOT, num_digits=[1,2,3], num_frames=10, normalize='measured', seed=1, download=False)
    tfm = ds.batch_tfms.transforms[1]
    assert abs(tfm.mean[0] - .052)<.0015 and abs(tfm.std[0] - .195)<.0025


class Own(MovingMNIST):
    "A subclass with samples, batches and a length of its own"
    def __getitem__(self, i): return super().__getitem__(i).float() + 1000
    def get_batch(self, bs=32, indices=None): return super().get_batch(bs, indices) + 1000
    def __len__(self): return 7


def test_overridden_methods_of_subclasses_are_used():
    ds = Own(digits='fonts', num_frames=2, normalize=False, seed=0)
    plain = MovingMNIST(digits='fonts', num_frames=2, normalize=False, seed=0)
    expected = torch.stack([plain[i] for i in range(4)]).float() + 1000
    assert torch.equal(next(iter(DataLoader(ds, batch_size=4))), expected)
    assert torch.equal(next(iter(DataLoader(Subset(ds, [0,1,2,3]), batch_size=4))), expected)
    assert torch.equal(torch.cat(list(ds.batches(2, bs=2))), plain.get_batch(4) + 1000)
    assert len(list(ds))==7 and torch.equal(ds[-1], ds[6])
    with pytest.raises(IndexError, match='-7..6'): ds[7]
    with pytest.raises(IndexError, match='-7..6'): ds.draw(indices=[7])


def test_a_subclass_may_refuse_to_be_read_in_batches():
    class Single(MovingMNIST): __getitems__ = None
    ds = Single(digits='fonts', num_frames=2, normalize=False, seed=0)
    assert torch.equal(next(iter(DataLoader(ds, batch_size=2)))[1], ds[1])


SOME = ['labels','pose','velocity','matrix','boxes','modal_boxes','visibility','overlap','flow','layers','backdrop']


def facts():
    "Samples, batches and Scenes of every motion, as bytes"
    def raw(o):
        if isinstance(o, dict): return {k: raw(v) for k,v in o.items()}
        return [raw(v) for v in o] if isinstance(o, (list, tuple)) else (o.dtype, o.shape, o.numpy().tobytes())
    images = torch.arange(60*28*28, device='cpu').remainder(251).byte().view(60,28,28)
    pictures = torch.arange(2*3*70*80, device='cpu').remainder(199).byte().view(2,3,70,80)
    def make(**kw): return MovingMNIST(digits=(images, torch.arange(60, device='cpu')%10), seed=1, num_digits=[1,2], num_frames=3, normalize=(.1,.3), **kw)
    found = [make(motion=m, targets=SOME, color='random', background=pictures, drift=(1,2), img_size=96 if m=='collide' else 64) for m in MOTIONS] # Full images are large discs
    return [raw([ds[3], ds.get_batch(2), ds.denormalize(ds.get_batch(1)[0]), vars(ds.draw(1))['drift']]) for ds in found] + [raw(make(digit_size=20)[0])]


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16])
def test_nothing_depends_on_the_default_dtype(dtype):
    expected,before = facts(),torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        assert facts()==expected
    finally: torch.set_default_dtype(before)


def test_nothing_depends_on_the_default_device():
    expected = facts()
    with torch.device('meta'): assert facts()==expected


def test_denormalize_keeps_errors_and_gradients(fonts):
    ds = fonts(normalize=(.1,.3))
    x = ds.get_batch(2)
    prediction = (x - 2).requires_grad_()
    unit = ds.denormalize(prediction)
    assert unit.min()<-.5 and torch.allclose(ds.denormalize(x) - unit, torch.full_like(x, .6), atol=1e-5)
    unit.square().mean().backward()
    assert (prediction.grad!=0).all()
    assert ds.denormalize(prediction, clamp=True).min()==0


@pytest.mark.parametrize('shape', [(2,5,3,64,64), (64,64), (2,5,64,64,1)])
def test_denormalize_refuses_other_channels(fonts, shape):
    with pytest.raises(ValueError, match='x has shape .*expected .…,C,H,W., C 1'): fonts(normalize=(.1,.3)).denormalize(torch.zeros(shape))


@pytest.mark.parametrize('name,meant', [('num_frame','num_frames'), ('num_digit','num_digits'), ('colour','color'), ('target','targets'), ('img_sice','img_size')])
def test_misspelled_attributes_are_refused(fonts, name, meant):
    with pytest.raises(AttributeError, match=f"{name} is not a setting of MovingMNIST; did you mean '{meant}'"): setattr(fonts(), name, 3)


def test_attributes_of_ones_own_are_allowed(fonts):
    ds = fonts()
    ds.epoch,ds.name = 3,'train'
    assert (ds.epoch, ds.name)==(3, 'train')


def test_a_shallow_copy_has_a_position_of_its_own(fonts):
    ds = fonts()
    twin = copy.copy(ds)
    assert torch.equal(twin.get_batch(2), ds.get_batch(2))


def test_a_dataset_whose_seed_is_removed_draws_like_an_unseeded_one(fonts):
    ds = fonts()
    ds.get_batch(3)
    ds.seed = None
    torch.manual_seed(0)
    x = ds.get_batch(2)
    torch.manual_seed(0)
    assert torch.equal(x, fonts(seed=None).get_batch(2))


class Cached(MovingMNIST):
    "A subclass that leaves an attribute out of its pickles"
    def __init__(self, **kw):
        super().__init__(**kw)
        self.cache = {}
    def __getstate__(self): return {k: o for k,o in super().__getstate__().items() if k!='cache'}
    def __setstate__(self, state):
        super().__setstate__(state)
        self.cache = {}


def test_subclasses_may_extend_pickling():
    ds = Cached(digits='fonts', num_frames=2, normalize=False, seed=0)
    twin = pickle.loads(pickle.dumps(ds))
    assert ds.cache=={}==twin.cache and torch.equal(twin.get_batch(2), ds.get_batch(2))


def test_pickles_of_version_0_1_continue_at_their_position(fonts):
    ds = fonts()
    state = {k: o for k,o in ds.__getstate__().items() if k!='_cursor'} | {'_position': 3, '_home': (0,1)}
    old = MovingMNIST.__new__(MovingMNIST)
    old.__setstate__(state)
    assert torch.equal(old.get_batch(2), fonts().get_batch(5)[3:])


@pytest.mark.parametrize('index,expected', [([3,5],[3,5]), (slice(2,6),[2,3,4,5]), (slice(None,None,-40),[99,59,19]), (range(4),[0,1,2,3]), (torch.tensor([7,-1]),[7,99]), (np.array([1,1]),[1,1])])
def test_several_sequences_at_once(fonts, index, expected):
    ds = fonts(length=100)
    assert torch.equal(ds[index], torch.stack([ds[i] for i in expected]))
    ds.targets = ['boxes','labels','caption']
    frames,target = ds[index]
    assert torch.equal(frames[-1], ds[expected[-1]][0]) and torch.equal(target['boxes'][-1].flatten(0,1), ds[expected[-1]][1]['boxes']) and len(target['caption'])==len(expected)


def test_a_batch_sampler_reads_whole_batches(fonts):
    ds = fonts(length=10)
    found = list(DataLoader(ds, batch_size=None, sampler=BatchSampler(range(10), 4, drop_last=False)))
    assert [len(o) for o in found]==[4,4,2] and torch.equal(torch.cat(found), torch.stack(list(ds)))


@pytest.mark.parametrize('index,error', [([],ValueError), (slice(5,5),ValueError), ([0,100],IndexError), ([.5],TypeError), ([True],TypeError), ((1,2),TypeError), ('a',TypeError), (torch.ones(3, dtype=torch.bool),TypeError), (slice(0,2**30),ValueError)])
def test_wrong_indices_are_refused(fonts, index, error):
    with pytest.raises(error, match='expected'): fonts(length=100 if index!=slice(0,2**30) else 2**40)[index]


@pytest.mark.parametrize('kw', [dict(transform=lambda x: x), dict(concat=False)])
def test_batches_of_bytes_refuse_what_applies_to_samples(fonts, kw):
    with pytest.raises(TypeError, match='with transform or concat=False'): fonts(**kw)[[0,1]]


class Annotated(MovingMNIST):
    def __init__(self, **kw):
        super().__init__(**kw)
        self.transforms,self.speed,self.state,self.path = [],3,{},'a'
        self.path = 'b'


def test_subclasses_have_attributes_of_their_own():
    ds = Annotated(digits='fonts', normalize=False)
    assert (ds.transforms, ds.speed, ds.state, ds.path)==([], 3, {}, 'b')
    with pytest.raises(AttributeError, match='split cannot be changed|device cannot be changed'): ds.device = 'cpu'


def test_unsigned_indices_do_not_wrap(fonts):
    for i in (np.array([2**64-1], np.uint64), torch.tensor([2**63], dtype=torch.uint64)):
        with pytest.raises(IndexError, match='out of range'): fonts()[i]
    assert torch.equal(fonts()[np.array([3], np.uint64)], fonts()[[3]])


# ---- In a notebook

def test_a_dataset_shows_itself(tmp_path):
    import base64, html, io, re
    from PIL import Image
    ds = MovingMNIST(digits='fonts', num_frames=3, img_size=(30,40), color='random', seed=4, normalize=False, motion='reflect', corrupt='missing', corrupt_params=dict(probability=.5))
    ds.save(tmp_path/'a.npy', n=2, progress=False)
    for one in ds, load(tmp_path/'a.npy'):
        page = one._repr_html_()
        assert html.escape(repr(one)) in page and ds.fingerprint[:4] and ('fingerprint' in page)
        strip = np.array(Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)"', page)[1]))))
        assert strip.shape==(30,3*42-2,3) and all(np.array_equal(strip[:,42*t:42*t+40], ds[0][t].permute(1,2,0).numpy()) for t in range(3))
    ds.get_batch(1)
    state = torch.get_rng_state()
    unseeded = MovingMNIST(digits='fonts', normalize=False)
    assert '<img' in unseeded._repr_html_() and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(ds.get_batch(1)[0], MovingMNIST.from_recipe(ds.recipe).get_batch(2)[1]) # The position has not moved
    class Broken(MovingMNIST):
        def render(self, scene, stats=None): raise RuntimeError
    assert Broken(digits='fonts', normalize=False)._repr_html_() is None
