"Ground truth against frames, layers and pixel counts, for random Scenes of every motion, composite, canvas and colour"
import dataclasses, functools, itertools, json, math, os, pickle, textwrap

import matplotlib.pyplot as plt
import numpy as np
import processes
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.data import DataLoader
from torchvision import ops, tv_tensors
from torchvision.transforms import v2

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import load_digits
from torch_moving_mnist.motion import MOTIONS
from torch_moving_mnist.engine import COMPOSITES, INTERPOLATIONS
from torch_moving_mnist.engine.reference import OPACITY_LEVELS, Backdrop, blend, effective_composite, expand_gain, trace_reference
from torch_moving_mnist.scene import Scene, with_fields
from torch_moving_mnist.truth import POINTS, TARGETS, as_sample, available_targets, caption, ground_truth, labels, needs_pixels, per_frame, show_truth

FONTS = load_digits('fonts')
COLOURED = (torch.stack([o.images[:60,0] for o in (FONTS, load_digits('fonts', split='valid'), load_digits('fonts', split='test'))], 1), torch.arange(60) % 7) # Three digits in three channels
PICTURES = (torch.rand(3, 3, 40, 50, generator=torch.Generator().manual_seed(0))**2*255).byte()
VARIANTS = {
    'plain': {}, 'wide': dict(img_size=(33,70), num_digits=[1,5]), 'odd': dict(img_size=(101,45), num_digits=1), 'nearest': dict(interpolation='nearest'), 'channels': dict(digits=COLOURED),
    'coloured': dict(color='random', num_digits=[4]), 'background': dict(background=PICTURES, drift=(1,3)), 'grey background': dict(background=PICTURES[:,:1], drift=(0,2), color=[(1,0,0),(0,0,0),(.5,1,1)], interpolation='nearest')}
CASES = [(motion, COMPOSITES[(i+j) % len(COMPOSITES)], variant) # Every two of them occur together; the position is the seed
         for i,motion in enumerate(MOTIONS) for j,variant in enumerate(VARIANTS)]
B,T = 20,4

def by_reference(scene, digits, names, composite='max', interpolation='bilinear', pictures=None):
    "Ground truth by the engine's reference"
    backdrop = None if scene.background is None else Backdrop(pictures, scene.background, scene.drift)
    gain = expand_gain(scene.channel_gain, digits.images, backdrop)
    return trace_reference(digits.images, scene.digit, scene.matrix, scene.canvas_size, names, gain, labels(scene, digits), composite, interpolation, backdrop)


def wild(seed, B=30, K=4, T=3, digit=(28,28), canvas=(64,64), whole=False, scale=1., spread=.8, M=len(FONTS)):
    "Random poses, with digits partly or completely outside the canvas, and empty slots"
    g = torch.Generator().manual_seed(seed)
    def rand(*s): return torch.rand(*s, generator=g, dtype=torch.float64)
    angle,shear,size = rand(B,K,T)*720 - 360, rand(B,K,T,2)*100 - 50, scale*(.7 + .6*rand(B,K,T))
    translate = (rand(B,K,T,2) - .5)*2*spread*torch.tensor([canvas[1], canvas[0]]) + .003
    if whole: angle,shear,size,translate = angle*0, shear*0, size*0 + 1, translate.round() + torch.tensor([(digit[i]-canvas[i])/2 for i in (1,0)]) % 1
    return Scene(digit=torch.randint(-1, M, (B,K), generator=g), angle=angle, translate=translate, scale=size, shear=shear, gain=rand(B,K,T)*1.6, digit_size=digit, canvas_size=canvas)


@functools.lru_cache(maxsize=2)
def case(motion, composite, variant):
    "A dataset, some of its Scenes, their frames, and all targets"
    ds = MovingMNIST(**{**dict(digits='fonts', num_digits=[1,2,3], num_frames=T, normalize=False, seed=CASES.index((motion,composite,variant)), motion=motion, composite=composite), **VARIANTS[variant], **(dict(num_digits=[1,2]) if (motion,variant)==('collide','wide') else {})})
    scene = ds.draw(indices=range(B))
    names = available_targets(composite, ds.pictures is not None)
    return ds, scene, ds.render(scene), ds.truth(scene, names)


@pytest.fixture(params=CASES, ids=lambda o: '-'.join(o).replace(' ', '_'), scope='module')
def whole_truth(request): return case(*request.param)


def composed(ds, truth):
    "Composite frames from layers"
    layers,cover = truth['layers'],truth.get('cover', truth['layers'][:,:,:,:0])
    if ds.pictures is not None:
        layers = torch.cat([truth['backdrop'][:,None],layers], 1)
        cover = torch.cat([torch.ones_like(cover[:,:1]),cover], 1)
    x = blend(layers.movedim(1,2).flatten(0,1), cover.movedim(1,2).flatten(0,1), ds.composite)
    return x.clamp(0,255).round().byte().unflatten(0, layers.shape[:1] + layers.shape[2:3])


def test_layers_compose_to_the_frames(whole_truth):
    ds,scene,frames,truth = whole_truth
    assert torch.equal(composed(ds, truth), frames)


def test_shapes_and_types_match_the_table(whole_truth):
    ds,scene,frames,truth = whole_truth
    (K,C,H,W),table = (scene.digit.shape[1], *frames.shape[2:]), dict(B=B, T=T, N=POINTS)
    for name,o in truth.items():
        if name in ('pose','caption','caption_syncdraw'): continue
        assert o.shape==eval(TARGETS[name].shape, dict(table, K=K, C=C, H=H, W=W)) and o.dtype==getattr(torch, TARGETS[name].dtype), name
    assert len(truth['caption'])==B and set(truth['pose'])<={o.name for o in dataclasses.fields(Scene)}
    for name,o in truth['pose'].items(): assert torch.equal(o, getattr(scene, name).to(o.dtype))


def test_boxes_are_the_tightest_around_the_ink(whole_truth):
    "Torchvision's boxes end at the centre of the last pixel, ours at its edge"
    ds,scene,frames,truth = whole_truth
    ink = (truth['layers'].clamp(0,255).round()>=1).any(3)
    if 'cover' in truth: ink |= truth['cover'][:,:,:,0]>OPACITY_LEVELS[effective_composite(ds.composite, ds.digits.images)]
    assert torch.equal(truth['masks'], ink)
    for boxes,masks in (('boxes','masks'), ('modal_boxes','modal_masks')):
        there = truth[masks].flatten(3).any(3)
        assert (truth[boxes][~there]==0).all() and there.any()
        assert torch.equal(truth[boxes][there], ops.masks_to_boxes(truth[masks][there]) + torch.tensor([0.,0,1,1]))


def test_modal_masks_partition_the_visible_pixels(whole_truth):
    ds,scene,frames,truth = whole_truth
    modal,ink = truth['modal_masks'],truth['masks']
    assert (modal.sum(1)<=1).all() and not (modal & ~ink).any()
    K = modal.shape[1]
    assert torch.equal((modal*torch.arange(1, K+1)[:,None,None,None]).sum(1), truth['instance'].long())
    assert torch.equal((modal*(truth['labels']+1)[:,:,None,None,None]).sum(1), truth['segmentation'])
    if ds.pictures is None:
        assert torch.equal(modal.any(1), ink.any(1))
        lit = (frames>0).any(2)
        if ds.composite=='max' and ds.color is None: assert torch.equal(modal.any(1), lit)
        # Pixels without an owner are lit only by faint layers that add up
        assert not (lit & ~modal.any(1) & (truth['layers'].amax((1,3))>.5)).any()
    else:
        seen = modal.any(1)[:,:,None].expand_as(frames)
        if ds.composite=='max': assert torch.equal(frames[~seen], truth['backdrop'].clamp(0,255).round().byte()[~seen])


def test_visible_digit_follows_the_rule_for_one_pixel(whole_truth):
    ds,scene,frames,truth = whole_truth
    g = torch.Generator().manual_seed(0)
    contested = (truth['masks'].sum(1)>1).nonzero()
    some = torch.cat([contested[torch.randperm(len(contested), generator=g)[:60]], truth['masks'].any(1).nonzero()[::997][:40]])
    for b,t,y,x in some.tolist():
        layers = truth['layers'][b,:,t,:,y,x].tolist()
        cover = truth['cover'][b,:,t,0,y,x].tolist() if 'cover' in truth else [0]*len(layers)
        back = truth['backdrop'][b,t,:,y,x].tolist() if 'backdrop' in truth else [0]*len(layers[0])
        level = lambda v: round(min(max(v, 0), 255))
        best,winner,through = 0,0,np.float32(1)
        for k in reversed(range(len(layers))):
            share = np.float32(cover[k])*through
            through *= 1 - np.float32(cover[k])
            if level(max(layers[k]))<1 and cover[k]<=OPACITY_LEVELS.get(effective_composite(ds.composite, ds.digits.images), 1): continue
            if ds.composite in OPACITY_LEVELS: bid = share
            else:
                alone = [max(v, o) if ds.composite=='max' else np.float32(v) + np.float32(o) for v,o in zip(layers[k], back)]
                bid = level(max(layers[k]))*any(level(a)>level(o) for a,o in zip(alone, back))
            if bid>best: best,winner = bid,k+1
        assert truth['instance'][b,t,y,x]==winner


def test_visibility_is_counted_on_a_canvas_that_contains_all_ink(whole_truth):
    ds,scene,frames,truth = whole_truth
    pad = 60
    wide = dataclasses.replace(scene, canvas_size=tuple(o + 2*pad for o in scene.canvas_size), background=None, drift=None)
    masks = ground_truth(wide, ds.digits, ['masks'], ds.composite, ds.interpolation)['masks']
    edge = torch.ones(masks.shape[-2:], dtype=torch.bool)
    edge[1:-1,1:-1] = False
    fits = ~(masks & edge).flatten(3).any(3)
    whole,seen = masks.sum((-2,-1)),truth['modal_masks'].sum((-2,-1))
    expected = (seen/whole.clamp(min=1)).float()
    assert fits.float().mean()>.9 and (truth['visibility'][whole==0]==0).all()
    # A pixel whose level equals the threshold up to the last bit may be counted or not
    assert ((truth['visibility'] - expected).abs()*whole)[fits].max()<=1.5
    assert torch.equal(truth['visibility'][fits], expected[fits]) or (truth['visibility']!=expected)[fits].float().mean()<.02


def test_overlap_is_the_fraction_of_common_pixels(whole_truth):
    ink,overlap = whole_truth[3]['masks'],whole_truth[3]['overlap']
    for k,j in itertools.product(range(ink.shape[1]), repeat=2):
        assert torch.equal(overlap[:,k,j], ((ink[:,k] & ink[:,j]).sum((-2,-1))/ink[:,k].sum((-2,-1)).clamp(min=1)).float())


def test_flow_by_the_matrices_of_each_pixel(whole_truth):
    "The formula for one pixel, with numpy's inverse"
    ds,scene,frames,truth = whole_truth
    owner,matrix = truth['instance'].numpy(),scene.matrix.numpy()
    drift = np.zeros((B,T,2)) if scene.drift is None else scene.drift.numpy()
    if ds.interpolation=='nearest': drift = drift.round()
    rng,(H,W) = np.random.default_rng(0),scene.canvas_size
    for name,step in (('flow',1), ('backward_flow',-1)):
        flow,valid = truth[name].numpy(),truth[name+'_valid'].numpy()
        lit = np.argwhere(owner>0)
        spots = np.concatenate([rng.choice(lit, 150), np.stack([rng.integers(0, n, 50) for n in owner.shape], 1)])
        for b,t,y,x in spots:
            if not 0<=t+step<T: continue
            k,i = owner[b,t,y,x],min(t, t+step)
            if k: to = matrix[b,k-1,t+step] @ np.linalg.inv(matrix[b,k-1,t]) @ [x,y,1]
            else: to = np.array([x,y]) + drift[b,t] - drift[b,t+step]
            np.testing.assert_allclose(flow[b,i,:,y,x], to[:2] - [x,y], atol=1e-4, rtol=1e-5)
            if np.abs((to[:2]+.5) % 1 - .5).max()>.4999: continue # Halfway between two pixels
            u,v = np.floor(to[:2] + .5).astype(int)
            assert valid[b,i,y,x]==(0<=u<W and 0<=v<H and owner[b,t+step,v,u]==k)
        assert valid.any()


def test_velocity_and_bounces_are_those_of_the_scene(whole_truth):
    ds,scene,frames,truth = whole_truth
    v = truth['velocity']
    for t in range(T-1): torch.testing.assert_close(v[:,:,t].double(), scene.translate[:,:,t+1] - scene.translate[:,:,t], rtol=1e-6, atol=1e-6)
    assert torch.equal(v[:,:,-1], v[:,:,-2]) and torch.equal(truth['bounces'], scene.bounces)
    assert truth['bounces'].any()==(ds.motion not in ('affine','velocity') and scene.bounces.any())
    assert torch.equal(truth['matrix'], scene.matrix.float())


def test_slot_contents(whole_truth):
    ds,scene,frames,truth = whole_truth
    for b,(row,label,depth) in enumerate(zip(scene.digit.tolist(), truth['labels'].tolist(), truth['depth'].tolist())):
        assert label==[-1 if i<0 else int(ds.digits.labels[i]) for i in row]
        assert truth['count'][b]==sum(i>=0 for i in row)
        assert [o for o in reversed(depth) if o>=0]==list(range(truth['count'][b])) and [o<0 for o in depth]==[i<0 for i in row]
    assert torch.equal(truth['digit'], scene.digit)
    empty = scene.digit<0
    for name in ('boxes','modal_boxes','masks','visibility','layers'): assert not truth[name][empty].any(), name


def test_compiled_loops_equal_the_reference(whole_truth):
    ds,scene,frames,truth = whole_truth
    names = [o for o in truth if needs_pixels(o)]
    reference = by_reference(scene, ds.digits, names, ds.composite, ds.interpolation, ds.pictures)
    for name in names:
        ours,theirs = truth[name].double(),reference[name].double()
        off = (ours - theirs).abs()>(1e-3 if name!='backdrop' else .01)
        assert off.double().mean()<(.002 if name!='modal_boxes' else .01), (name, off.double().mean())


def test_targets_do_not_depend_on_the_batch(whole_truth):
    ds,scene,frames,truth = whole_truth
    names = [o for o in truth if o not in ('pose','caption','caption_syncdraw')]
    one = ds.truth(scene[7], names)
    for name in names: assert torch.equal(one[name][0], truth[name][7]), name
    assert ds.truth(scene[[7,3]], 'caption')['caption']==[truth['caption'][i] for i in (7,3)]


# ---- Frames warped by the flow

def still_there(frames, flow, valid):
    "Values at valid pixels of each frame, and of the next frame at the positions the flow points to, sampled bilinearly: `(n,)` each"
    H,W = frames.shape[-2:]
    y,x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing='ij')
    at = torch.stack([x,y]) + flow.double()
    grid = torch.stack([at[:,:,0]/(W-1), at[:,:,1]/(H-1)], -1)*2 - 1
    later = torch.nn.functional.grid_sample(frames[:,1:].double().flatten(0,1), grid.flatten(0,1), align_corners=True, padding_mode='border').view_as(frames[:,1:])
    return frames[:,:-1,0].double()[valid], later[:,:,0][valid], (grid.abs()<=1).all(-1)[valid]


@pytest.mark.parametrize('composite', ['max','opaque'])
@pytest.mark.parametrize('motion', ['bounce','reflect','stochastic_bounce','subpixel_bounce'])
def test_whole_pixel_flow_points_to_the_same_value(motion, composite):
    ds = MovingMNIST(digits='fonts', num_digits=[1,2,3], num_frames=6, normalize=False, seed=1, motion=motion, composite=composite, img_size=(50,64))
    scene = ds.draw(indices=range(200))
    truth,frames = ds.truth(scene, ['flow','flow_valid','backward_flow','backward_flow_valid','instance']),ds.render(scene)
    for a,b,flow,valid in ((frames[:,:-1,0], frames[:,1:,0], truth['flow'], truth['flow_valid']), (frames[:,1:,0], frames[:,:-1,0], truth['backward_flow'], truth['backward_flow_valid'])):
        y,x = torch.meshgrid(torch.arange(50), torch.arange(64), indexing='ij')
        u,v = (o.round().long() for o in (x + flow[:,:,0], y + flow[:,:,1]))
        at = (v*64 + u).where(valid, 0).flatten(2)
        assert torch.equal(b.flatten(2).gather(2, at).view_as(a)[valid], a[valid])
    there = truth['instance'][:,:-1]>0
    assert truth['flow_valid'][there].float().mean()>.7 and (truth['flow'].abs().amax(2)[there]>0).float().mean()>.8


def smooth_digits():
    "Round blobs, and the largest second difference of their grey levels"
    y,x = torch.meshgrid(*[torch.arange(28.) - 13.5]*2, indexing='ij')
    images = torch.stack([(250*torch.exp(-(x/a)**2 - (y/b)**2)) for a,b in ((5,5),(6,4),(4,6))]).round()
    bend = max(images.diff(n=2, dim=i).abs().max().item() for i in (1,2))
    return (images.byte(), torch.arange(3)), bend


@pytest.mark.parametrize('motion', ['affine','velocity','trajgru'])
def test_flow_points_to_the_next_frame_within_interpolation_error(motion):
    "Sampling the image twice and the frame once, bilinearly, errs by less than 1.5 second differences at scales near 1, plus two roundings"
    digits,bend = smooth_digits()
    ds = MovingMNIST(digits=digits, num_digits=1, num_frames=5, normalize=False, seed=1, motion=motion, affine_params=dict(angle=(-3,3), scale=(.95,1.1), shear=(-3,3)) if motion=='velocity' else None if motion=='trajgru' else dict(scale=(.8,1.2)),
                     motion_params=dict(gain=(1,1)) if motion=='trajgru' else None)
    scene = ds.draw(300)
    truth,frames = ds.truth(scene, ['flow','flow_valid','instance']),ds.render(scene)
    now,later,inside = still_there(frames, truth['flow'], truth['flow_valid'] & (truth['instance'][:,:-1]>0))
    error = (now-later).abs()[inside]
    assert len(error)>100_000 and error.max()<=1.5*bend + 1
    unmoved = (now - frames[:,1:,0].double()[truth['flow_valid'] & (truth['instance'][:,:-1]>0)]).abs()[inside]
    assert error.mean()<.1*unmoved.mean()


def test_backgrounds_flow_with_their_drift():
    ds = MovingMNIST(digits='fonts', num_frames=5, normalize=False, seed=1, background=PICTURES, drift=(1,4), interpolation='nearest')
    scene = ds.draw(indices=range(60))
    truth,frames = ds.truth(scene, ['flow','flow_valid','instance']),ds.render(scene)
    y,x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing='ij')
    valid = truth['flow_valid'] & (truth['instance'][:,:-1]==0)
    at = ((y + truth['flow'][:,:,1])*64 + x + truth['flow'][:,:,0]).round().long().where(valid, 0).flatten(2)
    for c in range(3): assert torch.equal(frames[:,1:,c].flatten(2).gather(2, at).view_as(valid)[valid], frames[:,:-1,c][valid])
    assert valid.float().mean()>.7 and (truth['flow'].abs().amax(2)[valid]>0).float().mean()>.9


# ---- Scenes that no motion draws

@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('composite', COMPOSITES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), K=st.integers(1,6), T=st.integers(1,3), canvas=st.tuples(st.integers(1,70), st.integers(1,70)), scale=st.one_of(st.floats(.02,.5), st.floats(.5,3), st.floats(3,40)),
       spread=st.floats(0,1.5), whole=st.booleans())
def test_random_scenes(composite, interpolation, seed, K, T, canvas, scale, spread, whole):
    scene = wild(seed, 4, K, T, (28,28), canvas, whole, scale, spread)
    names = available_targets(composite)
    truth = ground_truth(scene, FONTS, names, composite, interpolation)
    ds = MovingMNIST(digits='fonts', normalize=False, composite=composite, interpolation=interpolation)
    assert torch.equal(composed(ds, truth), ds.render(scene))
    reference = by_reference(scene, FONTS, [o for o in names if needs_pixels(o)], composite, interpolation)
    for name,o in reference.items():
        off = (truth[name].double() - o.double()).abs()>1e-2
        assert off.sum()<=4 + .004*off.numel(), name # Samples halfway between two pixels, and levels at the threshold
    seen = truth['visibility']
    assert seen.min()>=0 and seen.max()<=1 and truth['flow'].isfinite().all()
    assert torch.equal(truth['boxes'][...,2]>0, truth['masks'].flatten(3).any(3))
    assert all(isinstance(o, str) and o.endswith('.') for o in truth['caption'])


@pytest.mark.parametrize('entry', ['angle','translate','scale','shear'])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), 1e12, 1e100, -1e300])
def test_poses_that_cannot_be_rendered_are_safe(entry, value):
    scene = wild(0, 3, 2, 3)
    broken = getattr(scene, entry).clone()
    broken[1] = value
    scene = with_fields(scene, **{entry: broken}) # `Scene` refuses what is not finite
    for composite in COMPOSITES:
        truth = ground_truth(scene, FONTS, available_targets(), composite)
        fine = ground_truth(scene[[0,2]], FONTS, ['masks','flow','visibility','boxes'], composite)
        for name,o in fine.items(): assert torch.equal(truth[name][[0,2]], o)
        if not math.isfinite(value): assert not truth['masks'][1].any() and not truth['boxes'][1].any() and not truth['visibility'][1].any()


def test_no_access_outside_any_array():
    "Run the compiled loops as plain Python, which checks every access"
    code = textwrap.dedent('''
        import sys
        sys.path.insert(0, sys.argv[1])
        import torch
        torch.set_num_threads(1)
        from test_truth import COMPOSITES, FONTS, INTERPOLATIONS, available_targets, dataclasses, ground_truth, wild
        small = dataclasses.replace(FONTS, images=FONTS.images[:6,:,10:18,10:15])
        for seed,(canvas,scale) in enumerate([((7,5), 1.), ((5,40), 9.), ((12,3), .1), ((1,1), 2.), ((6,9), -1e300)]):
            for whole in (False, True):
                scene = wild(seed, 2, 3, 2, (8,5), canvas, whole, scale, 1., 6)
                for c in COMPOSITES:
                    for i in INTERPOLATIONS: ground_truth(scene, small, [o for o in available_targets(c) if o!='full_boxes'], c, i) # These are boxes on larger canvases
        print('done')''')
    r = processes.run(code, os.path.dirname(__file__), warn=['ignore'], env={'NUMBA_DISABLE_JIT': '1'})
    assert r.stdout=='done\n', r.stderr


def test_any_number_of_threads_gives_the_same(fonts):
    ds,n = fonts(),torch.get_num_threads()
    scene,names = ds.draw(indices=range(33)),['instance','layers','flow','visibility','boxes']
    found = []
    try:
        for m in (1,2,5):
            torch.set_num_threads(m)
            found.append(ds.truth(scene, names))
    finally: torch.set_num_threads(n)
    for other in found[1:]:
        for k in names: assert torch.equal(found[0][k], other[k])


# ---- Datasets

ALL = available_targets()


def test_a_sample_is_a_pair(make):
    ds = make(targets=ALL)
    frames,target = ds[3]
    assert isinstance(frames, tv_tensors.Video) and torch.equal(frames, make()[3]) and list(target)==ALL
    batch,truth = ds.get_batch(indices=[3,5])
    assert torch.equal(batch, make().get_batch(indices=[3,5]))
    for name,o in target.items():
        if name=='pose':
            for k,v in o.items(): assert torch.equal(v, truth['pose'][k][0])
        elif name in ('caption','caption_syncdraw'): assert o==truth[name][0]
        elif name=='clean': assert torch.equal(o, frames) and torch.equal(truth['clean'], batch) # Normalised in a batch
        else: assert torch.equal(o.as_subclass(torch.Tensor), truth[name][0].flatten(0,1) if name in ('boxes','modal_boxes','full_boxes') else truth[name][0]), name
    for name in ('boxes','modal_boxes','full_boxes'):
        o = target[name]
        assert isinstance(o, tv_tensors.BoundingBoxes) and o.canvas_size==(64,64) and o.format==tv_tensors.BoundingBoxFormat.XYXY and o.shape==(15,4)
    for name in ('masks','modal_masks','instance','segmentation'): assert isinstance(target[name], tv_tensors.Mask)


def test_boxes_rendered_with_frames_equal_separate_boxes(make):
    "Boxes computed during rendering, and boxes computed separately"
    for composite in COMPOSITES:
        ds = make(targets='boxes', composite=composite)
        scene = ds.draw(indices=range(50))
        assert torch.equal(ds.get_batch(indices=range(50))[1]['boxes'], ds.truth(scene)['boxes'])
        assert torch.equal(ds.truth(scene)['boxes'], ds.truth(scene, ['boxes','masks'])['boxes'])


def test_iterators_yield_pairs(fonts):
    ds = fonts(targets=['labels','boxes','caption'])
    frames,target = next(ds.batches(1, bs=4))
    assert frames.shape==(4,5,1,64,64) and target['labels'].shape==(4,3) and target['boxes'].shape==(4,3,5,4) and len(target['caption'])==4
    assert torch.equal(target['labels'], fonts(targets=['labels']).get_batch(4)[1]['labels'])


@pytest.mark.parametrize('workers,method', [(0,None), (2,'fork'), (2,'forkserver')])
def test_loaders_collate_all_targets(fonts, workers, method):
    ds = fonts(targets=ALL, length=6)
    batches = list(DataLoader(ds, batch_size=3, num_workers=workers, multiprocessing_context=method, timeout=120 if workers else 0))
    expected = ds.truth(ds.draw(indices=range(6)))
    for name in ALL:
        if name in ('caption','caption_syncdraw'): assert sum((list(o[1][name]) for o in batches), [])==expected[name]
        elif name=='pose':
            for k in expected[name]: assert torch.equal(torch.cat([o[1][name][k] for o in batches]), expected[name][k])
        else: assert torch.equal(torch.cat([o[1][name] for o in batches]).view_as(expected[name]), expected[name]), name
    assert torch.equal(torch.cat([o[0] for o in batches]), ds.render(ds.draw(indices=range(6))))


def test_pickles_and_recipes(fonts):
    ds = fonts(targets=['labels','flow'])
    again = pickle.loads(pickle.dumps(ds))
    assert again.targets==('labels','flow') and torch.equal(again[2][1]['flow'], ds[2][1]['flow'])
    recipe = json.loads(json.dumps(ds.recipe))
    assert 'targets' not in recipe and fonts().fingerprint==ds.fingerprint
    frames,target = MovingMNIST.from_recipe(recipe, targets=['labels'])[2]
    assert torch.equal(frames, ds[2][0]) and torch.equal(target['labels'], ds[2][1]['labels'])
    assert "targets: labels, flow" in repr(ds)


def test_one_frame_and_one_digit(fonts):
    ds = fonts(num_frames=1, num_digits=1, targets=ALL)
    frames,target = ds[0]
    assert target['flow'].shape==(0,2,64,64) and not target['velocity'].any() and target['boxes'].shape==(1,4) and target['overlap'].shape==(1,1,1)
    assert 'stays in place' in target['caption']
    batch,truth = ds.get_batch(1)
    assert truth['backward_flow_valid'].shape==(1,0,64,64)


def test_frames_as_a_list(fonts):
    ds = fonts(concat=False, targets=['boxes','masks'])
    frames,target = ds[1]
    assert len(frames)==5 and all(isinstance(o, tv_tensors.Image) for o in frames) and torch.equal(torch.stack(frames), fonts()[1])
    assert target['masks'].shape==(3,5,64,64)


def test_times_and_backgrounds(fonts):
    ds = fonts(targets=['flow','bounces','backdrop'], motion='reflect', background=PICTURES, drift=(2,2))
    scene = ds.draw(2, times=[0,.5,9])
    truth = ds.truth(scene)
    assert truth['flow'].shape==(2,2,2,64,64) and torch.equal(truth['bounces'], scene.bounces) and truth['backdrop'].shape==(2,3,3,64,64)


def test_measured_statistics_of_long_sequences_with_walls(fonts):
    assert fonts(motion='bounce', num_frames=40, normalize='measured').stats


# ---- Torchvision's transforms

def flipped(box, W): return torch.stack([W - box[...,2], box[...,1], W - box[...,0], box[...,3]], -1)


@pytest.mark.parametrize('concat', [True, False])
def test_flips_keep_frames_boxes_and_masks_together(fonts, concat):
    names = ['boxes','masks','modal_masks','instance','segmentation']
    plain,(frames,target) = fonts(concat=concat, targets=names)[4],fonts(concat=concat, targets=names, transform=v2.RandomHorizontalFlip(1))[4]
    for a,b in zip(plain[0], frames): assert torch.equal(a.flip(-1), b)
    for name in names[1:]: assert torch.equal(plain[1][name].flip(-1), target[name])
    there = (plain[1]['boxes']!=0).any(-1)
    assert torch.equal(target['boxes'][there].as_subclass(torch.Tensor), flipped(plain[1]['boxes'].as_subclass(torch.Tensor)[there], 64))
    tight(target)


def tight(target, slack=0):
    "Whether each box is the tightest around its mask"
    masks = target['masks'].as_subclass(torch.Tensor).flatten(0,1).bool()
    there = masks.flatten(1).any(1)
    boxes = target['boxes'].as_subclass(torch.Tensor)[there].float()
    assert there.any() and ((ops.masks_to_boxes(masks[there]) + torch.tensor([0.,0,1,1])) - boxes).abs().max()<=slack


@pytest.mark.parametrize('concat', [True, False])
@pytest.mark.parametrize('name', ['crop','resize','larger','pad'])
def test_crops_and_sizes_keep_frames_boxes_and_masks_together(fonts, name, concat):
    tfm,slack,size = {'crop': (v2.RandomCrop((40,48)), 0, (40,48)), 'resize': (v2.Resize((128,128), interpolation=v2.InterpolationMode.NEAREST), 0, (128,128)), 'larger': (v2.Resize((96,80)), 1, (96,80)), 'pad': (v2.Pad(5), 0, (74,74))}[name]
    torch.manual_seed(3)
    for i in range(5):
        frames,target = fonts(concat=concat, num_digits=1, composite='max', targets=['labels','boxes','masks','instance'], transform=tfm)[i]
        x = torch.stack(list(frames))[:,0]
        assert x.shape[1:]==size==target['boxes'].canvas_size==target['masks'].shape[2:]
        # With one digit, its ink is the lit pixels
        if name!='larger': assert torch.equal(target['masks'][0].as_subclass(torch.Tensor).bool(), x>0)
        cut = target['boxes'].as_subclass(torch.Tensor)
        alive = (cut[:,2]>cut[:,0]) & (cut[:,3]>cut[:,1])
        if name!='crop': tight(target, slack)
        else: # A box is clipped to the canvas, and may then not be tight
            masks = target['masks'].as_subclass(torch.Tensor).flatten(0,1)
            for m,box in zip(masks, cut.long().tolist()): assert m.sum()==m[box[1]:box[3],box[0]:box[2]].sum()
            assert alive.any()


# ---- Evaluation by other libraries

def test_coco_evaluation_of_the_boxes_against_themselves_is_perfect(fonts):
    pytest.importorskip('pycocotools')
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    ds = fonts(targets=['labels','boxes','modal_boxes'])
    found = ds.truth(ds.draw(indices=range(40)))
    def annotations(name):
        out = []
        for b,k,t in (found[name][...,2]>0).nonzero().tolist():
            x,y,right,bottom = found[name][b,k,t].tolist()
            out.append(dict(id=len(out)+1, image_id=b*5+t+1, category_id=int(found['labels'][b,k])+1, bbox=[x, y, right-x, bottom-y], area=(right-x)*(bottom-y), iscrowd=0))
        return out
    def score(truth, guess):
        coco = COCO()
        coco.dataset = dict(images=[dict(id=i+1) for i in range(200)], categories=[dict(id=i+1, name=str(i)) for i in range(10)], annotations=annotations(truth), info={})
        coco.createIndex()
        e = COCOeval(coco, coco.loadRes([dict(o, score=1.) for o in annotations(guess)]), 'bbox')
        e.evaluate(); e.accumulate(); e.summarize()
        return e.stats
    stats = score('boxes','boxes')
    assert stats[0]==pytest.approx(1, abs=1e-9) and stats[8]==pytest.approx(1, abs=1e-9)
    assert score('boxes','modal_boxes')[0]<1 # Occlusion makes a difference


# ---- Captions

def by_hand(translate, digit, angle=0., scale=1., hits=(), T=5):
    zero = torch.zeros(1,1,T, dtype=torch.float64)
    ramp = torch.linspace(0, 1, T, dtype=torch.float64)
    walls = torch.zeros(1,1,T, dtype=torch.uint8)
    for t,wall in hits: walls[0,0,t] = wall
    return Scene(digit=torch.tensor([[digit]]), angle=zero + angle*ramp, translate=(torch.tensor(translate, dtype=torch.float64)*ramp[:,None])[None,None], scale=1 + zero + (scale-1)*ramp, shear=torch.zeros(1,1,T,2), gain=zero+1,
                 digit_size=(28,28), canvas_size=(64,64), bounces=walls)


SENTENCES = [
    (dict(translate=[9,0]), 'goes right'), (dict(translate=[0,9]), 'goes down'), (dict(translate=[-9,0]), 'goes left'), (dict(translate=[0,-9]), 'goes up'), (dict(translate=[9,-9]), 'goes up and right'), (dict(translate=[.5,.5]), 'stays in place'),
    (dict(translate=[9,9], angle=40), 'goes down and right, turning clockwise'), (dict(translate=[9,9], angle=-40), 'goes down and right, turning anticlockwise'), (dict(translate=[-9,9], scale=2), 'goes down and left, growing'),
    (dict(translate=[0,0], scale=.5, angle=90), 'stays in place, turning clockwise and shrinking'), (dict(translate=[9,1], hits=[(2,1)]), 'ends up to the right, bouncing once off the left wall'),
    (dict(translate=[9,1], angle=20, hits=[(1,2),(3,8)]), 'ends up to the right, turning clockwise and bouncing twice off the right and bottom walls'), (dict(translate=[9,1], hits=[(1,5),(2,2),(4,1)]), 'ends up to the right, bouncing 4 times off the left, right and top walls'),
    (dict(translate=[0,0], hits=[(1,1)]), 'ends up where it began, bouncing once off the left wall'), (dict(translate=[-9,-9], hits=[(1,2)]), 'ends up further up and to the left, bouncing once off the right wall'),
]


@pytest.mark.parametrize('kw,expected', SENTENCES, ids=[o[1] for o in SENTENCES])
def test_sentences(kw, expected):
    digit = int((FONTS.labels==8).nonzero()[0])
    assert caption(by_hand(digit=digit, **kw), FONTS)==[f'An 8 {expected}.']


def test_captions_of_custom_labels():
    scene = by_hand([9,0], 0)
    assert caption(scene, dataclasses.replace(FONTS, labels=None))==['A digit goes right.']
    assert caption(scene, dataclasses.replace(FONTS, name='custom', labels=torch.full((len(FONTS),), 3)))==['An object of class 3 goes right.']
    assert caption(dataclasses.replace(scene, digit=torch.tensor([[-1]])), FONTS)==['There are no digits.']
    two = caption(wild(0, 50, 2), FONTS)
    assert any('; a' in o for o in two) and all(o[0].isupper() and o.endswith('.') and o.count('.')==1 for o in two)


# ---- Errors

BAD = [
    ('boxs', ValueError, "targets='boxs'; expected one of 'labels'.*Did you mean 'boxes'"), (['labels','visiblity'], ValueError, "'visiblity'.*Did you mean 'visibility'"), (['labels','labels'], ValueError, 'contains duplicates'), (5, TypeError, 'targets=5; expected a list of names'),
    ([5], TypeError, 'targets=5; expected one of'), ({'labels':1}, TypeError, 'expected a list of names'), (['cover'], ValueError, "expected composite='over' or 'opaque', or no 'cover'"), ('backdrop', ValueError, "expected background=…, or no 'backdrop'"), (None, TypeError, 'targets=None'),
]


@pytest.mark.parametrize('targets,error,message', BAD, ids=str)
def test_invalid_targets_are_refused_at_construction(targets, error, message):
    with pytest.raises(error, match=message): MovingMNIST(digits='fonts', normalize=False, targets=targets)


@pytest.mark.parametrize('name', ['labels','segmentation'])
def test_images_without_labels(name):
    with pytest.raises(ValueError, match='expected a pair'): MovingMNIST(digits=FONTS.images, normalize=False, targets=name)
    ds = MovingMNIST(digits=FONTS.images, normalize=False, targets=['instance','caption'])
    assert ds[0][1]['caption'].startswith('A digit')
    with pytest.raises(ValueError, match='expected a pair'): ds.truth(ds.draw(2), [name])


def test_scenes_that_do_not_match_the_dataset_are_refused(fonts):
    ds = fonts()
    with pytest.raises(TypeError, match='scene is a int; expected a Scene'): ds.truth(5, ['labels'])
    with pytest.raises(ValueError, match=r'scene has digits of \(9, 9\) pixels'): ds.truth(wild(0, digit=(9,9)), ['boxes'])
    for name in ('instance','boxes'):
        with pytest.raises(ValueError, match='there are no background images'): ds.truth(fonts(background=PICTURES).draw(2), [name])
    with pytest.raises(ValueError, match=r'scene has digits of \(9, 9\) pixels'): ground_truth(wild(0, digit=(9,9)), FONTS, ['boxes'])
    for name in ('masks','boxes','labels'):
        with pytest.raises(IndexError): ground_truth(wild(0, M=5000), FONTS, [name])
    with pytest.raises(ValueError, match='there are no background images'): ground_truth(fonts(background=PICTURES).draw(2), FONTS, ['instance'])


def test_empty_targets_are_no_targets(fonts):
    assert isinstance(fonts(targets=[])[0], torch.Tensor) and fonts(targets='labels').targets==('labels',)
    ds = fonts()
    assert ds.truth(ds.draw(2))=={} and set(ds.truth(ds.draw(2), 'labels'))=={'labels'}


# ---- Plots

def test_plots_of_every_target(fonts):
    for kw in (dict(targets=ALL), dict(targets=['boxes']), dict(targets=['flow']), dict(targets=['instance'], num_frames=1), dict(targets=['masks'], concat=False), dict(targets=['labels','modal_boxes'], normalize=True), dict(targets=['backward_flow','caption'], color='random', num_digits=12)):
        frames,target = fonts(**kw)[0]
        before = frames.clone() if kw.get('concat', True) else None
        axs = show_truth(frames, target)
        axs[0,0].figure.canvas.draw()
        assert axs.shape==(1 + ('flow' in target) + ('backward_flow' in target), kw.get('num_frames', 5))
        if before is not None: assert torch.equal(frames, before)
        plt.close('all')
    batch,truth = fonts(targets=['boxes','modal_masks']).get_batch(3)
    show_truth(batch[1], as_sample(truth, 1, (64,64)))
    plt.close('all')


def test_plots_refuse_anything_but_one_sequence(fonts):
    frames,target = fonts(targets=ALL)[0]
    batch,truth = fonts(targets=ALL).get_batch(2)
    for name in ('boxes','modal_boxes','masks','modal_masks','instance','flow','backward_flow','labels'):
        with pytest.raises(ValueError, match=rf"target\['{name}'\] has shape .* expected ground truth of one sequence of 5 frames"): show_truth(batch[0], {name: truth[name]})
        if name!='labels':
            with pytest.raises(ValueError, match='expected ground truth of one sequence of 3 frames'): show_truth(frames[:3], {name: target[name][:14] if name in ('boxes','modal_boxes') else target[name]})
    with pytest.raises(ValueError, match=r'frames has shape \(2, 5, 1, 64, 64\)'): show_truth(batch, truth)
    with pytest.raises(TypeError, match='expected a dict of ground truth'): show_truth(frames, None)
    plt.close('all')


def test_plots_show_boxes_at_their_positions(fonts):
    frames,target = fonts(num_digits=1, targets=['boxes'])[0]
    axs = show_truth(frames, target)
    for t in range(5):
        box, = axs[0,t].patches
        x,y,right,bottom = target['boxes'][t].tolist()
        assert (box.get_x(), box.get_y(), box.get_width(), box.get_height())==(x-.5, y-.5, right-x, bottom-y)
        assert len(axs[0,t].lines[0].get_xdata())==t+1
    plt.close('all')
    assert labels(fonts().draw(1), FONTS).shape==(1,3)


def test_show_truth_of_a_single_frame(fonts):
    axs = show_truth(*fonts(num_frames=1, targets=['flow','boxes','caption'])[0])
    assert axs.shape==(1,1) # There is no flow
    plt.close(axs[0,0].figure)


@pytest.mark.parametrize('boxes,masks', [('boxes','masks'), ('modal_boxes','modal_masks')])
def test_per_frame_lists_what_is_there(boxes, masks):
    ds = MovingMNIST(digits='fonts', num_digits=[1,3], num_frames=4, normalize=False, seed=0, composite='over', targets=['labels',boxes,masks])
    batch = ds.get_batch(5)[1]
    found = per_frame(batch)
    assert len(found)==20
    for b in range(5):
        assert all(torch.equal(x[k], y[k]) for x,y in zip(per_frame(ds[b][1]), found[4*b:4*b+4]) for k in x)
        for t in range(4):
            there = [k for k in range(3) if batch[boxes][b,k,t,2]>batch[boxes][b,k,t,0]]
            frame = found[4*b+t]
            assert frame['track_ids'].tolist()==there and torch.equal(frame['boxes'], batch[boxes][b,there,t])
            assert torch.equal(frame['labels'], batch['labels'][b,there] + 1) and torch.equal(frame['masks'].bool(), batch[masks][b,there,t])
    assert 0<sum(len(o['boxes']) for o in found)<60


@pytest.mark.parametrize('target', [{}, {'labels': torch.zeros(2,3)}, {'boxes': torch.zeros(2,3,4,4)}])
def test_per_frame_needs_labels_and_boxes(target):
    with pytest.raises(ValueError, match='target has the keys .*expected'): per_frame(target)


def test_a_detector_trains_on_frames():
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
    ds = MovingMNIST(digits='fonts', num_digits=[1,2], num_frames=2, normalize=False, seed=0, targets=['labels','boxes'])
    frames,target = ds.get_batch(1)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=11)
    losses = model(list(frames.flatten(0,1).expand(-1,3,-1,-1)), per_frame(target))
    sum(losses.values()).backward()
    assert all(o.isfinite() for o in losses.values()) and any(p.grad is not None and p.grad.abs().sum()>0 for p in model.parameters())


def test_captions_name_colours_and_classes():
    images,labels = FONTS.images[:40],torch.arange(40) % 2
    class Dataset:
        classes = ['shirt','apple']
        def __len__(self): return 40
        def __getitem__(self, i): return images[i],int(labels[i])
    for digits in (images,labels,['shirt','apple']),Dataset():
        ds = MovingMNIST(digits=digits, num_digits=1, color=[(1,0,0)], normalize=False, targets=['caption','labels'], seed=0)
        found = [ds[i][1] for i in range(12)]
        for o in found: assert o['caption'].startswith('A red apple ' if o['labels'][0] else 'A red shirt ')
        assert len({o['caption'][:11] for o in found})==2
    orange = dataclasses.replace(by_hand([9,0], 0), color=torch.tensor([[[1,.5,0]]]))
    assert caption(orange, FONTS)[0].startswith('An orange 0 goes right')
    assert caption(by_hand([9,0], 0), dataclasses.replace(FONTS, names=tuple('abcdefghij')))==['An a goes right.']


def test_fashion_mnist_has_nouns(tmp_path, monkeypatch):
    from torch_moving_mnist import digits as module
    monkeypatch.setattr(module, '_from_family', lambda name, path, train, download: (torch.randint(256, (10_050,1,28,28), dtype=torch.uint8), torch.full((10_050,), 9)))
    ds = MovingMNIST(tmp_path, digits='fashion', num_digits=1, normalize=False, targets=['caption'])
    assert ds[0][1]['caption'].startswith('An ankle boot ')


@pytest.mark.parametrize('names', [['shirt'], ['shirt',3], 'ab', ['shirt','']])
def test_names_must_fit_the_labels(names):
    with pytest.raises((ValueError, TypeError), match='names|digits'): MovingMNIST(digits=(FONTS.images[:40], torch.arange(40) % 2, names))


@pytest.mark.parametrize('device', [None,'meta'])
def test_detections_and_plots_do_not_depend_on_the_default_device(device):
    ds = MovingMNIST(digits='fonts', num_digits=2, num_frames=3, normalize=False, seed=0, targets=('labels','boxes','instance','flow'))
    frames,target = ds[0]
    expected = per_frame(target)
    torch.set_default_device(device)
    try:
        found = per_frame(target)
        show_truth(frames, {k: o for k,o in target.items() if k!='boxes'})
    finally: torch.set_default_device(None)
    assert all(torch.equal(a[k], b[k]) for a,b in zip(found, expected) for k in b)
    plt.close('all')


def test_plots_take_arrays_and_refuse_what_has_no_frames():
    ds = MovingMNIST(digits='fonts', num_digits=2, num_frames=3, normalize=False, seed=0, targets=('labels','boxes','masks','flow','flow_valid'))
    frames,target = ds[0]
    arrays = {k: np.asarray(o) for k,o in target.items()}
    assert show_truth(frames.numpy(), arrays).shape==show_truth(frames, target).shape==(2,3)
    assert all(torch.equal(a[k], b[k]) for a,b in zip(per_frame(arrays), per_frame(target)) for k in b)
    with pytest.raises(ValueError, match='frames is empty'): show_truth(frames[:0], {})
    for wrong in dict(boxes=3), dict(labels=[1,2]), dict(masks='a'):
        with pytest.raises(TypeError, match=r"target\['(boxes|labels|masks)'\]=.*expected a tensor or an array"): show_truth(frames, wrong)
    with pytest.raises(ValueError, match=r"target\['labels'\] has 3 entries; expected 2"): show_truth(frames, {**target, 'labels': torch.zeros(3)})
    plt.close('all')


def test_matrices_of_digits_grown_beyond_float32_are_finite():
    ds = MovingMNIST(digits='fonts', motion='velocity', seed=0, normalize=False)
    target = ds.truth(ds.draw(4, times=[0, 570, 2000]), ['matrix','velocity'])
    assert all(o.isfinite().all() and o.dtype==torch.float32 for o in target.values())
