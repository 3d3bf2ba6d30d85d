"Files: every layout and target comes back, whatever interrupts the writing, and what is wrong is found"
import errno, faulthandler, hashlib, json, os, shutil, signal, sys, tarfile, threading, time, traceback, zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import processes
import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from torch_moving_mnist import load, utils
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.files import arrays, finish_folder, saved, shards, single, verify, write_shard
from torch_moving_mnist.recipe import digest
from torch_moving_mnist.truth import available_targets

SINGLE = {'npy':'.npy', 'npz':'.npz', 'predrnn':'.npz', 'srvp':'.npz', 'pt':'.pt'}
HOLD_TARGETS = ('npz','pt','folder-npy','folder-tar')


def make(**kwargs): return MovingMNIST(**{**dict(digits='fonts', num_digits=2, num_frames=4, img_size=(32,40), seed=0, length=300, normalize=([.1],[.3])), **kwargs})


def write(ds, folder, layout, n, **kwargs):
    "Save in any layout, by name; the path"
    kwargs = dict(n=n, progress=False, **kwargs)
    if layout.startswith('folder'):
        path = folder/'set'
        ds.save(path, format=layout.split('-')[1], **{'shards': min(3, n), **kwargs})
    else:
        path = folder/f'{layout}{SINGLE[layout]}'
        ds.save(path, layout=layout, **kwargs)
    return path


LAYOUTS = [*SINGLE, 'folder-npy', 'folder-tar']


def same(a, b):
    "Whether two samples or targets are equal, with their types"
    assert type(a) is type(b), (type(a), type(b))
    if isinstance(a, (tuple, list)): return len(a)==len(b) and all(map(same, a, b))
    if isinstance(a, dict): return list(a)==list(b) and all(same(a[k], b[k]) for k in a)
    return a.dtype==b.dtype and torch.equal(a, b) if isinstance(a, torch.Tensor) else a==b


# Round trips

KINDS = [{}, dict(num_frames=3, img_size=41, normalize=False), dict(color='random'), dict(num_digits=[1,3], normalize=True)]


@pytest.mark.parametrize('layout,kwargs', [(o, k) for o in LAYOUTS for k in KINDS if not (o=='srvp' and {'color','num_digits'} & k.keys())], ids=str) # SRVP holds neither
def test_every_layout_comes_back(tmp_path, layout, kwargs):
    ds = make(**kwargs)
    path = write(ds, tmp_path, layout, 29)
    again = load(path)
    assert len(again)==29 and again.recipe=={**ds.recipe, 'length': 29} and str(len(again)) in repr(again)
    assert MovingMNIST.from_recipe(again.recipe).fingerprint==again.fingerprint
    assert same(again[7], ds[7]) and same(again[-1], ds[28]) and same(again[[28,0,28]], ds[[28,0,28]]) and same(again[3:9:2], ds[3:9:2])
    assert torch.allclose(again.get_batch(indices=range(4)), ds.get_batch(indices=range(4)), atol=1e-5)
    assert verify(path)==[] and verify(path, against=ds)==[]
    assert same(MovingMNIST.from_recipe(again.recipe)[5], ds[5])
    with pytest.raises(IndexError): again[29]


@pytest.mark.parametrize('layout', HOLD_TARGETS)
def test_every_target_comes_back(tmp_path, layout):
    background = torch.arange(50*60).remainder(251).byte().view(50,60)
    ds = make(targets=available_targets('over', background=True), composite='over', color='random', background=background, drift=(0,2))
    again = load(write(ds, tmp_path, layout, 7))
    for i in (0,6,-2): assert same(again[i], (ds[i if i>=0 else i+7]))
    frames,target = again[[5,1]]
    assert same((frames, target), ds[[5,1]])
    some = load(again.path, targets=['caption','boxes'])
    assert list(some[2][1])==['caption','boxes'] and same(some[2][1]['boxes'], ds[2][1]['boxes'])
    assert verify(again.path, against=ds)==[]
    for batch in DataLoader(load(again.path, targets=['labels','flow']), batch_size=3): assert set(batch[1])=={'labels','flow'}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(layout=st.sampled_from(LAYOUTS), targets=st.lists(st.sampled_from(available_targets()), unique=True, max_size=4),
       T=st.integers(1, 6), K=st.lists(st.integers(1, 3), min_size=1, max_size=2), size=st.tuples(st.integers(28, 45), st.integers(28, 45)), n=st.integers(1, 12),
       color=st.sampled_from([None, 'random']), normalize=st.sampled_from([True, False, ([.2],[.5])]), seed=st.integers(0, 2**64-1))
def test_any_settings_come_back(tmp_path_factory, layout, targets, T, K, size, n, color, normalize, seed):
    ds = MovingMNIST(digits='fonts', num_frames=T, num_digits=K, img_size=size, color=color, normalize=normalize, seed=seed, length=12,
                     targets=targets if layout in HOLD_TARGETS else ())
    try: path = write(ds, tmp_path_factory.mktemp('any'), layout, n)
    except ValueError as e:
        assert layout=='srvp' and (color or len(set(K))>1) or layout=='predrnn' and T==1, e
        return
    again = load(path)
    assert len(again)==n and all(same(again[i], ds[i]) for i in range(n))
    assert verify(path, against=ds)==[]


def test_floats_that_are_all_black_come_back(tmp_path):
    "Black is zero as a float and as a byte: only the type tells them apart"
    ds = make(affine_params=dict(translate=((1000,1000),(1000,1000))), normalize=False)
    assert not ds[:3].any() and same(load(write(ds, tmp_path, 'pt', 3))[:3], ds[:3])


def test_loaders_with_workers_read_it(tmp_path):
    ds = make()
    for layout,contexts in (('npy',['fork','forkserver']), ('pt',['fork']), ('folder-tar',['fork'])):
        for context in contexts:
            loader = DataLoader(load(write(ds, tmp_path, layout, 20, overwrite=True)), batch_size=8, num_workers=2, multiprocessing_context=context)
            assert torch.equal(torch.cat([*loader]), ds[:20])


def test_batches_begin_again_after_the_last(tmp_path):
    again = load(write(make(), tmp_path, 'npy', 5))
    assert torch.equal(again.get_batch(7), again.get_batch(indices=[0,1,2,3,4,0,1])) and torch.equal(again.get_batch(2), again.get_batch(indices=[2,3]))
    x = again.get_batch(2)
    assert torch.equal((again.denormalize(x)*255).round().byte(), again[[4,0]])
    again.batch_tfms = None
    assert again.get_batch(1).dtype==torch.uint8


def test_samples_keep_what_the_recipe_says(tmp_path):
    ds = make(concat=False)
    again = load(write(ds, tmp_path, 'npy', 3))
    assert same(again[1], ds[1]) and len(again[1])==4
    with pytest.raises(TypeError, match='concat=False'): again[[0,1]]
    assert load(again.path, transform=len)[0]==4


# Readers of others

def test_torchvision_reads_the_array(tmp_path):
    ds = MovingMNIST.preset('canonical', digits='fonts', seed=0, length=30)
    ds.save(tmp_path/'MovingMNIST'/'mnist_test_seq.npy', n=30, progress=False)
    theirs = torchvision.datasets.MovingMNIST(tmp_path, split=None)
    assert len(theirs)==30 and all(torch.equal(theirs[i], ds[i]) for i in range(30))


def test_arrays_with_colour_have_channels(tmp_path):
    assert np.load(write(make(color='random'), tmp_path, 'npy', 3)).shape==(4,3,3,32,40)


def test_predrnn_reads_its_layout(tmp_path):
    "By the rules of thuml/predrnn-pytorch, core/data_provider/mnist.py"
    ds = make(num_frames=5)
    found = np.load(write(ds, tmp_path, 'predrnn', 10))
    assert found['dims'].tolist()==[[1,32,40]] and found['clips'].shape==(2,10,2) and found['input_raw_data'].dtype==np.float32
    for i in range(10):
        (start,n),(then,m) = found['clips'][:,i]
        video = np.concatenate([found['input_raw_data'][start:start+n], found['input_raw_data'][then:then+m]])
        assert np.array_equal(np.rint(video*255).astype(np.uint8), ds[i].numpy()) and (n,m)==(2,3)


def test_srvp_reads_its_layout(tmp_path):
    "By the rules of edouardelasalles/srvp, data/mmnist.py and preprocessing/mmnist/make_test_set.py"
    ds = make(targets=['labels','digit'])
    found = np.load(write(ds, tmp_path, 'srvp', 10, targets=()), allow_pickle=True)
    assert np.array_equal(found['sequences'][:,3], ds[3][0][:,0].numpy())
    assert found['labels'].dtype==np.uint8 and found['labels'][3].tolist()==ds[3][1]['labels'].tolist()
    assert np.array_equal(found['digits'][3], ds.digits.images[ds[3][1]['digit'],0].numpy())


def test_a_tensor_is_what_get_batch_gives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ds = make()
    ds.save(progress=False)
    assert torch.equal(torch.load('mmnist.pt', weights_only=True), ds.get_batch(indices=range(64)))
    ds.save('two.pt', 2, 8, targets=['labels','pose','caption'], progress=False)
    frames,target = torch.load('two.pt', weights_only=True)
    ds.targets = ['labels','pose','caption']
    assert same((frames, target), ds.get_batch(indices=range(16)))


def test_transforms_that_cannot_be_undone_are_said(tmp_path):
    ds = make()
    ds.batch_tfms = lambda x: (x/255)**2
    path = write(ds, tmp_path, 'pt', 3)
    with pytest.raises(ValueError, match='nothing says which levels are black and white; read it with torch.load'): load(path)
    ds.batch_tfms = lambda x: 255-x
    assert same(load(write(ds, tmp_path, 'pt', 3, overwrite=True))[1], ds[1])
    for f in (lambda x: x.flip(-1)/255, lambda x: x.float().repeat(1,1,3,1,1), lambda x: x[...,4:].float(), lambda x: x.float() + 300*torch.rand(())):
        ds.batch_tfms = f
        with pytest.raises(ValueError, match='read it with torch.load'): load(write(ds, tmp_path, 'pt', 3, overwrite=True))
    ds.batch_tfms = lambda x: x.bfloat16()
    with pytest.raises(ValueError, match='batch_tfms makes torch.bfloat16; expected'): write(ds, tmp_path, 'pt', 3, overwrite=True)
    ds.batch_tfms = None
    assert same(load(write(ds, tmp_path, 'pt', 3, overwrite=True))[1], ds[1])


# Videos

@pytest.mark.parametrize('color', [None, 'random'])
@pytest.mark.parametrize('suffix', ['.mkv','.mp4','.gif'])
def test_videos(tmp_path, suffix, color):
    pytest.importorskip('av')
    ds = make(num_frames=6, img_size=(33,41), color=color)
    path = tmp_path/f'a{suffix}'
    ds.save(path, n=5, fps=12.5, progress=False)
    again = load(path)
    assert len(again)==5 and again.recipe=={**ds.recipe, 'length': 5} and again[0].shape==ds[0].shape
    error = (again[0:5].int() - ds[0:5].int()).abs()
    lossless = suffix=='.mkv' or suffix=='.gif' and not color
    assert error.max()==0 if lossless else error.float().mean()<6
    assert verify(path, against=ds)==[]
    data = path.read_bytes()
    for at in (30, len(data)//2, len(data)-40):
        flip(path, at)
        assert len(verify(path))==1
        path.write_bytes(data)
    assert bool(verify(path, against=make(num_frames=6, img_size=(33,41), color=color, seed=1)))
    first = path.read_bytes()
    ds.save(path, n=5, fps=12.5, progress=False, overwrite=True)
    assert path.read_bytes()==first
    with pytest.raises(ValueError, match="with a video, which holds frames only"): ds.save(tmp_path/'b.gif', n=5, targets='boxes')
    with pytest.raises(ValueError, match='n=1024 with img_size=.28, 2200. makes a video 70,462 pixels'): make(img_size=(28,2200), length=2000).save(tmp_path/'b.gif', n=1024)
    with pytest.raises(ValueError, match='at most 1,024 in a video'): make(length=2000).save(tmp_path/'b.gif', n=1025)


# Names and paths

def test_links_without_a_suffix_at_their_target(tmp_path):
    "As caches of downloads make them"
    os.symlink('blob', tmp_path/'link.npy')
    ds = make()
    ds.save(tmp_path/'link.npy', n=5, progress=False)
    again = load(tmp_path/'link.npy')
    assert same(again[3], ds[3]) and again.recipe is not None and verify(tmp_path/'link.npy', against=ds)==[] and (tmp_path/'link.npy').is_symlink()


@pytest.mark.parametrize('suffix', ['.NPY','.NPZ','.PT','.GIF'])
def test_suffixes_in_capitals(tmp_path, suffix):
    ds = make()
    ds.save(tmp_path/f'A{suffix}', n=5, progress=False)
    assert same(load(tmp_path/f'A{suffix}')[3], ds[3]) and verify(tmp_path/f'A{suffix}', against=ds)==[]


def test_a_file_where_the_record_would_be_is_kept(tmp_path):
    (tmp_path/'a.npy.json').write_text('mine')
    (tmp_path/'b.npy.json').mkdir()
    for o in 'ab':
        with pytest.raises(FileExistsError, match=f'{o}.npy.json exists'): make().save(tmp_path/f'{o}.npy', n=3)
    with pytest.raises(IsADirectoryError): make().save(tmp_path/'b.npy', n=3, overwrite=True)
    with pytest.raises(OSError, match='the name is too long'): make().save(tmp_path/('x'*240 + '.npy'), n=3)
    assert (tmp_path/'a.npy.json').read_text()=='mine' and sorted(os.listdir(tmp_path))==['a.npy.json','b.npy.json']


@pytest.mark.parametrize('path', ['', 'a\0b', b'x', 5, None])
def test_no_path(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    calls = [('path', lambda: load(path)), ('path', lambda: verify(path)), ('folder', lambda: write_shard(make(), 0, 2, path)), ('folder', lambda: finish_folder(path)),
             ('fname', lambda: make().save(path))]
    for name,call in calls:
        with pytest.raises((ValueError, TypeError), match=f'{name}='): call()
    assert os.listdir(tmp_path)==[]


def test_pipes_are_not_waited_for(tmp_path):
    ds = make()
    for o in ('a.npy','a.npz','a.pt','a.gif'):
        os.mkfifo(tmp_path/o)
        with pytest.raises(ValueError, match='neither a regular file'): load(tmp_path/o)
    ds.save(tmp_path/'b.npy', n=3, progress=False), ds.save(tmp_path/'set', n=3, progress=False)
    for o in (tmp_path/'b.npy.json', tmp_path/'set'/'index.json'):
        o.unlink()
        os.mkfifo(o)
        with pytest.raises(ValueError, match='it is no regular file'): load(o.parent if o.name=='index.json' else tmp_path/'b.npy')


# Refusals

@pytest.mark.parametrize('kwargs,call,match', [
    ({}, dict(fname='a.npy', targets='boxes'), "targets=.'boxes',. with layout 'npy', which holds frames only"),
    (dict(targets=['flow']), dict(fname='a.npz', layout='predrnn'), "with layout 'predrnn', which holds frames only"),
    (dict(color='random'), dict(fname='a.npz', layout='srvp'), "layout='srvp' holds frames of one channel, not 3"),
    (dict(num_digits=[1,2]), dict(fname='a.npz', layout='srvp'), 'num_digits=.1, 2. with layout'),
    (dict(num_frames=1), dict(fname='a.npz', layout='predrnn'), 'num_frames=1 with layout'),
    ({}, dict(fname='a.h5'), "fname='a.h5' ends in '.h5'; expected .gif, .mkv"),
    ({}, dict(fname='a.npy', layout='srvp'), "fname='a.npy' with layout='srvp'; expected a name that ends in '.npz'"),
    ({}, dict(fname='a.npy', layout='srv'), "layout='srv'; expected one of 'npy'"),
    ({}, dict(fname='a', layout='srvp'), "layout='srvp' with a folder"),
    ({}, dict(fname='a', format='zip'), "format='zip'; expected one of 'npy', 'tar'"),
    ({}, dict(fname='a.npy', n=301), 'n=301; expected at most 300, the length of the dataset'),
    ({}, dict(fname='a.npy', n=0), 'n=0; expected a whole number, at least 1'),
    ({}, dict(fname='a.npy', n_batches=0), 'n_batches=0; expected'),
    ({}, dict(fname='a.npy', shards=2), "fname='a.npy' with shards, which is for folders"), ({}, dict(fname='a', shards=65), 'shards=65; expected a whole number, at least 1, at most 64'),
    ({}, dict(fname='a.npy', workers=2), 'workers=2 with a single file'),
    ({}, dict(fname='a.gif', fps=0), 'fps=0; expected a number from 0.1 to 50'),
    ({}, dict(fname='a', targets=['boxs']), "targets='boxs'; expected one of"),
    ({}, dict(fname=''), 'expected the name of a file'), ({}, dict(fname='a\0.npy'), 'expected the name of a file')], ids=lambda o: str(o)[:60])
def test_refused_by_name_and_nothing_is_left(tmp_path, monkeypatch, kwargs, call, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=match): make(**kwargs).save(**call, progress=False)
    assert os.listdir(tmp_path)==[]


@pytest.mark.parametrize('name', ['a.npy','a.mp4'])
def test_the_name_of_a_file_is_not_taken_for_a_folder(tmp_path, name):
    (tmp_path/name).mkdir()
    with pytest.raises(IsADirectoryError, match='a folder has this name'): make().save(tmp_path/name, n=2, progress=False)
    assert os.listdir(tmp_path)==[name] and os.listdir(tmp_path/name)==[]


@pytest.mark.parametrize('layout', ['npz','pt'])
def test_captions_of_other_widths_are_made_again(tmp_path, monkeypatch, layout):
    monkeypatch.setattr(arrays, 'CHUNK_BYTES', 2**15)
    ds = make(num_digits=[1,2,3], targets=['caption'])
    path = write(ds, tmp_path, layout, 12)
    widths = {max(len(o['caption']) for _,o in part) for part in ([ds[i] for i in range(k, k+3)] for k in range(0, 12, 3))}
    assert len(widths)>1 and len(json.loads(Path(f'{path}.json').read_text())['checksums'])>2
    assert verify(path, against=ds, sample=12)==[]
    vars(ds.digits)['names'] = tuple(f'{o} with a longer name' for o in range(10))
    assert len(verify(path, against=ds, sample=12))>2


def test_types_are_refused(tmp_path):
    for call in (dict(fname=5), dict(fname='a.npy', n=2.5), dict(fname='a', shards='2'), dict(fname='a.npy', overwrite=1), dict(fname='a.npy', progress=None)):
        with pytest.raises(TypeError, match=list(call)[-1]): make().save(**call)


def test_what_exists_is_kept(tmp_path):
    ds = make()
    for layout in ('npy','folder-npy'):
        path = write(ds, tmp_path, layout, 5)
        before = contents(path)
        with pytest.raises(FileExistsError, match='exists|n=5 instead of 6'): write(ds, tmp_path, layout, 6)
        assert contents(path)==before
        write(ds, tmp_path, layout, 6, overwrite=True)
        assert len(load(path))==6 and verify(path, against=ds)==[]
    with pytest.raises(FileExistsError, match='holds another dataset: seed=0 instead of 1'): write(make(seed=1), tmp_path, 'folder-npy', 6)
    (tmp_path/'file').write_text('x')
    with pytest.raises(OSError, match='it is no folder'): ds.save(tmp_path/'file', n=3, progress=False)


@pytest.mark.parametrize('layout', ['folder-npy','folder-tar'])
def test_shards_without_an_index_are_kept(tmp_path, layout):
    path = write(make(), tmp_path, layout, 6)
    (path/'index.json').unlink()
    before = contents(path)
    for ds in (make(), make(seed=1)):
        with pytest.raises(FileExistsError, match='shards without an index.json; expected another folder, or overwrite'): write(ds, tmp_path, layout, 6)
    assert {k: o for k,o in contents(path).items() if 'shard' in k}=={k: o for k,o in before.items() if 'shard' in k}
    write(make(seed=1), tmp_path, layout, 6, overwrite=True)
    assert verify(path, against=make(seed=1))==[]


def test_a_full_disk_is_found_before_and_during_the_work(tmp_path, monkeypatch):
    ds = make()
    monkeypatch.setattr(arrays.shutil, 'disk_usage', lambda path: SimpleNamespace(free=1000))
    for layout in LAYOUTS:
        with pytest.raises(OSError, match='bytes are needed, and 1,000 are free') as e: write(ds, tmp_path, layout, 50)
        assert e.value.errno==errno.ENOSPC and os.listdir(tmp_path)==[]
    monkeypatch.undo()
    real = arrays.ArrayFile.write
    def full(self, file, start, rows):
        if start>0: raise OSError(errno.ENOSPC, 'No space left on device')
        real(self, file, start, rows)
    monkeypatch.setattr(arrays, 'CHUNK_BYTES', 2**16)
    monkeypatch.setattr(arrays.ArrayFile, 'write', full)
    for layout in ('npy','npz','pt','folder-npy'):
        with pytest.raises(OSError, match='No space left on device; repeat the call to go on where it stopped') as e: write(ds, tmp_path, layout, 50)
        assert str(tmp_path) in str(e.value)
    assert not [o for o in os.listdir(tmp_path) if not o.startswith('.') and o!='set']
    monkeypatch.setattr(arrays.ArrayFile, 'write', real)
    for layout in ('npy','npz','pt','folder-npy'): assert verify(write(ds, tmp_path, layout, 50), against=ds)==[]


@pytest.mark.skipif(os.geteuid()==0, reason='the superuser may write anywhere')
def test_folders_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match='cannot be written to'): make().save(tmp_path/'a.npy', n=3)
    tmp_path.chmod(0o700)


def test_links_and_modes(tmp_path):
    (tmp_path/'real.npy').write_bytes(b'')
    (tmp_path/'real.npy').chmod(0o600)
    (tmp_path/'link.npy').symlink_to('real.npy')
    make().save(tmp_path/'link.npy', n=3, overwrite=True, progress=False)
    assert (tmp_path/'link.npy').is_symlink() and (tmp_path/'real.npy').stat().st_mode & 0o777==0o600 and len(load(tmp_path/'link.npy'))==3
    with pytest.raises(ValueError, match='is a device'): single.write_file(make(), '/dev/null', 3, 'npy')


# Without a seed

@pytest.mark.parametrize('layout', ['npy','folder-npy'])
def test_a_dataset_without_a_seed_gets_one(tmp_path, layout):
    path = write(make(seed=None), tmp_path, layout, 5)
    again = load(path)
    assert isinstance(again.recipe['seed'], int) and same(MovingMNIST.from_recipe(again.recipe)[3], again[3])
    with pytest.raises(FileExistsError, match='exists|seed='): write(make(seed=None), tmp_path, layout, 5)


def test_an_unfinished_job_without_a_seed_goes_on_with_the_one_it_drew(tmp_path, monkeypatch):
    "But not with that of a dataset that had one"
    def stop(*_): raise KeyboardInterrupt
    for seed in (None, 5):
        with pytest.raises(KeyboardInterrupt): shards.write_folder(make(seed=seed, length=60), tmp_path/f'{seed}', 60, 3, report=stop)
        with pytest.raises(KeyboardInterrupt): single.write_file(make(seed=seed, length=60), tmp_path/f'{seed}.npy', 60, 'npy', report=stop)
    first = json.loads((tmp_path/'None'/'.part'/'job.json').read_text())['recipe']['seed']
    make(seed=None).save(tmp_path/'None', n=60, shards=3, progress=False)
    assert load(tmp_path/'None').recipe['seed']==first
    with pytest.raises(FileExistsError, match='seed=5 instead of'): make(seed=None).save(tmp_path/'5', n=60, shards=3, progress=False)
    first = json.loads((tmp_path/'.None.npy.part'/'journal').read_text().splitlines()[0])['recipe']['seed']
    for seed in (None, 5): make(seed=None).save(tmp_path/f'{seed}.npy', n=60, progress=False)
    assert load(tmp_path/'None.npy').recipe['seed']==first and load(tmp_path/'5.npy').recipe['seed']!=5


def contents(path):
    "Name → bytes of a file, or of all files of a folder"
    return {o.name: o.read_bytes() for o in ([path] if path.is_file() else sorted(path.iterdir())) if o.is_file()}


# Shards

def test_a_shard_is_a_function_of_recipe_and_number(tmp_path):
    "On one thread, on several, in a loader worker, and after another shard"
    ds = make(targets=['boxes','masks','flow','caption'])
    threads = torch.get_num_threads()
    for format in shards.FORMATS:
        torch.set_num_threads(1)
        first = write_shard(ds, 2, 5, tmp_path/f'{format}1', n=40, format=format)
        torch.set_num_threads(2)
        write_shard(ds, 4, 5, tmp_path/f'{format}2', n=40, format=format)
        assert write_shard(ds, 2, 5, tmp_path/f'{format}2', n=40, format=format)==first
        torch.set_num_threads(threads)
        assert next(iter(DataLoader(InWorker(ds, tmp_path/f'{format}3', format), batch_size=None, num_workers=1)))==first
        parts = [{k: o for k,o in contents(tmp_path/f'{format}{i}').items() if '00002' in k} for i in (1,2,3)]
        assert parts[0]==parts[1]==parts[2] and len(parts[0])==(5 if format=='npy' else 1)


class InWorker(torch.utils.data.Dataset):
    "Writes a shard when it is asked for an item"
    def __init__(self, *args): self.args = args
    def __len__(self): return 1
    def __getitem__(self, i): return write_shard(self.args[0], 2, 5, self.args[1], n=40, format=self.args[2])


def test_workers_give_the_same_bytes(tmp_path):
    ds = make(targets=['boxes'])
    ds.save(tmp_path/'one', n=50, shards=7, progress=False)
    ds.save(tmp_path/'two', n=50, shards=7, workers=2, progress=False)
    assert contents(tmp_path/'one')==contents(tmp_path/'two') and len(contents(tmp_path/'one'))==15


def test_errors_of_workers_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, 'make_shard', lambda *_: 1/0)
    with pytest.raises(ZeroDivisionError): make().save(tmp_path/'set', n=50, shards=7, workers=2, progress=False)


def test_shards_need_a_seed_and_numbers(tmp_path):
    with pytest.raises(ValueError, match='seed=None; expected a dataset with a seed'): write_shard(make(seed=None), 0, 2, tmp_path)
    with pytest.raises(ValueError, match='k=2; expected a whole number, at least 0, at most 1'): write_shard(make(), 2, 2, tmp_path)
    with pytest.raises(ValueError, match='has no record of shards'): finish_folder(tmp_path)
    write_shard(make(), 0, 2, tmp_path, n=10)
    with pytest.raises(ValueError, match='it is not finished: 1 of 2 shards are missing'): load(tmp_path)
    assert finish_folder(tmp_path)==[1]
    write_shard(make(), 1, 2, tmp_path, n=10)
    assert finish_folder(tmp_path)==[] and verify(tmp_path)==[]


def test_archives_have_fixed_times_and_owners(tmp_path):
    path = write(make(targets=['caption']), tmp_path, 'folder-tar', 4)
    with tarfile.open(path/'shard-00001-of-00003.tar') as t:
        assert {(o.mtime, o.uid, o.gid, o.uname, o.mode) for o in t}=={(0, 0, 0, '', 0o644)}
        assert t.getnames()==['000000001.frames.npy', '000000001.caption.txt']


# Interruptions

def long_job(layout, folder):
    "Arguments of a job of many chunks and shards"
    ds = make(num_frames=8, seed=3, normalize=False, length=800, targets=['boxes','caption'] if layout in HOLD_TARGETS else ())
    return ds, folder, layout, 800, *([9] if layout.startswith('folder') else [])


def start(layout, folder):
    "Begin the job in a forked process, which ends with 0"
    child = os.fork()
    if child: return child
    code = 1
    try:
        faulthandler.dump_traceback_later(120, exit=True, file=open(folder.parent/'error', 'w')) # It must not wait for ever
        torch.set_num_threads(1)
        ds,folder,layout,n,*of = long_job(layout, folder)
        write(ds, folder, layout, n, **(dict(shards=of[0]) if of else {}))
        code = 0
    except BaseException: (folder.parent/'error').write_text(traceback.format_exc())
    finally: os._exit(code)


def all_files(folder): return {str(o.relative_to(folder)): o.read_bytes() for o in sorted(folder.rglob('*')) if o.is_file()}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_kills_at_random_moments_leave_nothing_torn(tmp_path, layout, monkeypatch):
    "A job is killed and begun again until it ends, with the bytes of one that was never killed; 8 kills for each of seven layouts"
    monkeypatch.setattr(arrays, 'CHUNK_BYTES', 2**17)
    long_job(layout, tmp_path)[0][[0,1]] # Compiled before the forks
    begun = time.perf_counter()
    os.waitpid(start(layout, tmp_path/'whole'), 0)
    duration,expected = time.perf_counter() - begun, all_files(tmp_path/'whole')
    rng,kills,ended = np.random.default_rng(len(layout)), 0, 0
    while kills<8 or not ended:
        child = start(layout, tmp_path/'cut')
        if kills<8: time.sleep(rng.uniform(0, .7*duration))
        if kills<8: os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        kills += os.WIFSIGNALED(status)
        there = {k: o for k,o in all_files(tmp_path/'cut').items() if '.part/' not in k and '.tmp' not in k} if (tmp_path/'cut').exists() else {}
        assert all(o==expected[k] for k,o in there.items()), 'a file under its final name is torn'
        complete = all_files(tmp_path/'cut')==expected if there else False
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status)==0, (tmp_path/'error').read_text()
            assert complete
            ended += 1
        if complete: shutil.rmtree(tmp_path/'cut') # Also if the kill came after the last step


def test_damage_to_a_half_done_job_is_mended(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, 'CHUNK_BYTES', 2**17)
    ds = make(targets=['boxes'])
    def stop(n, size):
        nonlocal calls
        calls += 1
        if calls==5: raise KeyboardInterrupt
    for damage in (lambda part: flip(part/'frames.npy', 3000), lambda part: flip(part/'frames.npy', 20), lambda part: (part/'boxes.npy').unlink(),
                   lambda part: flip(part/'journal', 5), lambda part: (part/'journal').write_text((part/'journal').read_text()[:-20]),
                   lambda part: (part/'journal').unlink(), lambda part: (part/'boxes.npy').write_bytes(b'')):
        calls = 0
        with pytest.raises(KeyboardInterrupt): single.write_file(ds, tmp_path/'a.npz', 300, 'npz', report=stop)
        damage(tmp_path/'.a.npz.part')
        write(ds, tmp_path, 'npz', 300)
        single.write_file(ds, tmp_path/'a.npz', 300, 'npz')
        assert all_files(tmp_path)['a.npz']==all_files(tmp_path)['npz.npz'] and verify(tmp_path/'a.npz', against=ds)==[]
        for o in tmp_path.iterdir(): o.unlink()


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_job_goes_on_where_it_stopped(tmp_path, monkeypatch):
    "Chunks that are there are not made again"
    monkeypatch.setattr(arrays, 'CHUNK_BYTES', 2**17)
    ds,made = make(),[]
    def stop(n, size):
        made.append(n)
        if len(made)==5: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): single.write_file(ds, tmp_path/'a.npy', 300, 'npy', report=stop)
    later = []
    single.write_file(ds, tmp_path/'a.npy', 300, 'npy', report=lambda n, size: later.append(n))
    assert later[0]>=sum(made[:-1])>0 and sum(later)==300


def test_two_processes_share_a_folder(tmp_path):
    "Both end well, no shard is torn, and nothing is left over"
    for layout in ('folder-npy','folder-tar'):
        os.waitpid(start(layout, tmp_path/'whole'), 0)
        children = [start(layout, tmp_path/'both') for _ in range(3)]
        assert [os.waitpid(o, 0)[1] for o in children]==[0, 0, 0], (tmp_path/'error').read_text()
        assert all_files(tmp_path/'both')==all_files(tmp_path/'whole')
        shutil.rmtree(tmp_path/'both'), shutil.rmtree(tmp_path/'whole')


def test_a_file_that_another_process_writes_is_refused(tmp_path):
    with arrays.locked(tmp_path/'.a.npy.part'/'lock', wait=False):
        with pytest.raises(BlockingIOError, match='another process is writing it'): make().save(tmp_path/'a.npy', n=3, progress=False)
    make().save(tmp_path/'a.npy', n=3, progress=False)


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs): raise OSError(errno.ENOLCK, 'No locks available')
    monkeypatch.setattr(arrays.FileLock, 'acquire', refuse)
    for layout in ('npy','folder-npy'): assert verify(write(make(), tmp_path, layout, 5))==[]


@pytest.mark.skipif(sys.platform!='linux', reason='reads /proc')
def test_memory_does_not_grow_with_the_number_of_sequences(tmp_path):
    "Peak of the memory that is not a mapped file"
    code = """if True:
        import sys, threading, time
        from torch_moving_mnist.data import MovingMNIST
        from torch_moving_mnist.files import arrays
        arrays.CHUNK_BYTES = 2**20
        ds = MovingMNIST(digits='fonts', num_digits=2, num_frames=4, seed=3, normalize=False, length=10**5)
        def anonymous(): return int(open('/proc/self/status').read().split('RssAnon:')[1].split()[0])
        peak = 0
        def watch():
            global peak
            while True: peak = max(peak, anonymous()); time.sleep(.002)
        threading.Thread(target=watch, daemon=True).start()
        for layout,suffix in (('npy','.npy'), ('npz','.npz'), ('predrnn','.npz'), ('srvp','.npz'), ('pt','.pt'), ('npy',''), ('tar','')):
            for n in (250, 500, 2000):
                peak,kwargs = 0,dict(format=layout, shards=n//250) if not suffix else dict(layout=layout)
                ds.save(f'{sys.argv[1]}/{layout}{n}{suffix}', n=n, progress=False, **kwargs)
                if n>250: print(peak, end=' ')
            print()"""
    out = processes.run(code, tmp_path, warn=['ignore']).stdout
    rows = [[*map(int, line.split())] for line in out.splitlines()]
    assert len(rows)==7 and all(large<small + 20*2**10 for small,large in rows), out # KiB; the frames of 2,000 sequences have 32,000


def test_a_job_that_was_killed_while_it_tidied_up_is_done(tmp_path):
    ds = make()
    for layout in SINGLE:
        path = write(ds, tmp_path, layout, 5)
        part = tmp_path/f'.{path.name}.part'
        part.mkdir()
        (part/'frames.npy').write_bytes(b'left over')
        write(ds, tmp_path, layout, 5)
        assert not part.exists() and verify(path)==[]
        part.mkdir()
        with pytest.raises(FileExistsError, match='exists'): write(ds, tmp_path, layout, 6) # Another job
        shutil.rmtree(part)
    path.unlink() # Killed before the file got its name, with its record there
    part.mkdir()
    assert verify(write(ds, tmp_path, layout, 5))==[]


@pytest.mark.parametrize('line', ['5', 'null', '[[1],2]', '["a","b"]', '[-1,"a"]', '"ab"', '[0,7]', '[9999,"a"]', '['*100_000])
def test_any_line_of_a_journal_does_no_harm(tmp_path, monkeypatch, line):
    monkeypatch.setattr(arrays, 'CHUNK_BYTES', 2**17)
    ds = make()
    def stop(n, size): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): single.write_file(ds, tmp_path/'a.npy', 50, 'npy', report=stop)
    with open(tmp_path/'.a.npy.part'/'journal', 'a') as f: f.write(line + '\n')
    single.write_file(ds, tmp_path/'a.npy', 50, 'npy')
    assert verify(tmp_path/'a.npy', against=ds)==[] and sorted(os.listdir(tmp_path))==['a.npy','a.npy.json']


def test_threads_share_a_folder(tmp_path):
    from concurrent.futures import ThreadPoolExecutor
    ds = make()
    for i in range(4):
        with ThreadPoolExecutor(4) as pool: [*pool.map(lambda _: ds.save(tmp_path/f'{i}', n=16, shards=8, progress=False), range(4))]
        assert verify(tmp_path/f'{i}', against=ds)==[] and not (tmp_path/f'{i}'/'.part').exists()


def test_several_processes_replace_a_folder(tmp_path):
    make(seed=5).save(tmp_path/'set', n=40, shards=20, progress=False)
    children = []
    for _ in range(3):
        children.append(os.fork())
        if not children[-1]:
            code = 1
            try:
                torch.set_num_threads(1)
                make().save(tmp_path/'set', n=16, shards=8, overwrite=True, progress=False)
                code = 0
            except BaseException: (tmp_path/'error').write_text(traceback.format_exc())
            finally: os._exit(code)
    assert [os.waitpid(o, 0)[1] for o in children]==[0, 0, 0], (tmp_path/'error').read_text()
    assert verify(tmp_path/'set', against=make())==[] and len(os.listdir(tmp_path/'set'))==9


class Two(Exception):
    def __init__(self, a, b): super().__init__(f'{a} and {b}')


@pytest.mark.parametrize('error,expected', [(ValueError('boom'), ValueError), (Two(1, 2), RuntimeError), (BrokenPipeError('boom'), BrokenPipeError), (KeyboardInterrupt(), RuntimeError), (SystemExit(0), RuntimeError)], ids=lambda o: type(o).__name__)
def test_whatever_ends_a_worker_is_reported(tmp_path, monkeypatch, error, expected):
    def fail(*_): raise error
    monkeypatch.setattr(shards, 'make_shard', fail)
    with pytest.raises(expected): make().save(tmp_path/'set', n=20, shards=4, workers=2, progress=False)
    monkeypatch.undo()
    make().save(tmp_path/'set', n=20, shards=4, workers=2, progress=False)
    assert verify(tmp_path/'set')==[]


@pytest.mark.skipif(sys.platform!='linux', reason='reads /proc')
def test_workers_end_soon_after_their_parent(tmp_path):
    "And the same call goes on"
    child = os.fork()
    if not child:
        make(length=2000).save(tmp_path/'set', n=2000, shards=800, workers=2, progress=False)
        os._exit(0)
    processes.until(lambda: len(list(tmp_path.glob('set/shard-*')))>=20)
    workers = [int(o) for o in open(f'/proc/{child}/task/{child}/children').read().split()]
    assert len(workers)==2
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for _ in range(100):
        alive = [o for o in workers if os.path.exists(f'/proc/{o}') and 'Z' not in open(f'/proc/{o}/stat').read().split()[2]]
        if not alive: break
        time.sleep(.1)
    assert not alive
    done = len(list(tmp_path.glob('set/shard-*')))
    assert 20<=done<800
    make(length=2000).save(tmp_path/'set', n=2000, shards=800, progress=False)
    assert verify(tmp_path/'set')==[]


def test_what_a_recipe_cannot_tell_apart_is_not_mixed(tmp_path):
    "Functions and subclasses of one name that give other sequences"
    def odd(rest):
        def condition(scene): return scene.digit[:,0]%2==rest
        return condition
    class Inverted(MovingMNIST):
        def render(self, scene, stats=None): return 255 - super().render(scene, stats)
    first,other = make(where=odd(0)),make(where=odd(1))
    assert first.recipe==other.recipe
    write_shard(first, 0, 4, tmp_path/'a', n=8)
    with pytest.raises(FileExistsError, match='other sequences from the same recipe'): other.save(tmp_path/'a', n=8, shards=4, progress=False)
    write_shard(make(), 0, 2, tmp_path/'b', n=8)
    inverted = Inverted(digits='fonts', num_digits=2, num_frames=4, img_size=(32,40), seed=0, length=300, normalize=([.1],[.3]))
    with pytest.raises(FileExistsError, match='other sequences'): inverted.save(tmp_path/'b', n=8, shards=2, progress=False)


# Damage

@pytest.fixture(scope='module')
def written(tmp_path_factory):
    "Each layout, with ground truth where it holds any"
    folder = tmp_path_factory.mktemp('written')
    return {o: write(make(num_frames=2, img_size=28, targets=['labels','caption'] if o in HOLD_TARGETS else ()), folder/o, o, 6) for o in LAYOUTS}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_damage_is_found_or_harmless(tmp_path, written, layout):
    "Bytes flipped, cut off, inserted: `verify` finds it, or every sequence is as before; `load` never raises anything but ValueError"
    source,rng = written[layout],np.random.default_rng(0)
    path = tmp_path/source.name
    before = [load(source)[i] for i in range(6)]
    files = [o.relative_to(source.parent) for o in ([source, Path(f'{source}.json')] if source.is_file() else sorted(source.iterdir()))]
    for file in files:
        data = (source.parent/file).read_bytes()
        damages = [('cut', n) for n in (0, 1, 100, len(data)//2, len(data)-1)] + [('insert', len(data)//2), ('append', 0)]
        damages += [('flip', int(i)) for i in sorted({*range(0, min(len(data), 160), 3), *rng.integers(0, len(data), 40), *range(max(len(data)-300, 0), len(data), 7)})]
        for kind,at in damages:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True), Path(f'{path}.json').unlink(missing_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, path)
            if source.is_file(): shutil.copy(f'{source}.json', f'{path}.json')
            new = dict(cut=lambda: data[:at], insert=lambda: data[:at] + b'x' + data[at:], append=lambda: data + b'x',
                       flip=lambda: data[:at] + bytes([data[at] ^ (1 << at%8)]) + data[at+1:])[kind]()
            (tmp_path/file).write_bytes(new)
            faults = verify(path)
            assert isinstance(faults, list)
            if faults: assert all(isinstance(o, str) and o for o in faults)
            else:
                again = load(path)
                assert all(same(again[i], before[i]) for i in range(6)), (file, kind, at)
                if layout in ('npz','predrnn','srvp'): assert len([*np.load(path).values()])>0, (file, kind, at) # NumPy compares its own checksums


def test_faults_name_the_file_and_the_place(tmp_path):
    ds = make()
    path = write(ds, tmp_path, 'npy', 200)
    flip(path, 1000)
    assert verify(path)==['npy.npy: sequences 0 to 199 differ from their checksum']
    folder = write(ds, tmp_path, 'folder-npy', 9)
    flip(folder/'shard-00001-of-00003.frames.npy', 500)
    (folder/'shard-00002-of-00003.frames.npy').unlink()
    (folder/'shard-00007-of-00003.frames.npy').write_bytes(b'')
    found = verify(folder)
    assert [o.split(' has')[0] for o in found]==['shard-00001-of-00003.frames.npy', 'shard-00002-of-00003.frames.npy is missing']
    with pytest.raises(ValueError, match='shard-00002-of-00003.frames.npy is missing'): load(folder)
    write(ds, tmp_path, 'folder-npy', 9)
    assert verify(folder)==['shard-00007-of-00003.frames.npy is not in index.json']
    other = make(seed=4)
    assert verify(path, against=other)[-1]=="the recipe differs in ['seed'] from that of the dataset"


def test_what_the_recipe_does_not_give_is_found(tmp_path):
    "Content and hashes that agree with each other, but not with the recipe"
    ds = make()
    path = write(ds, tmp_path, 'npy', 9)
    frames = np.load(path)
    frames[0,0,0,0] ^= 255
    np.save(path, frames)
    record = json.loads(Path(f'{path}.json').read_text())
    record['checksums'] = [arrays.checksum_of([frames.swapaxes(0, 1)])]
    write_record(f'{path}.json', record)
    assert verify(path)==[] and verify(path, against=ds)==['chunk 0 made again differs']
    folder = write(ds, tmp_path, 'folder-tar', 9)
    index = json.loads((folder/'index.json').read_text())
    name = index['shards'][1]['files'][0]['name']
    flip(folder/name, 2000)
    index['shards'][1]['files'][0]['sha256'] = hashlib.sha256((folder/name).read_bytes()).hexdigest()
    write_record(folder/'index.json', index)
    assert verify(folder)==[] and verify(folder, against=ds)==['shard-00001-of-00003 made again differs']


def write_record(path, record):
    del record['checksum']
    Path(path).write_text(json.dumps(arrays.seal(record)))


def test_hostile_files_cost_nothing(tmp_path):
    header = arrays.npy_header('|u1', (10**8,10**4,64,64))
    (tmp_path/'a.npy').write_bytes(header)
    with pytest.raises(ValueError, match='it has 128 bytes; expected'): load(tmp_path/'a.npy')
    with zipfile.ZipFile(tmp_path/'bomb.npz', 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('frames.npy', header + bytes(10**7))
    with pytest.raises(ValueError, match='frames is compressed'): load(tmp_path/'bomb.npz')
    np.save(tmp_path/'objects.npy', np.array([open], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match='it holds object|expected numbers'): load(tmp_path/'objects.npy')
    class Evil:
        def __reduce__(self): return os.system, (f"touch {tmp_path/'owned'}",)
    torch.save(Evil(), tmp_path/'evil.pt')
    with pytest.raises(ValueError, match='cannot be opened'): load(tmp_path/'evil.pt')
    with zipfile.ZipFile(tmp_path/'bomb.pt', 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('archive/data.pkl', bytes(10**7))
    with pytest.raises(ValueError, match='is compressed'): load(tmp_path/'bomb.pt')
    assert not (tmp_path/'owned').exists()
    Image.new('P', (9000,9000)).save(tmp_path/'a.gif')
    shutil.copy(write(make(), tmp_path, 'npy', 9), tmp_path/'b.npy')
    record = json.loads((tmp_path/'npy.npy.json').read_text())
    (tmp_path/'a.gif.json').write_text(json.dumps(arrays.seal({k: o for k,o in record.items() if k!='checksum'} | dict(layout='video', arrays=dict(frames=['|u1',[4,1,32,40]])))))
    with pytest.raises(ValueError, match='its frames have .9000, 9000. pixels'): load(tmp_path/'a.gif')
    for recipe in (5, {'normalize': 'x'}, {**record['recipe'], 'normalize': 'x'}, {**record['recipe'], 'normalize': [[0],[0]]}, {**record['recipe'], 'normalize': [[0,0],[1,1]]}):
        new = {k: o for k,o in record.items() if k!='checksum'} | dict(recipe=recipe, fingerprint=digest(recipe))
        (tmp_path/'npy.npy.json').write_text(json.dumps(arrays.seal(new)))
        with pytest.raises(ValueError): load(tmp_path/'npy.npy')
    (tmp_path/'npy.npy.json').write_text('['*10**6)
    with pytest.raises(ValueError, match='is cut off, or is not json'): load(tmp_path/'npy.npy')
    folder = write(make(), tmp_path, 'folder-npy', 9)
    index = (folder/'index.json').read_text()
    for old,new in (('"shard-00001-of-00003.frames.npy"','"../../a.npy"'), ('"n": 9','"n": 1000000000000'), ('"|u1"','"|O"'), ('"format_version": 1','"format_version": 2')):
        assert old in index
        write_record(folder/'index.json', json.loads(index.replace(old, new, 1)))
        with pytest.raises(ValueError, match='index.json: '): load(folder)


def test_foreign_files(tmp_path):
    "From other programs: what can be known is read, and the rest is refused by its content"
    frames = make()[:5].numpy()
    np.save(tmp_path/'a.npy', frames[:,:,0].swapaxes(0, 1))
    np.savez(tmp_path/'a.npz', frames=frames)
    torch.save(torch.from_numpy(frames), tmp_path/'a.pt')
    for o in ('a.npy','a.npz','a.pt'):
        again = load(tmp_path/o)
        assert again.recipe is None and np.array_equal(again[:], frames) and again.get_batch(2).max()<=1
        assert verify(tmp_path/o)==[f'{o}.json is missing, so there is nothing to compare with']
    np.savez(tmp_path/'more.npz', frames=frames, **{'a': np.zeros(5), 'a.b': np.zeros(5), 'boxes': np.zeros(5, '>f4')})
    assert load(tmp_path/'more.npz').targets==() # Nothing is known about them
    for o in (frames.astype(np.uint16), frames.repeat(2, 2)):
        np.savez(tmp_path/'c.npz', frames=o)
        with pytest.raises(ValueError, match='expected uint8 .N,T,C,H,W.'): load(tmp_path/'c.npz')
    np.save(tmp_path/'b.npy', frames.astype(np.float32))
    np.savez(tmp_path/'b.npz', x=frames)
    torch.save([1], tmp_path/'b.pt')
    make().draw(indices=[0]).save(tmp_path/'scene.npz')
    (tmp_path/'empty.npy').write_bytes(b'')
    (tmp_path/'folder').mkdir()
    (tmp_path/'a.gif').write_bytes(b'GIF89a')
    (tmp_path/'.half.npy.part').mkdir()
    with pytest.raises(FileNotFoundError, match='it is not finished; the same call of ds.save goes on'): load(tmp_path/'half.npy')
    for o,match in (('b.npy','expected 4 or 5 axes'), ('b.npz','it holds the arrays'), ('b.pt','it holds a list'), ('scene.npz','is compressed|holds a Scene'), ('empty.npy','cannot be opened'),
                    ('folder','it holds no index.json'), ('a.gif','a.gif.json is missing')):
        with pytest.raises(ValueError, match=match): load(tmp_path/o)
    with pytest.raises(FileNotFoundError, match='there is no such file'): load(tmp_path/'nothing.npy')
    with pytest.raises(TypeError, match='path=5'): load(5)
    with pytest.raises(ValueError, match="targets=.'boxes'.; expected None, because the file holds no ground truth"): load(tmp_path/'a.npy', targets='boxes')


def test_the_official_test_set(tmp_path, monkeypatch):
    "A stand-in of its layout; where there is no network, the message says where to put the file"
    def no_network(*args, **kwargs): raise OSError('Name or service not known')
    monkeypatch.setattr('torchvision.datasets.mnist.download_url', no_network, raising=False)
    monkeypatch.setattr('torchvision.datasets.moving_mnist.download_url', no_network)
    with pytest.raises(FileNotFoundError, match='could not be downloaded: .*Put the file from http') as e: load(tmp_path/'mnist_test_seq.npy')
    assert str(tmp_path/'mnist_test_seq.npy') in str(e.value) and os.listdir(tmp_path)==[]
    def stand_in(url, root, filename, md5):
        os.makedirs(root, exist_ok=True)
        np.save(os.path.join(root, filename), np.zeros((20,7,64,64), np.uint8))
    monkeypatch.setattr('torchvision.datasets.moving_mnist.download_url', stand_in)
    again = load(tmp_path/'mnist_test_seq.npy')
    assert len(again)==7 and again[0].shape==(20,1,64,64) and os.listdir(tmp_path)==['mnist_test_seq.npy']
    assert 'has MD5' in verify(tmp_path/'mnist_test_seq.npy')[0]
    monkeypatch.setattr(saved, 'MD5', hashlib.md5((tmp_path/'mnist_test_seq.npy').read_bytes()).hexdigest())
    assert verify(tmp_path/'mnist_test_seq.npy')==[]


def test_open_datasets_can_be_pickled_and_copied(tmp_path):
    import copy, pickle
    for layout in LAYOUTS:
        again = load(write(make(), tmp_path, layout, 5, overwrite=True))
        for other in (pickle.loads(pickle.dumps(again)), copy.copy(again), copy.deepcopy(again)): assert same(other[3], again[3])
        assert len(pickle.dumps(again))<5000


def test_a_killed_fork_never_stops_its_parent(tmp_path):
    "Killed while it holds the lock of its progress bar"
    make().save(tmp_path/'before.npy', n=2) # Whatever is shared by processes exists before the fork
    ours,theirs = os.pipe()
    child = os.fork()
    if not child:
        utils.progress_bar(total=3, file=open(os.devnull, 'w')).get_lock().acquire()
        os.write(theirs, b'.')
        time.sleep(60)
        os._exit(1)
    os.read(ours, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    thread = threading.Thread(target=lambda: make().save(tmp_path/'after.npy', n=2), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and verify(tmp_path/'after.npy')==[]
