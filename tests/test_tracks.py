"Point tracks, full boxes and captions of Sync-DRAW: against scalar versions, the renderer, and wider canvases"
import dataclasses, math

import numpy as np
import pytest
import test_truth
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from torch_moving_mnist import engine
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import Digits
from torch_moving_mnist.engine.reference import boxes_reference, render_reference
from torch_moving_mnist.scene import Scene, with_fields
from torch_moving_mnist.truth import POINTS, ground_truth

FONTS = test_truth.FONTS
CASES = test_truth.CASES[::5] # Every motion, composite and variant is among them


@pytest.fixture(params=CASES, ids=lambda o: '-'.join(o).replace(' ', '_'), scope='module')
def whole_truth(request): return test_truth.case(*request.param)


def test_cases_cover_everything():
    for i,o in enumerate(zip(*test_truth.CASES)): assert {case[i] for case in CASES}==set(o)


def still(image, scale=1., angle=0., at=(0,0), size=(64,64), T=1):
    "One digit with a given pose"
    shape = (1,1,T)
    full = lambda v: torch.full(shape, float(v), dtype=torch.float64)
    translate = torch.tensor(at, dtype=torch.float64).expand(1,1,T,2)
    return Scene(digit=torch.zeros(1,1,dtype=torch.int64), angle=full(angle), translate=translate, scale=full(scale), shear=torch.zeros(1,1,T,2).double(), gain=full(1), digit_size=tuple(image.shape[-2:]), canvas_size=size)


# ---- Tracks

def points_of(image):
    "Sixteen texels of an image `(C,h,w)`, one at a time"
    level = image.max(0)
    ink = [(x,y) for y in range(level.shape[0]) for x in range(level.shape[1]) if 2*int(level[y,x])>=int(level.max())]
    return [ink[int((n + .5)*len(ink)/POINTS)] for n in range(POINTS)]


def test_tracks_by_a_scalar_version(whole_truth):
    ds,scene,frames,truth = whole_truth
    images,matrix,instance = ds.digits.images.numpy(),scene.matrix.numpy(),truth['instance'].numpy()
    (H,W),hidden,seen = scene.canvas_size,0,0
    for b in range(8):
        for k,digit in enumerate(scene.digit[b].tolist()):
            if digit<0:
                assert not truth['tracks'][b,k].any() and not truth['tracks_visible'][b,k].any()
                continue
            for n,(u,v) in enumerate(points_of(images[digit])):
                for t in range(frames.shape[1]):
                    x,y,_ = matrix[b,k,t] @ [u,v,1]
                    assert np.allclose(truth['tracks'][b,k,n,t], [x,y], rtol=1e-6, atol=1e-5)
                    i,j = math.floor(x + .5),math.floor(y + .5)
                    visible = 0<=i<W and 0<=j<H and instance[b,t,j,i]==k+1
                    assert truth['tracks_visible'][b,k,n,t]==visible
                    hidden,seen = hidden + (not visible),seen + visible
    assert seen and (hidden or ds.motion!='affine')


def test_a_lit_texel_is_followed_by_rendering():
    "Drawn large, one lit texel is a tent whose centre of mass is its position"
    g = torch.Generator().manual_seed(0)
    for _ in range(40):
        image = torch.zeros(1,1,9,7, dtype=torch.uint8)
        u,v,scale,angle,*at = torch.rand(6, generator=g).tolist()
        image[0,0,int(9*v),int(7*u)] = 255
        scene = still(image, 3 + 3*scale, 360*angle, (20*at[0] - 10, 20*at[1] - 10), (100,120))
        truth = ground_truth(scene, Digits(image, None, 'lit', 'train', ''), ['tracks','tracks_visible'])
        frame = engine.render(image, scene.digit, scene.matrix, scene.canvas_size)[0,0,0].double()
        y,x = torch.meshgrid(torch.arange(100.), torch.arange(120.), indexing='ij')
        centre = torch.stack([(frame*x).sum(), (frame*y).sum()])/frame.sum()
        assert truth['tracks'].shape==(1,1,POINTS,1,2) and truth['tracks_visible'].all()
        assert (truth['tracks'][0,0,:,0] - centre).abs().max()<.05


def test_points_are_on_the_ink_of_any_image():
    colours = torch.zeros(3,3,4,4, dtype=torch.uint8)
    colours[0,1,2,3],colours[1,2,:,0] = 9,200 # A faint texel in one channel; a column; nothing at all
    scene = dataclasses.replace(still(colours), digit=torch.tensor([[0]]))
    for i,expected in enumerate([{(3,2)}, {(0,y) for y in range(4)}, {(x,y) for x in range(4) for y in range(4)}]):
        where = ground_truth(dataclasses.replace(scene, digit=torch.tensor([[i]])), Digits(colours, None, 'three', 'train', ''), ['tracks'])['tracks'][0,0,:,0]
        assert {tuple((o - 30).int().tolist()) for o in where}==expected
    clear = torch.zeros(1,4,4,4, dtype=torch.uint8)
    clear[0,3,1,1:3] = 255 # Black, but opaque
    truth = ground_truth(still(clear), Digits(clear, None, 'black', 'train', ''), ['tracks','tracks_visible'], 'over')
    assert {tuple((o - 30).int().tolist()) for o in truth['tracks'][0,0,:,0]}=={(1,1), (2,1)} and truth['tracks_visible'].all()


def test_transforms_of_torchvision_move_points_and_full_boxes():
    ds = MovingMNIST(digits='fonts', num_digits=2, num_frames=4, seed=3, targets=['tracks','full_boxes','tracks_visible'])
    frames,target = ds[2]
    assert isinstance(target['full_boxes'], tv_tensors.BoundingBoxes) and (target['full_boxes'][:,0].min()<0 or target['full_boxes'].max()>64)
    flipped,moved = v2.RandomHorizontalFlip(1)(frames, target)
    if hasattr(tv_tensors, 'KeyPoints'):
        assert isinstance(target['tracks'], tv_tensors.KeyPoints)
        assert torch.equal(moved['tracks'][...,0], 63 - target['tracks'][...,0]) and torch.equal(moved['tracks'][...,1], target['tracks'][...,1])
        assert torch.equal(moved['full_boxes'][:,0], 64 - target['full_boxes'][:,2])
    assert torch.equal(moved['tracks_visible'], target['tracks_visible'])


# ---- Full boxes

def test_full_boxes_are_those_of_a_wider_canvas(whole_truth):
    ds,scene,frames,truth = whole_truth
    pad = 60
    size = tuple(o + 2*pad for o in scene.canvas_size)
    wide = dataclasses.replace(scene, canvas_size=size, background=None, drift=None)
    expected = ground_truth(wide, ds.digits, ['boxes'], ds.composite, ds.interpolation)['boxes']
    inside = (expected[...,:2]>0).all(-1) & (expected[...,2:]<torch.tensor(size[::-1])).all(-1)
    assert inside.float().mean()>.9 or (scene.digit<0).any()
    off = (truth['full_boxes'] - (expected - pad))[inside].abs()
    assert off.max()<=1 and (off>0).float().mean()<.002 # A pixel whose level equals the threshold up to the last bit
    outside = (truth['full_boxes'][...,:2]<0).any(-1) | (truth['full_boxes'][...,2:]>torch.tensor(scene.canvas_size[::-1])).any(-1)
    cut = truth['boxes'][...,2]>0
    assert torch.equal(truth['full_boxes'][cut & ~outside], truth['boxes'][cut & ~outside])
    assert (truth['full_boxes'][...,:2]<=truth['boxes'][...,:2])[cut].all() and (truth['full_boxes'][...,2:]>=truth['boxes'][...,2:])[cut].all()
    if ds.motion=='affine': assert outside.any()


@pytest.mark.parametrize('scale', [.01, 1, 40, 300, 1000])
@pytest.mark.parametrize('at', [(0,0), (-500,321), (90_000,-7.3)])
def test_full_boxes_of_any_size(scale, at):
    "A white square reaches to one texel less 1/510 beyond the centres of its outer texels; a box of more than 2,048 pixels is as exact as its grid"
    image = torch.full((1,1,8,8), 255, dtype=torch.uint8)
    box = ground_truth(still(image, scale, 0, at), Digits(image, None, 'square', 'train', ''), ['full_boxes'])['full_boxes'][0,0,0]
    half = scale*(4.5 - 1/510)
    centre = torch.tensor(at, dtype=torch.float64) + 31.5
    low,high = (centre - half).ceil(),(centre + half).floor() # First and last pixel with ink
    if (low>high).any(): return pytest.fail('no pixel') if box.any() else None
    step = math.ceil(9*scale/2048)
    assert ((box[:2] - low).abs()<=step*(step>1)).all() and ((box[2:] - (high+1)).abs()<=step*(step>1)).all(), (box, low, high)


def test_endless_digits_have_the_box_of_their_image():
    image = torch.full((1,1,8,8), 255, dtype=torch.uint8)
    scene = with_fields(still(image), scale=torch.tensor([[[1e9]]], dtype=torch.float64))
    box = ground_truth(scene, Digits(image, None, 'square', 'train', ''), ['full_boxes'])['full_boxes'][0,0,0]
    assert torch.allclose(box, torch.tensor([-4.5e9,-4.5e9,4.5e9,4.5e9]), rtol=1e-5)


def test_the_reference_finds_the_same_full_boxes(whole_truth, monkeypatch):
    ds,scene,frames,truth = whole_truth
    def by_reference(*args):
        *args,stats,backdrop,boxes,present = args
        boxes.copy_(boxes_reference(*args, present))
        return render_reference(*args, backdrop, present)
    monkeypatch.setattr(engine, '_render_cpu', by_reference)
    found = ds.truth(scene[:5], ['full_boxes'])['full_boxes']
    off = (found - truth['full_boxes'][:5]).abs()
    assert off.max()<=1 and (off>0).float().mean()<.01


def test_what_is_absent_has_neither_box_nor_visible_points():
    ds = MovingMNIST(digits='fonts', num_digits=2, num_frames=9, seed=0, lifetime=(2,4), normalize=False)
    scene = ds.draw(indices=range(30))
    truth = ds.truth(scene, ['present','full_boxes','tracks','tracks_visible'])
    assert not truth['full_boxes'][~truth['present']].any() and truth['full_boxes'][truth['present']].any(-1).all()
    assert not truth['tracks_visible'].transpose(2,3)[~truth['present']].any()
    assert torch.equal(truth['tracks'], ds.truth(dataclasses.replace(scene, present=None), ['tracks'])['tracks'])


def test_points_behind_a_foreground_are_hidden():
    front = torch.zeros(1,2,64,64, dtype=torch.uint8)
    front[:,1,:,:32] = 255 # The left half
    ds = MovingMNIST(digits='fonts', num_digits=1, num_frames=5, seed=0, normalize=False, foreground=front, motion='reflect')
    truth = ds.truth(ds.draw(indices=range(20)), ['tracks','tracks_visible'])
    left = truth['tracks'][...,0]<31.5
    assert left.any() and torch.equal(truth['tracks_visible'], ~left)


# ---- Captions of Sync-DRAW

def test_captions_of_syncdraw_by_a_scalar_version():
    for kwargs in dict(motion='bounce'), dict(motion='velocity', lifetime=(1,5)), dict(num_digits=[1,3]):
        ds = MovingMNIST(**{**dict(digits='fonts', num_digits=2, num_frames=7, seed=1, normalize=False), **kwargs})
        scene = ds.draw(indices=range(60))
        there = scene.digit[...,None].ge(0).expand(scene.angle.shape) if scene.present is None else scene.present & (scene.digit>=0)[...,None]
        for b,text in enumerate(ds.truth(scene, ['caption_syncdraw'])['caption_syncdraw']):
            clauses = []
            for k,digit in enumerate(scene.digit[b].tolist()):
                if digit<0: continue
                way = [0.,0.]
                for t in range(6):
                    if there[b,k,t] and there[b,k,t+1]:
                        for axis in range(2): way[axis] += abs(float(scene.translate[b,k,t+1,axis] - scene.translate[b,k,t,axis]))
                how = 'standing still' if max(way)<1 else 'moving left and right' if way[0]>=way[1] else 'moving up and down'
                clauses.append(f'digit {int(ds.digits.labels[digit])} is {how}')
            assert text==' and '.join(clauses) + '.'


def test_captions_of_syncdraw_use_names():
    ds = MovingMNIST(digits='shapes', num_digits=1, num_frames=7, seed=1, normalize=False, targets=['caption_syncdraw'], motion='bounce')
    assert ds[0][1]['caption_syncdraw'].split(' is ')[0] in ds.digits.names
    ds = MovingMNIST(digits=FONTS.images, num_digits=1, num_frames=1, seed=1, normalize=False, targets=['caption_syncdraw'])
    assert ds[0][1]['caption_syncdraw']=='digit is standing still.'
