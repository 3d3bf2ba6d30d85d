"""Every public call with right, borderline and absurd arguments

`python tests/fuzz.py 10000` runs so many cases and prints how often each call had which outcome. The suite runs a smaller number.
A case is right if it returns a result that passes the checks below, or raises an error that names one of the parameters.
"""
import collections, contextlib, inspect, io, math, os, pickle, sys, tempfile, warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from torch import Tensor

from torch_moving_mnist import truth, utils
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.engine.reference import Backdrop, expand_gain, render_reference
from torch_moving_mnist.files import load, verify
from torch_moving_mnist.metrics import CONVENTIONS, baselines, compare, evaluate, score, ssim
from torch_moving_mnist.motion import MOTIONS
from torch_moving_mnist.presets import PRESETS
from torch_moving_mnist.scene import Scene

COUNTS = collections.Counter() # (call, outcome) → cases

# What is wrong nearly everywhere, or only just right
ABSURD = [None, True, False, -1, 0, 1, 3, 2**15, 2**15+1, 2**31, 2**63-1, 2**63, 2**64, 10**400, -10**400, .5, -0., 1e-320, 1e308, math.nan, math.inf, -math.inf, 1j, '', 'a', 'max', '\0', '𝕏'*1000, b'x', (), [], {}, set(),
          (1,), (1,2), (2,1), [0,0], (1,2,3), (1e308,-1e308), (math.nan,1), ['a'], [None], [True], {'angle': 3}, {3: 'a', 'b': 4}, object(), len, int, range(3), range(10**9), iter([1]), Exception('x'), slice(None),
          torch.zeros(0), torch.zeros(2,2), torch.tensor(3), torch.tensor([1,2]), torch.tensor([-1,7]), torch.zeros(2,3,4, dtype=torch.uint8), torch.zeros(2,dtype=torch.bool), torch.full((1,1,28,28), math.nan), torch.zeros(3, device='meta'),
          torch.zeros(2, dtype=torch.complex64), torch.zeros(2, requires_grad=True), np.array('x'), np.zeros(3), np.array([2**64-1], np.uint64), np.int8(5), np.float16(2), np.array([object()]), np.ma.array([1,2]), torch.device('cpu'), os]

def floats(lo, hi): return st.floats(lo, hi, allow_nan=False)
def ranges(lo, hi): return st.tuples(floats(lo, hi), floats(lo, hi)).map(lambda o: tuple(sorted(o)))
def some(**kinds): return st.fixed_dictionaries({}, optional=kinds)

def moves(rng, K, times, **_): return dict(translate=(rng.uniform(K, 2)*9)[:,:,None]*times[:,None]/5)
def darkens(frames, rng): return frames//2
def accepts(scene): return scene.digit[:,0]%3>0
def bytes_of(*shape): return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.uint8)

IMAGES = st.tuples(st.integers(7, 20), st.sampled_from([1,3]), st.integers(1, 30), st.integers(1, 30)).map(lambda o: bytes_of(*o))
AFFINE = some(angle=ranges(-1e6, 1e6), translate=st.tuples(ranges(-99, 99), ranges(-1e6, 1e6)), scale=st.one_of(ranges(.001, 1000), ranges(.5, 2)), shear=ranges(-89, 89))
SPEEDS = st.one_of(st.none(), st.fixed_dictionaries(dict(speed=st.one_of(floats(0, 1), st.integers(1, 1000), ranges(0, 1e6)))))
TARGETS = st.lists(st.sampled_from([*truth.TARGETS]), max_size=4, unique=True)
NUMBERS = st.one_of(st.integers(-5, 5), st.lists(st.integers(-5, 5), min_size=1, max_size=4), st.builds(slice, st.integers(-9, 3), st.integers(-3, 9)), st.lists(st.integers(0, 6), min_size=1, max_size=4).map(torch.tensor))
SEQUENCES = st.one_of(st.none(), st.lists(st.integers(-5, 5), min_size=1, max_size=4))
FRAMES = st.one_of(st.integers(1, 4).map(lambda n: bytes_of(n,1,9,8)), st.just(bytes_of(2,3,3,9,8)), st.just([bytes_of(3,8,8)/255]*2), st.just(torch.full((2,1,4,4), math.nan)), st.just(bytes_of(0,1,9,8)))

# Right values of each parameter, by name
GOOD = dict(
    path=st.just('.'), affine_params=st.one_of(AFFINE, st.just(MovingMNIST.__init__.__defaults__[1])), num_digits=st.one_of(st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=3)),
    num_frames=st.integers(1, 6), img_size=st.one_of(st.integers(30, 80), st.tuples(st.integers(30, 70), st.integers(30, 70))), concat=st.booleans(),
    normalize=st.one_of(st.booleans(), st.just('measured'), st.tuples(floats(-1000, 1000), floats(1e-12, 1e6))), digits=st.one_of(st.just('fonts'), IMAGES, IMAGES.map(lambda o: (o, torch.arange(len(o))%3))),
    classes=st.one_of(st.none(), st.lists(st.integers(0, 2), min_size=1, max_size=3)), digit_size=st.one_of(st.none(), st.integers(1, 30), st.tuples(st.integers(1, 30), st.integers(1, 30))),
    split=st.sampled_from(['train','valid','test']), motion=st.sampled_from([*MOTIONS, moves]), motion_params=SPEEDS,
    color=st.one_of(st.none(), st.just('random'), st.tuples(*[floats(0, 1)]*3), st.lists(st.tuples(*[floats(0, 1)]*3), min_size=1, max_size=3)),
    background=st.one_of(st.none(), IMAGES.filter(lambda o: True), st.just(bytes_of(9,9))), drift=st.one_of(st.just((0,0)), ranges(0, 1e6)), where=st.sampled_from([None, None, accepts]),
    corrupt=st.sampled_from([None, 'noise', 'missing', 'hole', 'blur', darkens]), corrupt_params=some(frames=st.tuples(st.integers(0, 3), st.integers(4, 9)), std=floats(0, 10), size=st.integers(1, 99)),
    composite=st.sampled_from(['max','sum','over','opaque']), interpolation=st.sampled_from(['bilinear','nearest']), targets=TARGETS, seed=st.one_of(st.none(), st.integers(0, 2**64-1)), length=st.one_of(st.none(), st.integers(1, 2**63-1)),
    transform=st.none(), device=st.just('cpu'), download=st.just(False), bs=st.integers(1, 5), indices=SEQUENCES, i=NUMBERS, times=st.one_of(st.none(), st.lists(floats(-2**20, 2**20), min_size=1, max_size=4)),
    n=st.integers(1, 3), prefetch=st.integers(0, 3), clamp=st.booleans(), name=st.sampled_from([o for o in PRESETS]), stats=st.one_of(st.none(), st.tuples(floats(-1000, 1000), floats(1e-12, 1e6))),
    frames=FRAMES, ims=FRAMES, im=st.one_of(st.just(bytes_of(8,9)), st.just(bytes_of(3,8,9)/255)), nrows=st.integers(1, 3), ncols=st.one_of(st.none(), st.integers(1, 4)), titles=st.none(), figsize=st.one_of(st.none(), st.tuples(floats(1, 3), floats(1, 3))),
    fps=floats(.1, 50), zoom=st.integers(1, 3), ax=st.none(), non_blocking=st.booleans(), fname=st.sampled_from(['a.npy','a.npz','a.pt','a.gif','a.mkv','folder']), n_batches=st.integers(1, 2),
    layout=st.sampled_from([None,'npz','npy','predrnn','srvp']), format=st.sampled_from([None,'npy','tar']), shards=st.one_of(st.none(), st.integers(1, 3)), overwrite=st.booleans(),
    convention=st.sampled_from([*CONVENTIONS]), context=st.integers(1, 3), samples=st.integers(1, 2), progress=st.just(False), window=st.sampled_from(['gaussian','uniform']), data_range=floats(.1, 255))

OTHER_NAMES = dict( # Words by which a message may name a parameter
    affine_params=['angle','translate','scale','shear'], motion_params=['speed','margin','gain','angle','scale','stochastic','noise','noisy_frames'], corrupt_params=['std','probability','size','sigma','frames','corrupt'], i=['index','indices'], indices=['index'], img_size=['canvas_size','digits'], digits=['labels','images'],
    background=['picture'], x=['x has','x is'], prefetch=['prefetch'], num_digits=['num_digits'], where=['condition','where'], normalize=['normalize'], name=['name'], kwargs=['kwargs'], n=['n='], scene=['scene','digit','index'])


def arguments(data, f, names=None, absurd=None):
    "Arguments for a call from its signature: right ones for some parameters, and an absurd one for `absurd` of them"
    names = names or [k for k,o in inspect.signature(f).parameters.items() if o.kind in (o.POSITIONAL_OR_KEYWORD, o.KEYWORD_ONLY) and k!='self' and k in GOOD]
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True, max_size=7))
    kw = {k: data.draw(GOOD[k], label=k) for k in chosen}
    for k in data.draw(st.lists(st.sampled_from(names), unique=True, max_size=data.draw(st.integers(0, 1)) if absurd is None else absurd)):
        kw[k] = data.draw(st.sampled_from(ABSURD).filter(lambda o: not callable(o) or k not in ('where','motion','transform','corrupt')), label=f'absurd {k}') # A function's own errors are its own
    return kw


def attempt(call, f, names, check=lambda o: None):
    "Run a call, count its outcome, and raise where it is neither right nor an error that names a parameter"
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            result = f()
    except (ValueError, TypeError, IndexError, AttributeError, OSError, RuntimeError) as e:
        words = [w for k in names for w in (k, *OTHER_NAMES.get(k, []))]
        named = any(w in str(e) for w in words) or isinstance(e, OSError) and e.filename is not None
        if type(e) in (RuntimeError, AttributeError) or not named: raise
        COUNTS[call,'refused'] += 1
        assert len(str(e))<5000 and '\n' not in str(e), str(e)
        return None
    check(result)
    COUNTS[call,'result'] += 1
    return result


def new_dataset(data, absurd=None):
    kw = {'digits': 'fonts', **arguments(data, MovingMNIST.__init__, absurd=absurd)}
    return attempt('MovingMNIST', lambda: MovingMNIST(**kw), kw)


def is_small(ds): return ds.num_frames*math.prod(ds.canvas_size)*max(ds.num_digits)<2e6

def check_frames(ds, frames, scene=None, dtype=torch.uint8):
    assert isinstance(frames, Tensor) and frames.dtype==dtype and frames.shape[-3:]==(ds.channels,*ds.canvas_size), (frames.dtype, frames.shape)
    if scene is None: return
    assert frames.isfinite().all()
    if frames.numel()>3e5 or ds.interpolation=='nearest' or scene.matrix[...,:2,:2].nan_to_num().abs().max()>1e6: return # At 'velocity', digits grow without limit
    pictures = None if scene.background is None else Backdrop(ds.pictures, scene.background, scene.drift.remainder(torch.tensor([*ds.pictures.shape[:-3:-1]], dtype=torch.float64)))
    gain = expand_gain(scene.channel_gain, ds.digits.images, pictures)
    expected = render_reference(ds.digits.images, scene.digit, scene.matrix, ds.canvas_size, gain, ds.composite, ds.interpolation, pictures)
    most = (frames.int() - expected.int()).abs().max()
    assert most<=1, f'{most} levels {ds} {vars(ds)} {scene}'

def check_target(ds, target, B, names):
    assert set(names)<=set(target)
    for k,o in target.items():
        if isinstance(o, Tensor): assert len(o)==B and (not o.is_floating_point() or k=='pose' or o.isfinite().all()), k

def check_pair(ds, o, B, dtype=torch.uint8):
    frames,target = o if ds.targets else (o, {})
    check_frames(ds, frames, dtype=dtype)
    assert len(frames)==B and frames.isfinite().all()
    check_target(ds, target, B, ds.targets)


# Calls

def draw(data, ds):
    kw = arguments(data, ds.draw)
    def check(o): assert isinstance(o, Scene) and o.matrix.isfinite()[o.digit>=0].all() and (o.digit<len(ds.digits)).all()
    scene = attempt('draw', lambda: ds.draw(**kw), ['bs', *kw], check)
    if scene is not None and scene.angle.numel()<1e5 and is_small(ds):
        attempt('render', lambda: ds.render(scene), [], lambda o: check_frames(ds, o, scene))
        stats = data.draw(st.one_of(GOOD['stats'], st.sampled_from(ABSURD)))
        attempt('render', lambda: ds.render(scene, stats), ['stats'], lambda o: check_frames(ds, o, dtype=torch.uint8 if stats is None else torch.float32))
        names = data.draw(st.one_of(TARGETS, st.sampled_from(ABSURD)))
        attempt('truth', lambda: ds.truth(scene, names), ['targets','motion','labels','backdrop','composite'], lambda o: check_target(ds, o, len(scene), ds.targets if names is None else [names] if isinstance(names, str) else names))

def draw_absurd(data, ds):
    x = data.draw(st.sampled_from(ABSURD))
    for call in 'render','truth': attempt(call, lambda: getattr(ds, call)(x), ['scene'])

def items(data, ds):
    if not is_small(ds): return
    i = data.draw(st.one_of(NUMBERS, st.sampled_from(ABSURD)))
    attempt('__getitem__', lambda: ds[i], ['i'])
    i = data.draw(st.one_of(st.lists(st.integers(-4, 6), min_size=1, max_size=4), st.sampled_from(ABSURD)))
    attempt('__getitems__', lambda: ds.__getitems__(i), ['i'], lambda o: [] if isinstance(o, list) else 1/0)

def get_batch(data, ds):
    if not is_small(ds): return
    kw = arguments(data, ds.get_batch)
    if isinstance(kw.get('bs'), int) and kw['bs']>99: return
    n = len(kw['indices']) if isinstance(kw.get('indices'), list) else None
    attempt('get_batch', lambda: ds.get_batch(**kw), ['bs', *kw], lambda o: check_pair(ds, o, n, torch.float32) if n else None)

def batches(data, ds):
    if not is_small(ds): return
    kw = {'bs': 2, **arguments(data, ds.batches)}
    if not isinstance(kw['bs'], int) or kw['bs']<99:
        def run():
            with contextlib.closing(ds.batches(**kw)) as it: return next(it, None), it.state_dict()
        attempt('batches', run, kw)
    kw = {'bs': 2, **arguments(data, ds.stream)}
    if not isinstance(kw['bs'], int) or kw['bs']<99: attempt('stream', lambda: next(iter(ds.stream(**kw))), kw)
    state = data.draw(st.one_of(st.sampled_from(ABSURD), st.fixed_dictionaries(dict(batches=st.sampled_from(ABSURD), sequences=st.sampled_from(ABSURD)))))
    attempt('load_state_dict', lambda: ds.batches().load_state_dict(state), ['state'])

def denormalize(data, ds):
    x = data.draw(st.one_of(st.sampled_from([torch.rand(2,1,8,8), torch.rand(3,4,4), torch.rand(5,2,3,4,4)]), st.sampled_from(ABSURD)))
    attempt('denormalize', lambda: ds.denormalize(x), ['x'], lambda o: [] if o.shape==x.shape else 1/0)

def change(data, ds):
    name = data.draw(st.sampled_from(['num_frames','num_digits','concat','color','drift','where','composite','interpolation','targets','seed','length','transform','affine_params','motion_params','normalize','digits','num_frame']))
    value = data.draw(st.sampled_from(ABSURD).filter(lambda o: not callable(o)) if name in ('normalize','digits','num_frame') else st.one_of(GOOD[name], st.sampled_from(ABSURD)))
    before = dict(vars(ds))
    try: attempt('setattr', lambda: setattr(ds, name, value), [name])
    except AttributeError as e:
        assert name in str(e)
        COUNTS['setattr','refused'] += 1
    if COUNTS and name in ('normalize','digits','num_frame'): assert vars(ds).keys()==before.keys()

def recipes(data, ds):
    recipe = attempt('recipe', lambda: ds.recipe, [])
    given = dict(digits=(ds.digits.images, ds.digits.labels)) if ds.digits.name=='custom' else {}
    for name in 'motion','where':
        if callable(getattr(ds, name)): given[name] = getattr(ds, name)
    if ds.pictures is not None: given['background'] = ds.pictures
    kind = data.draw(st.integers(0, 2))
    if kind==0 and (ds.digits.name!='custom') and is_small(ds):
        again = attempt('from_recipe', lambda: MovingMNIST.from_recipe(recipe, **given), [])
        assert again.fingerprint==ds.fingerprint and (ds.seed is None or torch.equal(again.draw(indices=[0]).angle, ds.draw(indices=[0]).angle))
    if kind==1:
        key,value = data.draw(st.sampled_from([*recipe])),data.draw(st.sampled_from(ABSURD))
        if value is not None: attempt('from_recipe', lambda: MovingMNIST.from_recipe({**recipe, key: value}, **given), [key, 'recipe', 'digits', 'split', *OTHER_NAMES.get(key, []), 'motion', 'background', 'classes', 'color', 'drift', 'normalize', 'targets', 'affine_params', 'motion_params'])
    if kind==2:
        value = data.draw(st.sampled_from(ABSURD))
        attempt('from_recipe', lambda: MovingMNIST.from_recipe(value), ['recipe'])

def scenes(data, ds):
    scene = ds.draw(3) if is_small(ds) else None
    if scene is None: return
    key,value = data.draw(st.sampled_from([*vars(scene)])),data.draw(st.sampled_from(ABSURD))
    def check(o): attempt('render', lambda: ds.render(o), ['scene','digit','index','background','backdrop'])
    attempt('Scene', lambda: Scene(**{**vars(scene), key: value}), [key, 'background', 'drift', 'fields', 'stretch', 'bounces', 'scale', 'angle'], lambda o: check(o) if o.canvas_size==ds.canvas_size else None)
    attempt('scene[i]', lambda: scene[data.draw(st.one_of(NUMBERS, st.just(0)))], ['position'])
    assert len(pickle.loads(pickle.dumps(scene)))==3

def presets(data, ds):
    kw = {'digits': 'fonts', **arguments(data, MovingMNIST.__init__)}
    name = data.draw(st.one_of(GOOD['name'], st.sampled_from(ABSURD)))
    attempt('preset', lambda: MovingMNIST.preset(name, **kw), ['name','motion_params','motion', 'canvas', *kw])

def files(data, ds):
    "A Scene's file with one region flipped, cut, repeated or replaced"
    if ds.num_frames>50: return
    scene = ds.draw(data.draw(st.integers(1, 3)))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'scene.npz')
        scene.save(path)
        with open(path, 'rb') as f: content = f.read()
        a,b = sorted(int(o*len(content)) for o in data.draw(st.tuples(*[floats(0, 1)]*2)))
        way = data.draw(st.sampled_from(['flip','cut','repeat','zero','foreign','whole']))
        changed = dict(flip=content[:a] + bytes([content[min(a, len(content)-1)] ^ (1 << b % 8)]) + content[a+1:], cut=content[:a] + content[b:], repeat=content[:b] + content[a:],
                       zero=content[:a] + bytes(b-a) + content[b:], foreign=content[:a] + bytes((7*i*i) % 251 for i in range(b-a)) + content[b:], whole=content)[way]
        with open(path, 'wb') as f: f.write(changed)
        def check(o):
            for k,v in vars(scene).items(): assert not isinstance(v, Tensor) or torch.equal(v, getattr(o, k)), k
        again = attempt('load', lambda: Scene.load(path), ['path'], check)
        assert way!='whole' or again is not None
    value = data.draw(st.sampled_from(ABSURD))
    if not isinstance(value, (bool, int)): attempt('load', lambda: Scene.load(value), ['path','directory','file'])

def saving(data, ds):
    "A file or folder is written, found whole, opened, and has the dataset's own sequences"
    if not is_small(ds) or ds.num_frames>50 or ds.transform is not None: return
    kw = {k: o for k,o in arguments(data, MovingMNIST.save).items() if k not in ('workers','progress')}
    fname = kw.pop('fname', 'a.npz')
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, fname) if isinstance(fname, str) and fname and len(fname)<99 and '\0' not in fname else fname
        def check(_):
            found = verify(path, against=ds if ds.seed is not None else None)
            assert found==[] or path.endswith('.pt') and 'read it with torch.load' in found[0], found
            if found: return
            again,i = load(path), 0
            if ds.seed is not None and not path.endswith('.mp4') and not (path.endswith('.gif') and ds.channels>1):
                frames = again[i][0] if isinstance(again[i], tuple) else again[i]
                own = ds.corrupted(ds.render(ds.draw(indices=[i])), [i])[0]
                assert torch.equal(torch.stack([*frames]), own)
        attempt('save', lambda: ds.save(path, progress=False, **kw), ['fname', 'targets', 'layout', 'n', 'length', 'num_frames', 'num_digits', 'batch_tfms', 'composite', 'background', 'digits', *kw], check)

def pictures(data, ds):
    for f in utils.show_images, utils.show_image, utils.animate:
        kw = arguments(data, f)
        first = [*inspect.signature(f).parameters][0]
        kw.setdefault(first, data.draw(GOOD[first]))
        if f is utils.show_images and not (isinstance(kw.get('nrows', 1), int) and kw.get('nrows', 1)<9 and isinstance(kw.get('ncols', 1), (int, type(None))) and (kw.get('ncols') or 1)<9): kw.pop('nrows', None), kw.pop('ncols', None)
        kw = {k: o for k,o in kw.items() if k not in ('figsize','ax') or not any(o is a for a in ABSURD)} # Matplotlib's own parameters
        attempt(f.__name__, lambda: f(**kw), [*kw, 'im', 'images', 'ims', 'frames'])
    plt.close('all')
    x,fps = data.draw(FRAMES),data.draw(st.one_of(GOOD['fps'], st.sampled_from(ABSURD)))
    with tempfile.TemporaryDirectory() as folder:
        name = data.draw(st.sampled_from(['a.gif','b.GIF','c.png','','d/e.gif','\0.gif','.gif']))
        attempt('save_gif', lambda: utils.save_gif(x, os.path.join(folder, name) if name else name, fps), ['path','fps','frames'])
    seed = data.draw(st.sampled_from(ABSURD))
    with torch.random.fork_rng():
        attempt('set_seed', lambda: utils.set_seed(seed), ['seed'])

def ground_truth(data, ds):
    if not is_small(ds) or not ds.digits.labels is not None: return
    target = ds.truth(ds.draw(2), ['labels','boxes','masks'])
    key,value = data.draw(st.sampled_from([*target])),data.draw(st.one_of(st.none(), st.sampled_from(ABSURD)))
    attempt('per_frame', lambda: truth.per_frame(target), [], lambda o: [] if len(o)==2*ds.num_frames else 1/0)
    sample = truth.as_sample(target, 0, ds.canvas_size)
    bad = {**sample, key: value} if data.draw(st.booleans()) else sample
    if ds.num_frames<5: attempt('show_truth', lambda: truth.show_truth(ds.render(ds.draw(1))[0], bad), ['target','frames'])
    attempt('viewer', lambda: truth.viewer(ds.render(ds.draw(1))[0], bad), ['target','frames'], lambda o: [] if '</html>' in o.page else 1/0)
    plt.close('all')

def scores(data, ds):
    true = torch.rand(data.draw(st.sampled_from([(1,1,1,11,11), (2,3,1,12,15), (1,2,3,16,11), (3,2,1,9,12)])), generator=torch.Generator().manual_seed(0))
    pred = data.draw(st.one_of(st.sampled_from([true, true*1.5 - .2, torch.zeros_like(true), true.double(), true[None].expand(2,-1,-1,-1,-1,-1), true*math.nan, true[:,:,:,:5]]), st.sampled_from(ABSURD)))
    if data.draw(st.booleans()): pred,true = true,pred
    def check(o):
        assert all(len(x)==true.shape[1] for x in o['per_frame'].values()) and all(math.isfinite(o[k]) for k in ('mse','mae','ssim')) and o['ssim']<=1 + 1e-9
    convention = data.draw(st.one_of(GOOD['convention'], st.sampled_from(ABSURD)))
    attempt('score', lambda: score(pred, true, convention), ['pred','true','convention'], check)
    attempt('compare', lambda: compare(pred, true), ['pred','true'], lambda o: [check(row) for row in o.values()])
    kw = arguments(data, ssim)
    attempt('ssim', lambda: ssim(pred, true, **kw), ['pred','true',*kw])
    if not is_small(ds) or ds.num_frames>9 or max(ds.canvas_size)>99: return
    if ds.seed is None and data.draw(st.booleans()): ds.seed = 3
    kw = {'n': 2, **arguments(data, evaluate), 'progress': False}
    if kw['n'] is None or isinstance(kw['n'], int) and kw['n']>9: kw['n'] = 2
    if isinstance(kw.get('samples'), int) and kw['samples']>9: kw['samples'] = 2
    noise = data.draw(floats(0, 2))
    def predict(seen): return seen[:,-1:].expand(-1, ds.num_frames-seen.shape[1], -1, -1, -1)*noise
    attempt('evaluate', lambda: evaluate(predict, ds, **kw), ['ds','pred',*kw], lambda o: [repr(o), o.to_dict()])
    attempt('baselines', lambda: baselines(ds, [0], kw.get('context')), ['ds','context'], lambda o: [] if all(x.shape==o['black'].shape for x in o.values()) else 1/0)

CALLS = draw, draw_absurd, items, get_batch, batches, denormalize, change, recipes, scenes, presets, files, saving, pictures, ground_truth, scores


def case(data):
    torch.manual_seed(0)
    ds = new_dataset(data)
    if ds is None: ds = new_dataset(data, 0)
    if ds is None: return
    repr(ds), len(ds)
    data.draw(st.sampled_from(CALLS))(data, ds)


def run(n, derandomize=False):
    "Run n cases; hypothesis reports the smallest failing one"
    COUNTS.clear()
    @settings(max_examples=n, deadline=None, derandomize=derandomize, database=None, suppress_health_check=[*HealthCheck], report_multiple_bugs=False, phases=[Phase.generate, Phase.shrink])
    @given(st.data())
    def test(data): case(data)
    test()
    return COUNTS


def table(counts):
    rows = sorted({call for call,_ in counts})
    return '\n'.join(f"{call:<18}{counts[call,'result']:>8} results{counts[call,'refused']:>8} refused" for call in rows) + f'\n{sum(counts.values()):,} calls'


if __name__=='__main__':
    with contextlib.suppress(ImportError, ValueError): # A call that needs memory without bound fails before it takes the machine's
        import resource
        resource.setrlimit(resource.RLIMIT_DATA, (5*2**30,)*2)
    torch.set_printoptions(threshold=3)
    print(table(run(int(sys.argv[1]) if len(sys.argv)>1 else 1000)))
