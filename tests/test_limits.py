"Values at the ends of their ranges, damaged files and unusual paths: a right result, or one error that names what was wrong"
import builtins, dataclasses, io, os, resource, stat, sys, zipfile

import numpy as np
import pytest
import torch
import torchvision.transforms as T

from torch_moving_mnist import stats as module
from torch_moving_mnist.affine import affine_matrix
from torch_moving_mnist.checks import MAX_FRAMES, MAX_MEAN, MAX_STD, MIN_STD
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import load_digits
from torch_moving_mnist.engine import render
from torch_moving_mnist.engine.reference import Backdrop, render_reference
from torch_moving_mnist.motion import MOTIONS
from torch_moving_mnist.scene import MAX_POSES, Scene
from torch_moving_mnist.utils import save_gif, show_images

IMAGES = load_digits('fonts').images
RNG = torch.Generator().manual_seed(0)


def uniform(lo, hi, *shape): return torch.rand(*shape, generator=RNG, dtype=torch.float64)*(hi-lo) + lo


def pose(angle=180, translate=30, scale=1, shear=0, n=24, size=(96,80)):
    "Matrices of n random poses, up to the given numbers; their linear parts are exactly those"
    sign = torch.randint(0, 2, (n,1,4,1), generator=RNG)*2 - 1
    shears = torch.cat([shear*sign.double(), torch.zeros(n,1,4,1, dtype=torch.float64)], -1)
    return affine_matrix(uniform(-angle, angle, n, 1, 4), uniform(-translate, translate, n, 1, 4, 2), torch.full((n,1,4), float(scale), dtype=torch.float64),
                         shears, (28,28), size)


@pytest.mark.parametrize('kw', [dict(scale=.001), dict(scale=.01), dict(scale=1000, translate=12_000), dict(scale=30, translate=400, angle=0), dict(shear=89), dict(shear=89, scale=50, translate=900),
                                dict(angle=1e6), dict(translate=1e6), dict(scale=1000, translate=1e6, shear=60)], ids=str)
@pytest.mark.parametrize('interpolation', ['bilinear','nearest'])
def test_poses_at_the_ends_of_their_ranges_are_rendered_right(kw, interpolation):
    index,matrix = torch.randint(len(IMAGES), (24,1), generator=RNG),pose(**kw)
    frames = render(IMAGES, index, matrix, (96,80), interpolation=interpolation)
    expected = render_reference(IMAGES, index, matrix, (96,80), torch.ones(24,1,4,1, dtype=torch.float64), 'max', interpolation, None)
    wrong = (frames.int() - expected.int()).abs()>1
    if interpolation=='nearest': # A sample on the border of two texels may fall on either side
        y,x = torch.meshgrid(*(torch.arange(o, dtype=torch.float64) for o in (96,80)), indexing='ij')
        at = torch.stack([x, y, torch.ones_like(x)])
        samples = torch.einsum('btij,jyx->btiyx', matrix[:,0].inverse(), at)[:,:,:2]
        wrong &= ((samples - .5) - (samples - .5).round()).abs().amin(2, keepdim=True)>1e-4*(1 + samples.abs().amin(2, keepdim=True)/100)
    assert not wrong.any()


@pytest.mark.parametrize('offset', [0, 1e6, 2**40 - 100])
def test_a_drifting_background_is_right_up_to_the_end_of_its_range(offset):
    pictures = torch.randint(0, 256, (2,3,19,23), generator=RNG).byte()
    drift = (offset + uniform(0, 90, 5, 3, 2))*torch.tensor([1,-1])
    backdrop = pictures,torch.tensor([0,1,0,1,0]),drift
    index,matrix = torch.full((5,1), -1),pose(n=5)[:,:,:3]
    frames = render(IMAGES, index, matrix, (40,30), backdrop=backdrop)
    cycles = (drift.remainder(torch.tensor([23.,19.], dtype=torch.float64)))
    expected = render_reference(IMAGES, index, matrix, (40,30), torch.ones(5,1,3,3, dtype=torch.float64), 'max', 'bilinear', Backdrop(pictures, backdrop[1], cycles))
    assert (frames.int() - expected.int()).abs().max()<=1


@pytest.mark.parametrize('mean,std', [(0,1), (-MAX_MEAN,MAX_STD), (MAX_MEAN,MIN_STD), (MAX_MEAN,1), (.5,MIN_STD), (.1,MAX_STD)])
def test_normalised_levels_can_be_told_apart_and_come_back(mean, std):
    ds = MovingMNIST(digits='fonts', normalize=(mean,std), num_frames=2, seed=0)
    batch = ds.get_batch(indices=[0,1,2])
    assert batch.isfinite().all() and torch.equal((ds.denormalize(batch)*255).round().byte(), ds[[0,1,2]])


OUT_OF_RANGE = [
    (dict(affine_params=dict(angle=(0,1e7))), 'angle='), (dict(affine_params=dict(translate=((0,1),(-2e6,0)))), 'translate y='), (dict(affine_params=dict(scale=(1e-160,1e160))), 'scale='),
    (dict(affine_params=dict(scale=(1,1e6))), 'scale='), (dict(affine_params=dict(scale=(0,1))), 'scale='), (dict(affine_params=dict(shear=(0,89.5))), 'shear='),
    (dict(affine_params=dict(angle=(0,10**400))), 'angle='), (dict(drift=(0,1e17)), 'drift='), (dict(drift=(0,1e300)), 'drift='), (dict(normalize=(1e30,1e30)), 'normalize='),
    (dict(normalize=(0,10**400)), 'normalize='), (dict(normalize=(0,1e-40)), 'normalize='), (dict(color=10**400), 'color='), (dict(color=(10**400,0,0)), 'color='), (dict(num_frames=2**20+1), 'num_frames='),
    (dict(motion='trajgru', motion_params=dict(speed=(0,1e300))), 'speed='), (dict(motion='trajgru', motion_params=dict(gain=(0,1))), 'gain='), (dict(motion='reflect', motion_params=dict(speed=10**400)), 'speed='),
    (dict(digit_size=2**15, img_size=2**15), 'digit_size='), (dict(digit_size=100, img_size=64), 'img_size=64')]

@pytest.mark.parametrize('kw,name', OUT_OF_RANGE, ids=lambda o: str(o)[:60])
def test_values_out_of_range_are_refused_by_name(kw, name):
    kw = dict(background=torch.zeros(3,40,40, dtype=torch.uint8), **kw) if 'drift' in kw else kw
    with pytest.raises((ValueError, TypeError)) as e: MovingMNIST(digits='fonts', **kw)
    assert str(e.value).startswith(name) and 'expected' in str(e.value) or name=='img_size=64' and 'smaller than the 100-pixel digits' in str(e.value)


EXTREMES = [dict(affine_params=o) for o in (dict(scale=(.001,.001), angle=(-4,4)), dict(shear=(-45,45), translate=((-1e6,1e6),)*2), dict(scale=(1000,1000)))]

@pytest.mark.parametrize('motion,kw', [(k, {}) for k,o in MOTIONS.items() if o.any_time] + [(k, o) for k in ('affine','velocity') for o in EXTREMES], ids=str)
def test_poses_are_finite_at_any_time_that_is_accepted(motion, kw):
    ds = MovingMNIST(digits='fonts', motion=motion, num_digits=2, seed=0, **kw)
    scene = ds.draw(64, times=[*([-MAX_FRAMES,-1000,-1.5] if motion!='subpixel_bounce' else []), 0, .5, 1000, MAX_FRAMES])
    for o in (scene.angle, scene.translate, scene.scale, scene.shear, scene.stretch, scene.matrix): assert o.isfinite().all()
    for times in ([MAX_FRAMES+1], [-1e9], [1e300], [10**400]):
        with pytest.raises((ValueError, TypeError), match=r'times=.*expected a list of numbers from -1,048,576 to 1,048,576'): ds.draw(2, times=times)


# Statistics

@pytest.mark.parametrize('kw', [dict(num_frames=2**20), dict(num_frames=10_000, motion='trajgru'), dict(num_frames=2**20, motion='subpixel_bounce'), dict(num_frames=10_000, motion='subpixel_bounce', motion_params=dict(speed=1000)), dict(img_size=2**15), dict(num_digits=1024),
                                dict(img_size=(2000,9000), color='random', background=torch.arange(256, dtype=torch.uint8).view(16,16).expand(3,16,16), drift=(0,3)),
                                dict(num_frames=2**20, motion=lambda rng, K, times, **_: dict(translate=rng.uniform(K, 2)[:,:,None]*times[:,None]))], ids=lambda o: str(o)[:50])
def test_measuring_needs_little_memory_whatever_the_settings(kw):
    MovingMNIST(digits='fonts', normalize='measured', num_frames=300, motion='bounce', seed=0) # What is imported and compiled does not count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stats = MovingMNIST(**dict(digits='fonts', normalize='measured', seed=0, **kw)).stats
    assert all(0<o<1 for v in stats for o in v)
    if sys.platform=='linux': assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400*2**10 # KiB; one sequence of 2²⁰ frames has 4 GiB


@pytest.mark.parametrize('kw', [{}, dict(background=torch.arange(5000).remainder(251).byte().view(1,50,100), drift=(0,2)), dict(color='random', affine_params=dict(translate=((-150,150),)*2, scale=(.5,9)))], ids=str)
def test_patches_give_the_same_statistics_as_whole_frames(monkeypatch, kw):
    ds = MovingMNIST(digits='fonts', normalize=False, img_size=(300,601), num_digits=[1,2], num_frames=5, seed=0, **kw)
    scene = ds.draw(8)
    whole = module.levels_of(ds, scene)
    assert torch.equal(whole, module.count_levels(ds.render(scene)))
    monkeypatch.setattr(module, '_LARGE', 1)
    monkeypatch.setattr(module, '_SIDE', 100)
    patches,sample = module.levels_of(ds, scene, most=10**6), module.levels_of(ds, scene, most=200)
    assert (patches - whole).abs().sum()<=200 # Some levels are rounded the other way
    assert all(o.sum(1).allclose(torch.tensor(8*5*300*601.).double()) for o in (patches, sample))
    assert np.allclose(*(module.mean_and_std(o) for o in (sample, whole)), rtol=.2)


# `denormalize`

def test_denormalize_takes_the_channels_of_the_batches():
    ds = MovingMNIST(digits='fonts', num_frames=2, seed=0)
    ds.batch_tfms = T.Compose([T.ConvertImageDtype(torch.float32), T.Lambda(lambda x: x.expand(-1,-1,3,-1,-1)), T.Normalize([.1,.2,.3], [.5,.5,.5])])
    batch = ds.get_batch(indices=[0])
    assert batch.shape[2]==3 and torch.allclose(ds.denormalize(batch), (ds[[0]]/255).expand(-1,-1,3,-1,-1), atol=1e-6)
    for shape in ((2,1,64,64), (2,2,64,64), (3,), (64,64), (4,64,3)):
        with pytest.raises(ValueError, match=r'x has shape .*expected \(…,C,H,W\), C 3'): ds.denormalize(torch.zeros(shape))
    ds.batch_tfms = lambda x: x.float()*0
    with pytest.raises(ValueError, match='batch_tfms=.*cannot be undone'): ds.denormalize(torch.zeros(1,64,64))


# Scenes

@pytest.fixture
def scene(): return MovingMNIST(digits='fonts', num_digits=[1,3], num_frames=4, motion='reflect', background=torch.zeros(3,40,40, dtype=torch.uint8), color='random', seed=0).draw(5)


def changed(scene, **kw): return Scene(**{**vars(scene), **kw})


CONVERTED = dict(digit=[torch.int32, torch.int8], angle=[torch.float16, torch.int64, torch.bfloat16], background=[torch.uint8, torch.int16], bounces=[torch.int64, torch.int8])

@pytest.mark.parametrize('name,dtype', [(k,o) for k,v in CONVERTED.items() for o in v], ids=str)
def test_fields_are_converted_where_nothing_is_lost(scene, name, dtype):
    scene = changed(scene, angle=scene.angle.round().clamp(-100, 100), digit=scene.digit.clamp(max=100))
    for value in (getattr(scene, name).to(dtype), getattr(scene, name).to(dtype).tolist()):
        again = getattr(changed(scene, **{name: value}), name)
        assert again.dtype==getattr(scene, name).dtype and torch.equal(again, getattr(scene, name))
    if dtype!=torch.bfloat16: assert torch.equal(getattr(changed(scene, **{name: getattr(scene, name).to(dtype).numpy()}), name), getattr(scene, name))


def test_a_scene_of_float32_stays_one(scene): assert changed(scene, angle=scene.angle.float()).angle.dtype==torch.float32


REFUSED = [
    ('digit', lambda o: o.double(), 'digit holds torch.float64; expected whole numbers'), ('digit', lambda o: o>0, 'digit holds torch.bool'), ('digit', lambda o: o-5, 'digit contains -[0-9]+; expected numbers from -1'),
    ('digit', lambda o: o[0], r'digit has shape \(3,\); expected \(B,K\)'), ('digit', lambda o: o[:,:0], r'digit has shape \(5, 0\); expected'), ('digit', lambda o: 'one', "digit='one'; expected whole numbers"),
    ('digit', lambda o: o.to_sparse(), 'digit holds torch.int64, torch.sparse_coo'), ('digit', lambda o: o.clamp(min=0).to(torch.uint64), 'digit holds torch.uint64'),
    ('angle', lambda o: o[...,:0], r'angle has shape \(5, 3, 0\); expected .*one frame'), ('angle', lambda o: o*float('nan'), 'angle contains nan; expected finite'), ('angle', lambda o: o.to(torch.complex64), 'angle holds torch.complex64'),
    ('angle', lambda o: o.to(torch.float8_e4m3fn), 'angle holds torch.float8'), ('angle', lambda o: [[object()]], 'angle=.*expected floats'),
    ('translate', lambda o: o[...,0], r'translate has shape \(5, 3, 4\); expected \(5, 3, 4, 2\)'), ('scale', lambda o: o + float('inf'), 'scale contains inf'), ('gain', lambda o: o.to('meta'), 'fields lie on several devices'),
    ('background', lambda o: o.double(), 'background holds torch.float64; expected whole numbers'), ('background', lambda o: o-1, 'background contains -1; expected numbers from 0'), ('background', lambda o: None, 'background and drift belong together'),
    ('drift', lambda o: o + 1e15, 'drift contains'), ('bounces', lambda o: o+16, 'bounces contains'), ('bounces', lambda o: o.double(), 'bounces holds torch.float64'), ('color', lambda o: o+1, r'color contains'),
    ('canvas_size', lambda o: (64,64,64), r'canvas_size=\(64, 64, 64\); expected \(height, width\)'), ('canvas_size', lambda o: 64, r'canvas_size=64; expected \(height, width\)'), ('canvas_size', lambda o: (64,0), 'canvas_size=0'),
    ('digit_size', lambda o: (28.5,28), 'digit_size'), ('digit_size', lambda o: 'ab', 'digit_size'), ('digits', lambda o: 5, 'digits=5; expected a checksum')]

@pytest.mark.parametrize('name,change,message', REFUSED, ids=lambda o: o if isinstance(o, str) else '')
def test_scenes_state_what_is_wrong(scene, name, change, message):
    with pytest.raises((ValueError, TypeError), match=message): changed(scene, **{name: change(getattr(scene, name))})
    with pytest.raises((ValueError, TypeError), match=message): dataclasses.replace(scene, **{name: change(getattr(scene, name))})


def test_poses_of_empty_slots_are_not_checked(scene):
    empty = (scene.digit<0)[:,:,None]
    assert empty.any() and changed(scene, angle=scene.angle.masked_fill(empty, float('nan')))


# Files

@pytest.fixture
def stored(scene, tmp_path):
    scene.save(tmp_path/'scene.npz')
    return tmp_path/'scene.npz'


def test_every_flipped_byte_is_found_or_harmless(scene, stored):
    content,found = stored.read_bytes(),0
    for i in range(0, len(content), 3):
        stored.write_bytes(content[:i] + bytes([content[i]^(1 << i % 8)]) + content[i+1:])
        try: again = Scene.load(stored)
        except ValueError as e:
            found += 1
            assert str(e).startswith(f"path={str(stored)!r} does not hold a Scene: ") or len(str(stored))>60
        else: assert all(torch.equal(o, getattr(again, k)) for k,o in vars(scene).items() if isinstance(o, torch.Tensor)), i # Times, for example
    assert found>len(content)//5


def test_cut_and_spliced_files_are_refused(stored):
    content = stored.read_bytes()
    for i in range(0, len(content), 97):
        stored.write_bytes(content[:i])
        with pytest.raises(ValueError, match='does not hold a Scene'): Scene.load(stored)
    for part in (content[100:], content[:500] + content[600:], b'\0'*len(content), content[:2000]*2):
        stored.write_bytes(part)
        with pytest.raises(ValueError, match='does not hold a Scene'): Scene.load(stored)


def archive(path, arrays, mode=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', mode) as z:
        for k,o in arrays.items(): z.writestr(f'{k}.npy', o)


def npy(o, shape=None):
    "Bytes of an array, with another shape in the header"
    f = io.BytesIO()
    np.lib.format.write_array_header_1_0(f, dict(descr=np.lib.format.dtype_to_descr(o.dtype), fortran_order=False, shape=o.shape if shape is None else shape))
    return f.getvalue() + o.tobytes()


def test_claims_that_an_archive_cannot_hold_cost_no_memory(scene, stored):
    arrays = {k: npy(np.asarray(v)) for k,v in vars(scene).items() if v is not None}
    archive(stored, arrays)
    assert torch.equal(Scene.load(stored).angle, scene.angle)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb = npy(np.zeros(0), (2**28,)) + b'\0'*2**28
    for change,fault in [(dict(angle=npy(np.zeros(1), (5,3,10**12))), 'angle is damaged: it has .*expected'), (dict(angle=bomb), 'angle'), (dict(evil=bomb), 'evil is damaged: it is no field'), (dict(angle=npy(np.array([None]))[:80]), 'angle is damaged: EOF'),
                         (dict(scale=npy(np.zeros((5,3,3)))), 'scale has shape'), (dict(digit=npy(np.zeros((5,3)))), 'digit is damaged: it holds float64'), (dict(angle=npy(np.zeros((5,3,4), '>f8'))), 'angle is damaged: it holds'),
                         (dict(digit_size=npy(np.zeros(3, np.int64))), 'digit_size is damaged: it has shape'), (dict(digits=npy(np.array('x'*1000))), 'digits is damaged: it holds'), (dict(translate=b'\x93NUMPY\x01\0' + b'('*2000), 'translate is damaged')]:
        archive(stored, {**arrays, **change})
        with pytest.raises(ValueError, match=f'does not hold a Scene.*({fault})'): Scene.load(stored)
    huge = (1, 1, MAX_POSES+1)
    archive(stored, {**arrays, **{k: npy(np.zeros(0), (1,1)) for k in ('digit',)}, 'angle': npy(np.zeros(0), huge)})
    with pytest.raises(ValueError, match='does not hold a Scene'): Scene.load(stored)
    if sys.platform=='linux': assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600*2**10 # The bomb itself is made here


def test_code_in_a_file_is_never_run(scene, stored):
    class Evil:
        def __reduce__(self): return builtins.print, ('executed',)
    f = io.BytesIO()
    np.save(f, np.array([Evil()], dtype=object), allow_pickle=True)
    archive(stored, {**{k: npy(np.asarray(v)) for k,v in vars(scene).items() if v is not None}, 'gain': f.getvalue()})
    with pytest.raises(ValueError, match='gain is damaged: it holds object'): Scene.load(stored)


def test_a_scene_that_is_too_large_for_a_file_is_not_written(scene, tmp_path):
    wide = dataclasses.replace(scene, background=None, drift=None, color=None)
    small = Scene(**{**vars(wide), **{k: getattr(wide, k)[:1].expand(MAX_POSES//12 + 1, *getattr(wide, k).shape[1:]) for k in ('digit','angle','scale','stretch','gain','bounces','translate','shear')}})
    with pytest.raises(ValueError, match='67,108,87.* poses; expected at most 67,108,864'): small.save(tmp_path/'a.npz')


WRITERS = {'scene': lambda path: MovingMNIST(digits='fonts', num_frames=2, seed=0).draw(2).save(path), 'gif': lambda path: save_gif(torch.zeros(2,8,8), path)}

@pytest.mark.skipif(os.name!='posix', reason='POSIX files')
@pytest.mark.parametrize('write', WRITERS.values(), ids=WRITERS)
def test_what_is_no_regular_file_is_not_replaced(write, tmp_path):
    path = tmp_path/'x.gif'
    os.mkfifo(path)
    with pytest.raises(ValueError, match='path=.*x.gif.* is a pipe; expected a regular file'): write(path)
    assert stat.S_ISFIFO(path.lstat().st_mode)
    with pytest.raises(ValueError, match='expected a regular file'): Scene.load(path)
    (tmp_path/'d.gif').mkdir()
    with pytest.raises(ValueError, match='is a folder; expected a regular file'): write(tmp_path/'d.gif')
    (tmp_path/'loop.gif').symlink_to('loop.gif')
    with pytest.raises(ValueError, match='is a symbolic link to itself'): write(tmp_path/'loop.gif')
    (tmp_path/'null.gif').symlink_to('/dev/full')
    with pytest.raises(ValueError, match='is a device'): write(tmp_path/'null.gif')
    assert stat.S_ISCHR(os.stat('/dev/full').st_mode)


@pytest.mark.skipif(os.name!='posix', reason='POSIX files')
@pytest.mark.parametrize('write', WRITERS.values(), ids=WRITERS)
def test_links_and_permissions_stay(write, tmp_path):
    target,link = tmp_path/'folder'/'a.gif',tmp_path/'b.gif'
    target.parent.mkdir()
    link.symlink_to(target)
    write(link) # To a file that does not exist yet
    assert link.is_symlink() and target.stat().st_size
    for mode in 0o600, 0o664:
        target.chmod(mode)
        write(link)
        assert link.is_symlink() and stat.S_IMODE(target.stat().st_mode)==mode
    write(os.fsencode(tmp_path/'bytes.gif'))
    write(tmp_path/('n'*240 + '.gif')) # The longest names have 255 bytes
    assert len(list(tmp_path.iterdir()))==4 and len(list(target.parent.iterdir()))==1


@pytest.mark.skipif(os.name!='posix' or os.geteuid()==0, reason='the superuser may write anywhere')
def test_a_file_that_must_not_be_written_to_is_kept(tmp_path):
    (tmp_path/'a.gif').write_bytes(b'kept')
    (tmp_path/'a.gif').chmod(0o400)
    with pytest.raises(PermissionError, match='a.gif'): save_gif(torch.zeros(2,8,8), tmp_path/'a.gif')
    assert (tmp_path/'a.gif').read_bytes()==b'kept'


def test_errors_of_the_system_name_the_path_that_was_given(tmp_path, monkeypatch):
    (tmp_path/'file').write_text('x')
    with pytest.raises(OSError, match='a.gif') as e: save_gif(torch.zeros(2,8,8), tmp_path/'file'/'a.gif')
    assert e.value.filename==str(tmp_path/'file'/'a.gif')
    def full(*args): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError, match='No space left on device: .*a.gif'): save_gif(torch.zeros(2,8,8), tmp_path/'a.gif')
    assert [o.name for o in tmp_path.iterdir()]==['file']


@pytest.mark.parametrize('path', ['', 'a\0.gif', b'', 5, None])
def test_names_of_files_are_checked(path):
    with pytest.raises((ValueError, TypeError), match='path='): MovingMNIST(digits='fonts', seed=0).draw(1).save(path)
    with pytest.raises((ValueError, TypeError), match='path='): save_gif(torch.zeros(2,8,8), path)


@pytest.mark.parametrize('name', ['nrows','ncols'])
def test_grids_have_at_most_a_thousand_rows_and_columns(name):
    for n in (1001, 2**70):
        with pytest.raises(ValueError, match=f'{name}=.*at most 1000'): show_images(torch.zeros(2,8,8), **{name: n})


# Long runs

def usage(): return int(open('/proc/self/statm').read().split()[1])*os.sysconf('SC_PAGE_SIZE')/2**20, len(os.listdir('/proc/self/fd'))

@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='Linux only')
def test_memory_and_descriptors_stay_flat():
    kw = dict(digits='fonts', num_frames=5, normalize=False, seed=0)
    def work(n, m):
        ds = MovingMNIST(**kw, targets=['labels','boxes','masks'])
        for _ in range(n): ds.get_batch(8)
        for _ in range(m):
            other = MovingMNIST(**kw, background=torch.zeros(3,40,40, dtype=torch.uint8), color='random')
            next(iter(other.batches(1, 4))), next(iter(other.stream(4, 1))), other.draw(4).matrix
    work(100, 10)
    memory,files = usage()
    work(500, 40)
    after = usage()
    assert after[0]-memory<40 and after[1]<=files


@pytest.mark.parametrize('kw', [dict(classes=range(10**9)), dict(classes=range(9, 10**9)), dict(color=range(10**9)), dict(normalize=range(10**9)), dict(normalize=(range(10**9), 1)), dict(num_digits=range(1, 10**9)), dict(targets=range(10**9))], ids=str)
def test_lists_without_end_are_refused_at_once(kw):
    name, = kw
    with pytest.raises((ValueError, TypeError), match=f'{name}='): MovingMNIST(digits='fonts', **kw)


def test_indices_and_times_without_end_are_refused_at_once():
    ds = MovingMNIST(digits='fonts', num_frames=2, length=10**10, seed=0)
    for call in (lambda: ds[range(10**9)], lambda: ds[:], lambda: ds.get_batch(indices=range(10**9)), lambda: ds.__getitems__(range(10**9)), lambda: ds.draw(times=range(10**9)), lambda: ds.draw(2)[range(10**9)]):
        with pytest.raises(ValueError, match='(indices|times|position).*expected.*at most'): call()


@pytest.mark.parametrize('motion', ['bounce','trajgru','affine', lambda rng, K, times, **_: dict(translate=rng.uniform(K, 2)[:,:,None]*times[:,None])])
def test_conditions_see_whole_sequences_also_when_statistics_are_measured(motion):
    seen = set()
    def where(scene): return seen.add(scene.angle.shape[2]) or scene.translate[:,0,400,0]>-1e9
    MovingMNIST(digits='fonts', num_digits=1, num_frames=500, motion=motion, normalize='measured', where=where, seed=0)
    assert seen=={500}


def test_patches_are_sampled_without_a_pattern():
    wide = (torch.arange(4096)*256//4096).byte().view(1,1,4096)
    mean,std = MovingMNIST(digits='fonts', normalize='measured', img_size=4096, num_digits=1, background=wide, seed=0).stats
    assert abs(mean[0]-.5)<.015 and abs(std[0]-.29)<.01


def test_scenes_with_gradients_render():
    ds = MovingMNIST(digits='fonts', num_frames=2, seed=0)
    scene = ds.draw(2)
    for k in ('angle','translate','gain'): assert torch.equal(ds.render(changed(scene, **{k: getattr(scene, k).clone().requires_grad_()})), ds.render(scene))


def test_empty_selections_print_and_long_checksums_are_refused(scene):
    assert 'Scene(0 sequences' in repr(scene[[]])
    with pytest.raises(TypeError, match='digits=.*at most 64'): changed(scene, digits='x'*65)


def test_a_compressible_scene_comes_back(tmp_path):
    ds = MovingMNIST(digits='fonts', motion='reflect', num_frames=20, num_digits=2, seed=0)
    scene = ds.draw(60_000)
    scene.save(tmp_path/'a.npz')
    assert torch.equal(Scene.load(tmp_path/'a.npz').translate, scene.translate)


@pytest.mark.parametrize('mode', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused_before_they_are_read(scene, stored, mode):
    archive(stored, {k: npy(np.asarray(v)) for k,v in vars(scene).items() if v is not None}, mode)
    with pytest.raises(ValueError, match='digit is damaged: it is not compressed as NumPy does it'): Scene.load(stored)


PIXELWISE = T.Compose([T.ConvertImageDtype(torch.float32), T.Normalize(torch.linspace(.1,.5,4096).view(1,64,64), torch.full((1,64,64), .3))])

@pytest.mark.parametrize('tfms', [PIXELWISE, lambda x: (x/255)**2, lambda x: x/255 + torch.rand(x.shape)], ids=['pixelwise','square','noise'])
def test_transforms_that_are_no_straight_line_cannot_be_undone(tfms):
    ds = MovingMNIST(digits='fonts', num_frames=2, seed=0)
    ds.batch_tfms = tfms
    with pytest.raises(ValueError, match='batch_tfms=.*cannot be undone'): ds.denormalize(torch.zeros(1,64,64))


def test_home_folders_are_expanded_on_the_way_back(scene, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    scene.save('~/a.npz')
    assert torch.equal(Scene.load('~/a.npz').angle, scene.angle)
    with pytest.raises(ValueError, match='is a folder'): scene.save(str(tmp_path/'new') + os.sep)
