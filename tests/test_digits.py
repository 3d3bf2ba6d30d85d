"Splits, sources, and downloads that fail, stop halfway, or run twice at the same time"
import functools, gzip, hashlib, http.server, subprocess, sys, textwrap, threading
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
import torchvision
from conftest import ROOT, needs_mnist
from PIL import Image
from torchvision.transforms import functional as TF

from torch_moving_mnist import digits as module
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import FAMILY, SPLITS, load_digits, partition


def idx(array):
    "An array in MNIST's file format"
    return bytes([0,0,8,array.ndim]) + b''.join(n.to_bytes(4, 'big') for n in array.shape) + array.astype(np.uint8).tobytes()


def images(n, mark=0):
    "Images of constant brightness; two corner pixels make each of them different"
    x = np.broadcast_to(np.arange(n, dtype=np.uint8)[:,None,None], (n,28,28)).copy()
    x[:,27,27],x[:,27,26] = np.arange(n)//256, mark
    return x


FILES = {'train-images-idx3-ubyte': idx(images(10_050)), 'train-labels-idx1-ubyte': idx(np.arange(10_050) % 10),
         't10k-images-idx3-ubyte': idx(images(30, mark=1)), 't10k-labels-idx1-ubyte': idx(np.arange(30) % 10)}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope='session')
def mirror(tmp_path_factory):
    "The address of a local server with a small MNIST, and the checksums of its archives"
    folder = tmp_path_factory.mktemp('mirror')
    resources = []
    for name,data in FILES.items():
        packed = gzip.compress(data, mtime=0)
        (folder/f'{name}.gz').write_bytes(packed)
        resources.append((f'{name}.gz', hashlib.md5(packed).hexdigest()))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}/', resources
        server.shutdown()


@pytest.fixture
def from_mirror(mirror, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.MNIST, 'mirrors', [mirror[0]])
    monkeypatch.setattr(torchvision.datasets.MNIST, 'resources', mirror[1])


def files(folder): return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob('*') if p.is_file())


def test_download(from_mirror, tmp_path):
    train,valid,test = (load_digits('mnist', tmp_path/'data', split=s) for s in SPLITS)
    assert [len(o) for o in (train,valid,test)]==[50,10_000,30]
    assert train.labels.tolist()==[i % 10 for i in range(50)] and valid.images[0,0,0,0]==50
    assert files(tmp_path/'data')==sorted(f'MNIST/raw/{name}' for name in FILES)


def test_home_folder_is_expanded(from_mirror, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    load_digits('mnist', '~/data')
    assert (tmp_path/'data'/'MNIST'/'raw').is_dir()


def test_failed_download_explains_what_to_do_and_leaves_no_files(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.datasets.MNIST, 'mirrors', [(tmp_path/'nowhere').as_uri() + '/'])
    with pytest.raises(RuntimeError, match="MNIST could not be downloaded into path=.*MNIST/raw.*digits='fonts'"): load_digits('mnist', tmp_path/'data')
    assert not files(tmp_path/'data')


def test_broken_archive_is_refused(from_mirror, mirror, monkeypatch, tmp_path):
    wrong = [(name, '0'*32) for name,_ in mirror[1]]
    monkeypatch.setattr(torchvision.datasets.MNIST, 'resources', wrong)
    with pytest.raises(RuntimeError, match='could not be downloaded'): load_digits('mnist', tmp_path)
    assert not files(tmp_path)


def test_full_disk_leaves_no_files(from_mirror, monkeypatch, tmp_path):
    def full(src, dst): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(module.os, 'replace', full)
    with pytest.raises(RuntimeError, match='No space left on device'): load_digits('mnist', tmp_path)
    assert not files(tmp_path)


def test_interrupted_download_restarts(from_mirror, monkeypatch, tmp_path):
    def stop(src, dst): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(module.os, 'replace', stop)
        with pytest.raises(KeyboardInterrupt): load_digits('mnist', tmp_path)
    assert len(load_digits('mnist', tmp_path))==50


@pytest.mark.parametrize('name', list(FILES)[:2])
@pytest.mark.parametrize('size', [0, 3, 9, 5000])
def test_truncated_file_is_named_in_the_error(tmp_path, name, size):
    raw = tmp_path/'MNIST'/'raw'
    raw.mkdir(parents=True)
    for n,data in FILES.items(): (raw/n).write_bytes(data[:size] if n==name else data)
    before = files(tmp_path)
    with pytest.raises(RuntimeError, match='holds a damaged MNIST.*Delete .* and run again'): load_digits('mnist', tmp_path)
    assert files(tmp_path)==before


def test_labels_that_do_not_match_are_refused(tmp_path):
    raw = tmp_path/'MNIST'/'raw'
    raw.mkdir(parents=True)
    for n,data in FILES.items(): (raw/n).write_bytes(idx(np.arange(10_049) % 10) if n=='train-labels-idx1-ubyte' else data)
    with pytest.raises(RuntimeError, match='holds a damaged MNIST.*10050 images, 10049 labels'): load_digits('mnist', tmp_path)


def test_missing_without_download(tmp_path):
    with pytest.raises(RuntimeError, match="holds no MNIST, and download=False.*digits='fonts'"): load_digits('mnist', tmp_path, download=False)
    assert not files(tmp_path)


def test_folder_that_cannot_be_created(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(RuntimeError, match="path='.*/file/data' cannot be created.*digits='fonts'"): load_digits('mnist', tmp_path/'file'/'data')


def test_folder_that_cannot_be_written(from_mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, 'access', lambda path, mode: False) # Needed because root may write anywhere
    with pytest.raises(RuntimeError, match='holds no MNIST and cannot be written to'): load_digits('mnist', tmp_path)
    assert not files(tmp_path)


def test_read_only_folder_with_the_data_is_enough(from_mirror, tmp_path, monkeypatch):
    load_digits('mnist', tmp_path)
    def forbidden(*args, **kwargs): raise PermissionError('read-only')
    for name in ('makedirs','replace'): monkeypatch.setattr(module.os, name, forbidden)
    monkeypatch.setattr(module.tempfile, 'TemporaryDirectory', forbidden)
    assert len(load_digits('mnist', tmp_path))==50


def test_two_processes_at_once(mirror, tmp_path):
    code = textwrap.dedent(f'''
        import glob, sys, time, torchvision
        torchvision.datasets.MNIST.mirrors, torchvision.datasets.MNIST.resources = [{mirror[0]!r}], {mirror[1]!r}
        from torch_moving_mnist.digits import load_digits
        open('ready' + sys.argv[1], 'w').close()
        while len(glob.glob('ready*'))<3: time.sleep(.001)
        print(len(load_digits('mnist', {str(tmp_path/'data')!r})))''')
    for r in [p.finish() for p in [processes.start(code, i, cwd=tmp_path) for i in range(3)]]: assert (r.returncode,r.stdout)==(0,'50\n'), r.stderr
    assert files(tmp_path/'data')==sorted(f'MNIST/raw/{name}' for name in FILES)


def test_emnist_is_turned_upright(tmp_path):
    raw = tmp_path/'EMNIST'/'raw'
    raw.mkdir(parents=True)
    picture = images(10_001)
    picture[:,3,20] = 9
    for part,x in (('train', picture), ('test', images(5, mark=1))):
        (raw/f'emnist-balanced-{part}-images-idx3-ubyte').write_bytes(idx(x))
        (raw/f'emnist-balanced-{part}-labels-idx1-ubyte').write_bytes(idx(np.full(len(x), 46)))
    d = load_digits('emnist', tmp_path, download=False)
    assert d.images[0,0,20,3]==9 and d.labels.tolist()==[46]


def test_qmnist_labels_are_classes(tmp_path):
    raw = tmp_path/'QMNIST'/'raw'
    raw.mkdir(parents=True)
    for part,x in (('train', images(10_001)), ('test', images(5, mark=1))):
        labels = np.tile(np.array([7,0,1,2,3,4,5,6], '>i4'), (len(x),1))
        (raw/f'qmnist-{part}-images-idx3-ubyte').write_bytes(idx(x))
        (raw/f'qmnist-{part}-labels-idx2-int').write_bytes(bytes([0,0,12,2]) + b''.join(n.to_bytes(4, 'big') for n in labels.shape) + labels.tobytes())
    d = load_digits('qmnist', tmp_path, split='valid', download=False)
    assert d.labels.unique().tolist()==[7] and len(d)==10_000


@pytest.mark.parametrize('name', [n for n in FAMILY if n!='mnist'])
def test_error_names_the_family_member(tmp_path, name):
    with pytest.raises(RuntimeError, match='holds no .*MNIST'): load_digits(name, tmp_path, download=False)


@pytest.mark.parametrize('n', [1, 6, 7, 8, 9, 100, 2940])
def test_partition_covers_everything_once(n):
    parts = [range(n)[partition(n, s)] for s in SPLITS]
    assert [i for p in parts for i in p]==list(range(n)) and len(parts[0])>=len(parts[1])>=len(parts[2])


def test_copies_stay_in_one_split(tmp_path):
    raw = tmp_path/'MNIST'/'raw'
    raw.mkdir(parents=True)
    train,test = images(10_020),images(30, mark=1)
    # Copies from the test images into both others, and from 'valid' into 'train'
    train[3],train[7],train[10_011] = test[5],train[10_012],test[6]
    train[1] = train[0]
    for name,x in (('train', train), ('t10k', test)):
        (raw/f'{name}-images-idx3-ubyte').write_bytes(idx(x))
        (raw/f'{name}-labels-idx1-ubyte').write_bytes(idx(np.arange(len(x)) % 10))
    found = {s: load_digits('mnist', tmp_path, s, download=False) for s in SPLITS}
    assert [len(o) for o in found.values()]==[18,9_999,30]
    kept = [i for i in range(20) if i not in (3,7)]
    assert np.array_equal(found['train'].images[:,0].numpy(), train[kept]) and found['train'].labels.tolist()==[i % 10 for i in kept]


def test_copies_among_your_own_images_stay_in_the_split_of_the_first():
    x = torch.arange(70, dtype=torch.uint8)[:,None,None].expand(70,5,5).clone()
    x[55],x[65],x[68] = x[0],x[0],x[51]
    found = {s: load_digits((x, torch.arange(70)), split=s) for s in SPLITS}
    assert [len(o) for o in found.values()]==[50,9,8]
    assert 55 not in found['valid'].labels and not {65,68} & set(found['test'].labels.tolist())
    contents = [{o.tobytes() for o in d.images.numpy()} for d in found.values()]
    assert sum(map(len, contents))==len(set.union(*contents))
    with pytest.raises(ValueError, match="leaves none for split='test'; expected more images that are not copies"): load_digits(torch.ones(14,5,5, dtype=torch.uint8), split='test')


def test_sequences_of_a_split_show_only_its_images(source):
    "Digits that do not move on a canvas of their own size: each frame is an image of the split, and of no other split"
    contents = {s: {o.tobytes() for o in load_digits(**{**source, 'split': s}).images.numpy()} for s in SPLITS}
    for s in SPLITS:
        still = MovingMNIST(**source, split=s, num_digits=1, num_frames=1, img_size=28, normalize=False, seed=0, affine_params=dict(angle=(0,0), translate=((0,0),(0,0)), scale=(1,1), shear=(0,0)))
        frames = {o.tobytes() for o in still.render(still.draw(500))[:,0].numpy()}
        assert frames<=contents[s] and len(frames)>150
        assert not any(frames & contents[o] for o in SPLITS if o!=s)


@pytest.mark.parametrize('classes', [3, [3], (8,3), range(2,4)])
def test_classes(classes):
    everything,some = load_digits('fonts'), load_digits('fonts', classes=classes)
    chosen = torch.isin(everything.labels, torch.tensor([classes] if isinstance(classes, int) else list(classes)))
    assert torch.equal(some.images, everything.images[chosen]) and torch.equal(some.labels, everything.labels[chosen])


@pytest.mark.parametrize('kw,error,message', [
    (dict(classes=[]), TypeError, r'classes=\[\]; expected a list of at least one label'), (dict(classes='3'), TypeError, "classes='3'"), (dict(classes=[1,10]), ValueError, r'holds 10; expected some of \[0, 1,'),
    (dict(classes=[True]), ValueError, 'holds True'), (dict(classes=[1.5]), ValueError, 'holds 1.5'), (dict(digit_size=0), ValueError, 'digit_size=0'), (dict(digit_size=(28,)), ValueError, 'digit_size='),
    (dict(digit_size=2.5), TypeError, 'digit_size=2.5')])
def test_invalid_choices_are_refused(kw, error, message):
    with pytest.raises(error, match=message): load_digits('fonts', **kw)


def test_classes_need_labels():
    with pytest.raises(ValueError, match='no labels'): load_digits(load_digits('fonts').images, classes=[1])


@pytest.mark.parametrize('size', [20, 32, 57, (40,33)])
def test_resizing_equals_pil(size):
    small = load_digits('fonts', digit_size=size)
    pair = (size,size) if isinstance(size, int) else size
    for i in (0, 700, 2099):
        pil = TF.resize(TF.to_pil_image(load_digits('fonts').images[i]), pair)
        assert (TF.pil_to_tensor(pil).int() - small.images[i].int()).abs().max()<=1


def test_no_image_in_two_splits(source):
    hashes = [{hashlib.sha256(im.numpy().tobytes()).digest() for im in load_digits(**{**source, 'split': s}).images} for s in SPLITS]
    assert not (hashes[0] & hashes[1] or hashes[0] & hashes[2] or hashes[1] & hashes[2])


@needs_mnist
def test_real_mnist():
    sizes = {s: len(load_digits('mnist', ROOT, s, download=False)) for s in SPLITS}
    assert sizes==dict(train=50_000, valid=10_000, test=10_000)
    theirs = torchvision.datasets.MNIST(ROOT, train=True)
    ours = load_digits('mnist', ROOT, 'valid', download=False)
    assert torch.equal(ours.images[:,0], theirs.data[-10_000:]) and torch.equal(ours.labels, theirs.targets[-10_000:])


def test_fonts_are_rendered_once_and_fast():
    "In one process, rendering all font digits takes less than twice the time of importing torch and torchvision"
    code = """if True:
        import time
        a = time.perf_counter()
        import torch, torchvision
        b = time.perf_counter()
        import torch_moving_mnist.digits
        c = time.perf_counter()
        torch_moving_mnist.digits.load_digits('fonts')
        print((time.perf_counter() - c)/(b - a))"""
    ratio = float(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout)
    assert ratio<2
    assert module._draw_fonts()[0] is module._draw_fonts()[0]


def test_cached_fonts_cannot_be_modified():
    load_digits('fonts').images.zero_()
    assert load_digits('fonts').images.max()==255


def test_custom_sources():
    g = torch.Generator().manual_seed(0)
    grey,colour,labels = torch.randint(256, (14,20,24), generator=g, dtype=torch.uint8), torch.randint(256, (14,3,20,24), generator=g, dtype=torch.uint8), list(range(14))
    assert torch.equal(load_digits(grey).images, grey[:10,None]) and load_digits(grey).labels is None
    assert torch.equal(load_digits(grey.numpy()).images, grey[:10,None])
    assert load_digits((colour, torch.tensor(labels)), split='test').labels.tolist()==[12,13]
    pil = [(Image.fromarray(im.numpy()), label) for im,label in zip(grey, labels)]
    assert torch.equal(load_digits(pil).images, grey[:10,None]) and load_digits(pil).labels.tolist()==labels[:10]
    floats = [(im.float()/255, label) for im,label in zip(colour, labels)]
    assert torch.equal(load_digits(floats).images, colour[:10])
    assert load_digits((grey, None)).labels is None and torch.equal(load_digits(torch.utils.data.TensorDataset(colour)).images, colour[:10])
    unlabelled = [im for im in colour]
    assert torch.equal(load_digits(unlabelled).images, colour[:10]) and load_digits(unlabelled).labels is None


@pytest.mark.parametrize('digits,error,match', [
    ('mnits', ValueError, "digits='mnits'.*Did you mean 'mnist'"), (5, TypeError, 'digits=5'), ({}, TypeError, 'digits={}'), (None, TypeError, 'digits=None'),
    (torch.zeros(3,28,28), TypeError, 'torch.float32; expected uint8'), (torch.zeros(28,28, dtype=torch.uint8), ValueError, r'shape \(28, 28\)'),
    (torch.zeros(3,2,28,28, dtype=torch.uint8), ValueError, r'\(3, 2, 28, 28\)'), (torch.zeros(0,28,28, dtype=torch.uint8), ValueError, 'at least one image'),
    ((torch.zeros(3,28,28, dtype=torch.uint8), [1,2]), ValueError, r'shape \(2,\); expected \(3,\)'),
    ((torch.zeros(3,28,28, dtype=torch.uint8), [.1,.2,.3]), TypeError, 'expected whole numbers'),
    ([], ValueError, 'empty dataset'), ([(torch.zeros(1,4,4), 0), (torch.zeros(1,5,5), 0)], ValueError, 'images of shapes'),
    ([(torch.full((1,4,4), 7.), 0)], TypeError, r'digits\[0\] cannot be used: an image with values 7..7; expected floats in \[0,1\]'),
    ([dict(image=torch.zeros(1,4,4))], TypeError, r'digits\[0\] cannot be used.*expected an image, or an image and a whole-number label'),
    ([(torch.zeros(1,4,4), 'two')], TypeError, r'digits\[0\] cannot be used'), (torchvision.datasets.MNIST, TypeError, 'expected a name, a tensor'),
    ((torch.zeros(3,28,28, dtype=torch.uint8), torch.zeros(3,10, dtype=torch.int64)), ValueError, r'labels of digits have shape \(3, 10\)'),
    ((torch.zeros(3,28,28, dtype=torch.uint8), ['a','b','c']), TypeError, 'labels of digits cannot be used'),
], ids=lambda o: None)
def test_invalid_sources_are_refused(digits, error, match):
    with pytest.raises(error, match=match): load_digits(digits)


def test_invalid_split_and_path_are_refused():
    with pytest.raises(ValueError, match="split='val'; expected one of 'train', 'valid', 'test'. Did you mean 'valid'"): load_digits('fonts', split='val')
    with pytest.raises(TypeError, match='path=3; expected a folder'): load_digits('fonts', path=3)


def test_digits_smaller_than_usual_on_a_small_canvas():
    ds = MovingMNIST(digits=torch.full((7,4,4), 255, dtype=torch.uint8), img_size=(4,9), normalize=False, seed=0)
    assert ds[0].shape==(4,1,4,9)


@pytest.mark.parametrize('labels', [[-1]*70, [*range(69), -3]])
def test_negative_labels_are_refused(labels):
    with pytest.raises(ValueError, match='labels of digits contain -.*expected whole numbers from 0'): load_digits((torch.ones(70,8,8, dtype=torch.uint8), torch.tensor(labels)))


@pytest.mark.parametrize('dtype', [np.uint16, np.uint32, np.uint64, np.int8])
def test_labels_of_any_whole_number_dtype(dtype):
    images = np.zeros((7,5,5), np.uint8) + np.arange(7, dtype=np.uint8)[:,None,None]
    assert load_digits((images, np.arange(7).astype(dtype))).labels.tolist()==list(range(5))


class Numbered(list):
    classes = ['0 - zero','1 - one']


def test_numbered_class_names_are_not_words():
    items = Numbered([(torch.full((1,4,4), i, dtype=torch.uint8), i%2) for i in range(9)])
    assert load_digits(items).names is None
    items.classes = ['cat','dog']
    assert load_digits(items).names==('cat','dog')
