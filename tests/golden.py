"""What seeds give, collected with the public API alone.

`python tests/golden.py` writes `tests/golden.json`. `test_golden.py` compares with it. A change to that file changes what existing seeds give, and belongs in CHANGELOG.md.

Every case is a dict of three kinds of facts: `exact` (checksums of whole numbers, and text), `close` (floats, compared to 1e-6: processors differ in the last bits of
a sine), and `rough` (means over many pixels, compared to 2e-3: a level may round the other way).
"""
import hashlib, json, os, sys
from pathlib import Path

import numpy as np
import torch

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.presets import PRESETS

FILE = Path(__file__).with_name('golden.json')
INDICES = [0, 1, 4321]
WHOLE = 'bounce', 'reflect', 'stochastic_bounce', 'subpixel_bounce' # Motions whose positions are whole or half pixels, and whose frames are copies
FLOATS = 'angle', 'translate', 'scale', 'shear', 'stretch', 'gain', 'color', 'drift'
PLAIN_TARGETS = ['labels','digit','count','pose','matrix','velocity','bounces','depth','boxes','modal_boxes','masks','modal_masks','instance','segmentation','visibility','overlap',
                 'flow','flow_valid','backward_flow','backward_flow_valid','layers','caption']


def shapes(n=60, side=28):
    "Images `(n,1,side,side)` and labels, from whole-number arithmetic: elliptic rings of several sizes and levels"
    y,x = np.mgrid[:side,:side]*2 - (side-1)
    images = []
    for i in range(n):
        a,b,size = 1 + i%3, 1 + i//3%4, 180 + 37*(i%11)
        r = a*y*y + b*x*x + (i%5 - 2)*x*y//2
        images.append(np.where((r<size) & (r>size//(2 + i%4)), 60 + (i*53 + 3*(x+y))%196, 0).astype(np.uint8))
    return torch.from_numpy(np.stack(images))[:,None], torch.arange(n)%10


def backgrounds():
    "Two colour images, 70×90 and not the size of any canvas"
    y,x = np.mgrid[:70,:90]
    return torch.from_numpy(np.stack([np.stack([(x*(2+c) + y*(1+i) + 31*c)%200 for c in range(3)]) for i in range(2)]).astype(np.uint8))


def checksum(x):
    a = np.ascontiguousarray(x.numpy())
    return hashlib.blake2b(f'{a.dtype.str}{a.shape}'.encode() + a.tobytes(), digest_size=8).hexdigest()


def sampled(x, most=16):
    "At most so many values, evenly spread over a tensor, and their mean"
    x = x.double().flatten()
    some = x[::max(1, -(-len(x)//most))]
    return [float(f'{o:.12g}') for o in [*some.tolist(), x.mean().item()]] if len(x) else []


def blocks(frames):
    "Means of 4 × 4 blocks of the first and the last frame, in units of white where frames are bytes"
    x = frames.double().mean(2)[:,[0,-1]]/(255 if frames.dtype==torch.uint8 else 1)
    H,W = x.shape[-2]//4*4, x.shape[-1]//4*4
    return [float(f'{o:.4f}') for o in x[...,:H,:W].unflatten(-1, (4,-1)).unflatten(-3, (4,-1)).mean((-3,-1)).flatten().tolist()]


def of_scene(scene, whole=False):
    exact = {'digit': checksum(scene.digit), 'bounces': checksum(scene.bounces)}
    if scene.background is not None: exact['background'] = checksum(scene.background)
    if whole: exact['position'] = checksum((scene.translate*2).round().long()) # In half pixels
    return dict(exact=exact, close={k: sampled(getattr(scene, k)) for k in FLOATS if getattr(scene, k) is not None} | {'matrix': sampled(scene.matrix)})


def of_dataset(ds, indices=INDICES, whole=False, times=None):
    scene = ds.draw(indices=indices, times=times)
    facts,frames = of_scene(scene, whole), ds.render(scene)
    if whole: facts['exact']['frames'] = checksum(frames)
    return {**facts, 'rough': {'frames': blocks(frames), 'batch': blocks(ds.get_batch(indices=indices))}}


def of_truth(ds, targets, whole):
    facts = dict(exact={}, close={}, rough={})
    def add(name, o):
        if isinstance(o, dict):
            for k in o: add(f'{name}.{k}', o[k])
        elif isinstance(o, list): facts['exact'][name] = o
        elif not o.is_floating_point() and (whole or o.ndim<4): facts['exact'][name] = checksum(o)
        elif whole or name.startswith(('pose','matrix','velocity')): facts['close'][name] = sampled(o)
        else: facts['rough'][name] = sampled(o.double().flatten(1).mean(1)/(255 if name in ('layers','backdrop') else 1))
    for name,o in ds.truth(ds.draw(indices=INDICES), targets).items(): add(name, o)
    return facts


def wave(rng, num_digits, times, *, canvas_size, height=10, **_):
    "A motion of one's own"
    u = rng.uniform(num_digits, 2)
    return dict(translate=torch.stack([40*(u[...,:1]-.5) + times, height*(u[...,1:]*6 + times/3).sin()], -1), angle=10*times + 90*u[...,:1])


def far(scene): return (scene.translate[:,0,-1] - scene.translate[:,0,0]).norm(dim=-1)>15


def cases(path=None):
    "Name → a function that collects the facts of one case; with `path`, those of MNIST, and those of everything else without it"
    digits,pictures = shapes(), backgrounds()
    def make(**kw): return MovingMNIST(**{**dict(digits=digits, seed=7, length=2**40, num_digits=[1,2,3], num_frames=5, normalize=(.1,.3)), **kw})
    if path is not None:
        for split in 'train','valid','test':
            def mnist(split=split):
                ds = MovingMNIST.preset('canonical', path, split=split, seed=7, num_frames=5, download=False)
                facts = of_dataset(ds, whole=True)
                facts['exact'].update(images=checksum(ds.digits.images), labels=checksum(ds.digits.labels), n=len(ds))
                return facts
            yield f'mnist {split}', mnist
        return
    for name in MovingMNIST.presets():
        if 'digits' in PRESETS[name].settings: continue # The canonical one with other images
        settings = dict(digits=digits, seed=7, length=2**40, **({'normalize': (.1,.3)} if name=='affine' else {}))
        yield f'preset {name}', lambda name=name, settings=settings: of_dataset(ds := MovingMNIST.preset(name, **settings), whole=ds.motion in WHOLE)
    for motion in ('affine','velocity','trajgru',*WHOLE):
        for size in (64, (61,83)): yield f'motion {motion} {size}', lambda motion=motion, size=size: of_dataset(make(motion=motion, img_size=size), whole=motion in WHOLE)
    for motion in ('affine','velocity','reflect','subpixel_bounce'):
        yield f'motion {motion} at any time', lambda motion=motion: of_dataset(make(motion=motion), times=[0, .5, 2.25, 7, 30])
    for size in ((100,90), 97): yield f'motion collide {size}', lambda size=size: of_dataset(make(motion='collide', img_size=size, num_frames=12))
    yield 'truth collide', lambda: of_truth(make(motion='collide', img_size=97, num_digits=4, num_frames=12), ['collisions','bounces','digit','velocity'], False)
    yield 'motion of one\'s own', lambda: of_dataset(make(motion=wave, motion_params=dict(height=8)))
    for composite in 'max','sum','over','opaque':
        for interpolation in 'bilinear','nearest':
            yield f'composite {composite} {interpolation}', lambda kw=dict(composite=composite, interpolation=interpolation): of_dataset(make(**kw))
            yield f'composite {composite} {interpolation} in colour over backgrounds', lambda kw=dict(composite=composite, interpolation=interpolation): of_dataset(make(color='random', background=pictures, drift=(0,3), **kw))
        yield f'composite {composite} in whole pixels', lambda composite=composite: of_dataset(make(composite=composite, motion='bounce'), whole=True)
    yield 'two colours', lambda: of_dataset(make(color=[(1,0,0),(0,.5,1)]))
    yield 'a still background', lambda: of_dataset(make(background=pictures[:1,:1]))
    def corrupted(kind):
        frames = make(motion='bounce', corrupt=kind, corrupt_params=dict(frames=(1,5)))[INDICES]
        exact = {'frames': checksum(frames)} if kind in ('missing','hole') else {} # Processors differ in the last bits of a logarithm
        return dict(exact=exact, rough={'frames': blocks(frames), 'middle': sampled(frames[:,2].double().flatten(1).mean(1)/255)})
    for kind in 'noise','missing','hole','blur':
        yield f'corrupt {kind}', lambda kind=kind: corrupted(kind)
    yield 'bounce with noise', lambda: of_dataset(make(motion='bounce', motion_params=dict(noise=.2, noisy_frames=3)), whole=True)
    yield 'where', lambda: of_dataset(make(where=far))
    yield 'one frame of one digit', lambda: of_dataset(make(num_digits=1, num_frames=1))
    yield 'large seed and index', lambda: of_dataset(make(seed=2**64-1), [2**40-1, 2**33])
    yield 'the next sequences', lambda: of_scene([(ds := make()).draw(3), ds.draw(3)][1])
    def fresh():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return of_scene(make(seed=None).draw(3))
    yield 'without a seed', fresh
    def fonts(split):
        ds = make(digits='fonts', split=split, motion='bounce', length=None)
        facts = of_scene(ds.draw(indices=[0,1,2]), whole=True)
        facts['exact'].update(labels=checksum(ds.digits.labels), n=len(ds))
        return {**facts, 'rough': {'images': sampled(ds.digits.images.double().mean((1,2,3))/255)}} # Fonts are drawn by matplotlib, whose versions differ
    def of_source(**kw):
        ds = make(motion='bounce', length=None, **kw)
        facts = of_dataset(ds, [0,1,2], whole=True)
        facts['exact'].update(images=checksum(ds.digits.images), n=len(ds))
        return facts
    for split in 'train','valid','test':
        yield f'fonts {split}', lambda split=split: fonts(split)
        yield f'images of one\'s own {split}', lambda split=split: of_source(split=split)
    yield 'images without labels', lambda: of_source(digits=digits[0][:,0].numpy())
    yield 'a dataset', lambda: of_source(digits=torch.utils.data.TensorDataset(*digits))
    yield 'classes and size', lambda: of_source(classes=[1,4], digit_size=(20,24))
    for motion in ('bounce','affine'):
        whole = motion=='bounce'
        yield f'truth {motion}', lambda motion=motion, whole=whole: of_truth(make(motion=motion), PLAIN_TARGETS, whole)
        yield f'points {motion}', lambda motion=motion, whole=whole: of_truth(make(motion=motion, composite='over'), ['full_boxes','tracks','tracks_visible','caption_syncdraw'], whole)
        for o in 'over','opaque': yield f'truth {motion} {o}', lambda motion=motion, whole=whole, o=o: of_truth(make(motion=motion, composite=o), [*PLAIN_TARGETS, 'cover'], whole)
    yield 'truth in colour over backgrounds', lambda: of_truth(make(color='random', background=pictures, drift=(1,2), composite='opaque'), [*PLAIN_TARGETS, 'cover', 'backdrop'], False)


def main():
    found = {name: f() for name,f in cases()} | {name: f() for name,f in cases(os.environ['MNIST_ROOT'])}
    FILE.write_text('{\n' + ',\n'.join(f'{json.dumps(k)}: {json.dumps(v)}' for k,v in found.items()) + '\n}\n', encoding='utf-8')
    print(f'{len(found)} cases, {FILE.stat().st_size:,} bytes')


if __name__=='__main__': sys.exit(main())
