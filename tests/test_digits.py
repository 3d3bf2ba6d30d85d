"Splits, sources, and downloads that fail, stop halfway, or run twice at the same time"
import functools, gzip, hashlib, http.server, importlib.util, json, math, os, re, subprocess, sys, textwrap, threading, warnings
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
from torch_moving_mnist.digits import FAMILY, SPLITS, checksum, load_digits, partition


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


def test_fonts_need_no_matplotlib_and_are_read_once():
    code = """if True:
        import sys
        sys.modules['matplotlib'] = None # So that importing it fails
        import torch_moving_mnist.digits as digits
        print(len(digits.load_digits('fonts').images), digits._read_fonts()[0] is digits._read_fonts()[0])"""
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.split()==['2100','True']


def test_the_sheet_of_fonts_is_what_the_script_draws():
    "Its outlines differ a little between versions of matplotlib, which is why the sheet is a file"
    import matplotlib
    spec = importlib.util.spec_from_file_location('draw_fonts', Path(__file__).parent.parent/'tools'/'draw_fonts.py')
    spec.loader.exec_module(tool := importlib.util.module_from_spec(spec))
    square = lambda x,y,r: np.array([[x-r,y-r],[x+r,y-r],[x+r,y+r],[x-r,y+r],[x-r,y-r]])
    assert np.allclose(tool.centre_of_mass([square(2,2,2), square(1,2,1)[::-1]]), [28/12,2]) # A square of area 16 with a hole of area 4
    assert tool.PLASTIC**4==pytest.approx(tool.PLASTIC + 1, abs=1e-12)
    if not (Path(matplotlib.get_data_path())/'fonts'/'ttf'/'cmti10.ttf').exists(): pytest.skip('matplotlib before 3.11 lacks a typeface')
    sheet = torch.from_numpy(tool.draw_sheet()).int()
    drawn = torch.stack([o for row in sheet.split(28) for o in row.split(28, 1)])
    difference = (drawn - module._read_fonts()[0][:,0].int()).abs()
    assert difference.max()<=8 and difference.float().mean()<.01


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


SHAPES = 'square','ellipse','heart','triangle','star'


def polygon(corners):
    "Whether a point is inside a polygon, given by its corners in order: the number of sides to its right is odd"
    def inside(x, y):
        odd = False
        for (a,b),(c,d) in zip(corners, corners[1:] + corners[:1]): odd ^= (b>y)!=(d>y) and x<a + (y-b)*(c-a)/(d-b)
        return odd
    return inside


def corners(n, radius, inner=None):
    "Corners of a regular polygon, the first above the centre; with an inner radius, a star's"
    radii = [radius] if inner is None else [radius, inner]
    count = n*len(radii)
    return [(radii[i % len(radii)]*math.sin(2*math.pi*i/count), -radii[i % len(radii)]*math.cos(2*math.pi*i/count)) for i in range(count)]


def heart(x, y):
    "A unit square on its corner and two half discs, with the centre of mass at 0"
    u,v = (x-y)/2**.5 + (math.pi/2 + 2/3)/(8 + 2*math.pi),(-x-y)/2**.5 + (math.pi/2 + 2/3)/(8 + 2*math.pi)
    return max(abs(u), abs(v))<.5 or math.hypot(u-.5, v)<.5 or math.hypot(u, v-.5)<.5


TRIANGLE,STAR = corners(3, 1),corners(5, 1, math.cos(math.radians(72))/math.cos(math.radians(36)))
INSIDE = dict( # Each shape anew, of any size, with its area
    square=(lambda x, y, ratio: max(abs(x), abs(y))<.5, lambda ratio: 1),
    ellipse=(lambda x, y, ratio: math.hypot(x, y/ratio)<1, lambda ratio: math.pi*ratio),
    heart=(lambda x, y, ratio: heart(x, y), lambda ratio: 1 + math.pi/4),
    triangle=(lambda x, y, ratio: polygon(TRIANGLE)(x, y), lambda ratio: 3*3**.5/4),
    star=(lambda x, y, ratio: polygon(STAR)(x, y), lambda ratio: abs(sum(a*d - b*c for (a,b),(c,d) in zip(STAR, STAR[1:] + STAR[:1])))/2))


def brute_force(name, size, ratio, turn, n=12):
    "Share of each pixel that a shape covers, one pixel and one point at a time"
    inside,area = INSIDE[name]
    cos,sin,scale = math.cos(2*math.pi*turn),math.sin(2*math.pi*turn),size/area(ratio)**.5
    out = np.zeros((28,28))
    for row in range(28):
        for col in range(28):
            for i in range(n):
                for j in range(n):
                    x,y = (col + (j+.5)/n - 14)/scale,(row + (i+.5)/n - 14)/scale
                    out[row,col] += inside(x*cos + y*sin, y*cos - x*sin, ratio)/n**2
    return out


@pytest.mark.parametrize('variant', [11, 699])
@pytest.mark.parametrize('label,name', [*enumerate(SHAPES)])
def test_shapes_cover_what_counting_points_finds(label, name, variant):
    "At tips, where two sides cross one part of a pixel, a pixel may differ by a twentieth of white"
    size,ratio,turn = module._shape_variants()[:,variant].tolist()
    drawn,counted = module._draw_shapes()[0][5*variant + label,0].double().numpy()/255,brute_force(name, size, ratio, turn)
    assert np.abs(drawn - counted).max()<.05 and np.sqrt(((drawn - counted)**2).mean())<.004
    assert abs(drawn.sum()/counted.sum() - 1)<.005 and abs(counted.sum()/size**2 - 1)<.005


def test_every_shape_has_the_area_of_its_square():
    images,labels = module._draw_shapes()
    sizes = torch.from_numpy(module._shape_variants()[0])
    for label in range(5):
        areas = images[labels==label].double().sum((1,2,3))/255
        assert (areas/sizes**2 - 1).abs().max()<.01


def test_shapes_are_drawn_the_same_where_no_pixel_is_left_out():
    "Every pixel divided into parts gives the same as the pixels near the boundary alone"
    size,ratio,turn = (o[:,None,None] for o in module._shape_variants())
    points = np.arange(28*4)/4 + .125 - 14
    cos,sin = module._unit_vectors(turn)
    for label,distance in enumerate(module._SHAPES.values()):
        for some in np.split(np.arange(700), 14):
            x,y,c,s = points/size[some],points[:,None]/size[some],cos[some],sin[some]
            parts = np.clip(.5 - 4*distance(x*c + y*s, y*c - x*s, ratio[some])*size[some], 0, 1)
            whole = np.rint(np.rint(255*parts).reshape(-1,28,4,28,4).mean((2,4)))
            assert np.array_equal(whole, module._draw_shapes()[0][5*some + label,0].numpy())


@pytest.mark.parametrize('name', SHAPES)
def test_symmetry_of_shapes(name):
    def draw(turn): return module._draw_shape(module._SHAPES[name], np.full(1, 10.7), np.full(1, .6), np.full(1, turn))[0]
    assert np.array_equal(draw(0), draw(0)[:,::-1]) and np.array_equal(draw(.07), draw(-.07)[:,::-1]) and not np.array_equal(draw(.07), draw(-.07))
    assert np.array_equal(draw(.07 + .25), np.rot90(draw(.07), -1)) # Clockwise
    n = dict(square=4, ellipse=2, heart=1, triangle=3, star=5)[name]
    def differ(a, b): return np.abs(draw(a).astype(int) - draw(b)).max()
    assert differ(.03, .03 + 1/n)<16 and differ(.03, .03 + 1/(2*n))>100
    upper,lower = draw(0)[:14].sum(),draw(0)[14:].sum()
    assert (upper==lower)==(name in ('square','ellipse'))


def test_shapes_split_evenly_with_names():
    found = {s: load_digits('shapes', split=s) for s in SPLITS}
    assert [len(o) for o in found.values()]==[2500,500,500]
    contents = [{im.tobytes() for im in o.images.numpy()} for o in found.values()]
    everything = {im.tobytes() for im in module._draw_shapes()[0].numpy()}
    assert [len(o) for o in contents]==[2500,500,500] and set.union(*contents)==everything and len(everything)==3500
    for o in found.values():
        assert o.names==SHAPES and o.labels.bincount().tolist()==[len(o)//5]*5 and o.images.dtype==torch.uint8 and o.images.shape[1:]==(1,28,28)
    for label in range(5): # Each split has small and large ones, at all angles
        for o in found.values():
            areas = o.images[o.labels==label].double().sum((1,2,3))/255
            assert areas.min()<55 and areas.max()>160
    variants = module._shape_variants()
    for some in (slice(0,500), slice(500,600), slice(600,700)):
        for row,lo,hi in zip(variants, (7,.5,0), (13,1,1)):
            assert np.histogram(row[some], 10, (lo,hi))[0].min()>=.06*len(row[some])


def test_shapes_have_the_same_bytes_on_every_machine():
    "Sines and cosines that are rounded are not close to a tie, so their last digits do not matter; the checksum is that of the images"
    assert load_digits('shapes').checksum=='e9d6302d51f781037cf9ec2a712d6a0c'
    assert checksum(*module._draw_shapes())=='7c94ccbbc10e4cd1063073a1d16f387b'
    for turns in (module._shape_variants()[2], *(np.arange(2*n)/(2*n) for n in (3,4,5))):
        for f in (np.cos, np.sin):
            x = 2**20*f(2*np.pi*turns)
            assert np.abs(x - np.floor(x) - .5).min()>1e-6
        assert all((o*2**20 % 1==0).all() for o in module._unit_vectors(turns))


def test_shapes_do_not_depend_on_threads_or_default_dtypes():
    code = """if True:
        import torch
        torch.set_num_threads(3)
        torch.set_default_dtype(torch.float64)
        from torch_moving_mnist.digits import load_digits
        print(load_digits('shapes').checksum)"""
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env={**os.environ, 'OMP_NUM_THREADS': '3'})
    assert r.stdout.strip()==load_digits('shapes').checksum


def test_cached_shapes_cannot_be_modified():
    load_digits('shapes').images.zero_()
    assert load_digits('shapes').images.max()==255 and module._draw_shapes()[0] is module._draw_shapes()[0]


def shapes(**kw): return MovingMNIST(**{**dict(digits='shapes', num_digits=[1,2,3], num_frames=5, normalize=False, seed=0), **kw})


@pytest.mark.parametrize('preset', ['canonical', 'svg', 'mmnist++'])
def test_presets_move_shapes(preset):
    ds = MovingMNIST.preset(preset, digits='shapes', seed=0, targets=['labels','caption'])
    frames,target = ds[0]
    assert frames.amax()>200 and set(target['labels'].tolist())<=set(range(-1,5)) and any(o in target['caption'] for o in SHAPES)
    assert repr(ds).count("'shapes', 2,500 train images")==1


def test_classes_and_sizes_of_shapes():
    stars = shapes(classes=[4], digit_size=40, num_digits=2, targets=['labels'])
    assert len(stars.digits)==500 and stars.digits.images.shape[2:]==(40,40) and stars.draw(50).digit.max()>100
    assert stars.get_batch(20)[1]['labels'].unique().tolist()==[4]
    resized = TF.pil_to_tensor(TF.resize(TF.to_pil_image(load_digits('shapes', classes=[4]).images[0]), (40,40)))
    assert (resized.int() - stars.digits.images[0].int()).abs().max()<=1


def test_captions_name_shapes():
    words = [shapes(classes=[k], num_digits=1, motion='reflect', color=(1,0,0), targets=['caption'])[3][1]['caption'] for k in range(5)]
    assert [o[:len(f'A red {name} ')] for o,name in zip(words, SHAPES)]==[f'A red {name} ' for name in SHAPES]
    plain = shapes(classes=[1], num_digits=1, targets=['caption'])[0][1]['caption']
    assert plain.startswith('An ellipse ')


def test_coloured_shapes_have_the_hue_of_their_colour():
    grey,red = shapes().get_batch(4),shapes(color=(1,.5,0)).get_batch(4)
    assert (red[:,:,0]-grey[:,:,0]).abs().max()<=1/255 and (red[:,:,1] - grey[:,:,0]/2).abs().max()<=1/255 and red[:,:,2].max()==0


@pytest.mark.parametrize('kw', [dict(), dict(classes=[2,4]), dict(digit_size=32, split='test', color='random')])
def test_recipes_of_shapes(kw):
    ds = shapes(**kw)
    again = MovingMNIST.from_recipe(json.loads(json.dumps(ds.recipe)))
    assert ds.recipe['digits']=='shapes' and again.fingerprint==ds.fingerprint and torch.equal(again.get_batch(4), ds.get_batch(4))
    assert len({o.fingerprint for o in (ds, shapes(), shapes(digits='fonts'))})==(3 if kw else 2)


@pytest.mark.parametrize('kw,error,message', [
    (dict(digits='shape'), ValueError, "digits='shape'; expected one of .*'fonts', 'shapes'. Did you mean 'shapes'"),
    (dict(digits='shapes', classes=[5]), ValueError, r'classes=\[5\] holds 5; expected some of \[0, 1, 2, 3, 4\]'),
    (dict(digits='shapes', classes=['star']), ValueError, r"classes=\['star'\] holds 'star'; expected some of \[0, 1, 2, 3, 4\]")])
def test_mistakes_about_shapes_are_refused(kw, error, message):
    with pytest.raises(error, match=message): load_digits(**kw)


def sorted_source(n, classes=3):
    "Images of several classes, one class after the other, and their labels"
    g = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (n*classes,1,8,8), dtype=torch.uint8, generator=g), torch.arange(classes).repeat_interleave(n)


def test_images_sorted_by_class_are_warned_of():
    images,labels = sorted_source(14)
    for split,missing in (('valid','[0, 1]'), ('test','[0, 1]')):
        with pytest.warns(UserWarning, match=re.escape(f"split={split!r} has no image of the classes {missing}")) as seen: load_digits((images, labels), split=split)
        assert seen[0].filename==__file__
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load_digits((images, labels), split='train')
        for split in ('train','valid','test'): load_digits((images[order], labels[order]), split=split)
        load_digits(sorted_source(5), split='test') # Too few to expect each class


def test_a_subset_has_the_names_of_its_dataset():
    class Folder(torch.utils.data.Dataset):
        classes = ['cold','mild','warm']
        def __len__(self): return 42
        def __getitem__(self, i):
            if i>=42: raise IndexError
            return data[0][i,0].numpy(), int(data[1][i])
    data = sorted_source(14)
    order = torch.randperm(42, generator=torch.Generator().manual_seed(1)).tolist()
    assert load_digits(torch.utils.data.Subset(torch.utils.data.Subset(Folder(), order), range(42))).names==('cold','mild','warm')


def test_a_folder_inside_that_of_the_data_is_recognised(tmp_path):
    (tmp_path/'MNIST'/'raw').mkdir(parents=True)
    for path in (tmp_path/'MNIST', tmp_path/'MNIST'/'raw'):
        with pytest.raises(RuntimeError, match=re.escape(f'Did you mean path={str(tmp_path)!r}')): load_digits('mnist', path, download=False)


def test_a_failed_download_leaves_no_folder(tmp_path, monkeypatch):
    def fail(*args): raise OSError('no network')
    monkeypatch.setattr(module, '_download', fail)
    for path in (tmp_path/'new', tmp_path):
        with pytest.raises(RuntimeError, match='could not be downloaded.*no network'): load_digits('mnist', path)
    assert list(tmp_path.iterdir())==[]


@pytest.mark.parametrize('convert', [Image.fromarray, torch.from_numpy, np.asarray], ids=['PIL','tensor','array'])
def test_lists_of_images_come_with_labels_and_names(convert):
    stack = np.random.default_rng(0).integers(1, 256, (30,9,7), dtype=np.uint8)
    images,labels = [convert(o) for o in stack],[i % 3 for i in range(30)]
    expected = load_digits((stack, np.array(labels), ['a','b','c']))
    for given in ((images, labels, ['a','b','c']), [images, torch.tensor(labels), ['a','b','c']]):
        found = load_digits(given)
        assert torch.equal(found.images, expected.images) and torch.equal(found.labels, expected.labels) and found.names==('a','b','c')
    assert torch.equal(load_digits((images, labels)).labels, expected.labels) and torch.equal(load_digits([*zip(images, labels)]).labels, expected.labels)
    assert load_digits((images, None)).labels is None
    with pytest.raises(ValueError, match=r'labels of digits have shape \(3,\); expected \(30,\), one for each image'): load_digits((images, labels[:3]))
    for wrong in ([0,'x'], [.5,1], 'ab', {}, 5.):
        with pytest.raises(TypeError, match='labels of digits .*; expected whole numbers'): load_digits((images[:2], wrong))
    with pytest.raises(ValueError, match='labels of digits contain -1'): load_digits((images[:2], [0,-1]))
    sizes = images + [Image.fromarray(np.full((5,6), 7, np.uint8))]
    with pytest.raises(ValueError, match='digits has images of shapes .* or digit_size='): load_digits((sizes, [*labels, 0]))
    assert load_digits((sizes, [*labels, 0]), digit_size=8).images.shape[1:]==(1,8,8)
