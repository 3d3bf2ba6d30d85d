"Frames against torchvision, one digit and frame at a time, and against plain arithmetic"
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from hypothesis import given, settings, strategies as st

from torch_moving_mnist.affine import affine_matrix
from torch_moving_mnist.digits import load_digits
from torch_moving_mnist.draw import draw_scene
from torch_moving_mnist.engine import COMPOSITES, parallel, reference, render
from torch_moving_mnist.engine.parallel import allocate
from torch_moving_mnist.scene import Scene

MODES = dict(nearest=TF.InterpolationMode.NEAREST, bilinear=TF.InterpolationMode.BILINEAR)
DIGITS = load_digits('fonts').images


def torchvision_layer(digit, angle, translate, scale, shear, canvas, mode):
    """Pad the digit to the canvas and apply torchvision's `affine`.

    If the sizes of canvas and digit differ by an odd number of pixels, the padded digit is half a pixel above or left of the centre.
    torchvision then rotates it about the digit's own centre and translates it by the missing half pixel.
    """
    (h,w),(H,W) = digit.shape[-2:],canvas
    left,top = (W-w)//2,(H-h)//2
    padded = F.pad(digit, [left, W-w-left, top, H-h-top])
    half = ((W-w)%2/2, (H-h)%2/2)
    centre = None if half==(0,0) else [left + w/2, top + h/2]
    move = [t + o for t,o in zip(translate, half)]
    return TF.affine(padded, angle, move, scale, shear, interpolation=MODES[mode], center=centre)


def torchvision_frames(digits, scene, mode):
    B,K,T = scene.angle.shape
    frames = torch.zeros(B, T, digits.shape[1], *scene.canvas_size, dtype=torch.uint8)
    for b in range(B):
        for k in range(K):
            if scene.digit[b,k]<0: continue
            for t in range(T):
                layer = torchvision_layer(digits[scene.digit[b,k]], scene.angle[b,k,t].item(), scene.translate[b,k,t].tolist(), scene.scale[b,k,t].item(),
                                          scene.shear[b,k,t].tolist(), scene.canvas_size, mode)
                frames[b,t] = torch.maximum(frames[b,t], layer)
    return frames


def render_scene(digits, scene, **kw): return render(digits, scene.digit, scene.matrix, scene.canvas_size, scene.gain, **kw)


WILD = dict(angle=(-180,180), translate=((-60,60),(-60,60)), scale=(.3,3), shear=(-45,45))


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('params', [None, WILD], ids=['default','wild'])
@pytest.mark.parametrize('canvas', [(64,64), (28,28), (65,65), (47,96), (96,51), (128,128)], ids=str)
def test_frames_equal_torchvisions(canvas, params, mode):
    scene = draw_scene(1, range(12), [1,2,3], 4, len(DIGITS), (28,28), canvas, params=params)
    ours,theirs = render_scene(DIGITS, scene, interpolation=mode), torchvision_frames(DIGITS, scene, mode)
    assert theirs.max()>200
    if mode=='nearest': assert (ours!=theirs).double().mean()<=.001
    else: assert (ours.int() - theirs.int()).abs().max()<=1


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('digit', [(28,28), (27,27), (9,14), (1,1), (32,20)], ids=str)
def test_digits_of_any_size_equal_torchvisions(digit, mode):
    g = torch.Generator().manual_seed(0)
    digits = torch.randint(256, (6,1,*digit), generator=g, dtype=torch.uint8)
    scene = draw_scene(2, range(12), [2], 3, 6, digit, (45,62))
    ours,theirs = render_scene(digits, scene, interpolation=mode), torchvision_frames(digits, scene, mode)
    if mode=='nearest': assert (ours!=theirs).double().mean()<=.001
    else: assert (ours.int() - theirs.int()).abs().max()<=1


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0,2**64-1), height=st.integers(28,80), width=st.integers(28,80), angle=st.floats(-400,400), scale=st.floats(.05,8),
       shear=st.floats(-60,60), x=st.floats(-90,90), y=st.floats(-90,90))
def test_random_poses_equal_torchvisions(seed, height, width, angle, scale, shear, x, y):
    params = dict(angle=(angle,angle), translate=((x,x),(y,y)), scale=(scale,scale), shear=(shear,shear))
    scene = draw_scene(seed, [0], [1], 1, len(DIGITS), (28,28), (height,width), params=params)
    ours,theirs = render_scene(DIGITS, scene), torchvision_frames(DIGITS, scene, 'bilinear')
    assert (ours.int() - theirs.int()).abs().max()<=1


def place(x, y, scale=1.):
    "Matrices that place the corner of 2×2 digits at whole pixels of a 4×6 canvas"
    t = torch.tensor([x + .5 - 2.5, y + .5 - 1.5], dtype=torch.float64)
    return affine_matrix(torch.zeros((), dtype=torch.float64), t, torch.tensor(scale, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), (2,2), (4,6))


@pytest.mark.parametrize('composite', COMPOSITES)
@pytest.mark.parametrize('channels', [1,3])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_composites_of_whole_pixel_layers(composite, channels, data):
    K = data.draw(st.integers(1,4))
    g = torch.Generator().manual_seed(data.draw(st.integers(0,1000)))
    digits = torch.randint(256, (5,channels,2,2), generator=g, dtype=torch.uint8)*torch.randint(2, (5,1,2,2), generator=g, dtype=torch.uint8)
    index = torch.randint(-1, 5, (1,K), generator=g)
    at = torch.stack([torch.randint(-2, 7, (K,), generator=g), torch.randint(-2, 5, (K,), generator=g)], 1)
    gain = torch.tensor([data.draw(st.sampled_from([0.,.5,1.,2.])) for _ in range(K)], dtype=torch.float64)
    frame = [[[0.]*6 for _ in range(4)] for _ in range(channels)]
    for k in range(K):
        if index[0,k]<0: continue
        for r in range(2):
            for c in range(2):
                y,x = at[k,1].item() + r, at[k,0].item() + c
                if not (0<=y<4 and 0<=x<6): continue
                ink = digits[index[0,k],:,r,c].tolist()
                for ch in range(channels):
                    new,old = ink[ch]*gain[k].item(), frame[ch][y][x]
                    frame[ch][y][x] = {'max': max(old,new), 'sum': old + new, 'over': new if any(ink) else old, 'opaque': new if any(ink) else old}[composite]
                    if composite=='over' and channels==1: frame[ch][y][x] = new + (1 - ink[0]/255)*old
    expected = torch.tensor(frame).clamp(0,255).round().byte()
    matrix = torch.stack([place(*o.tolist()) for o in at])[None,:,None]
    assert torch.equal(render(digits, index, matrix, (4,6), gain[None,:,None], composite)[0,0], expected)


def test_opaque_digits_blend_where_half_covered():
    digits = torch.tensor([[[[200,200],[200,200]]],[[[100,100],[100,100]]]], dtype=torch.uint8)
    under,above = place(2,1),place(2.5,1)
    row = render(digits, torch.tensor([[0,1]]), torch.stack([under,above])[None,:,None], (4,6), composite='opaque')[0,0,0,1]
    assert row.tolist()==[0, 0, 50+100, 100, 50, 0]


@pytest.mark.parametrize('composite', COMPOSITES)
def test_parts_of_any_size_give_the_same_frames(composite, monkeypatch):
    scene = draw_scene(3, range(7), [1,2,3], 5, len(DIGITS), (28,28), (40,33))
    whole = render_scene(DIGITS, scene, composite=composite)
    monkeypatch.setattr(reference, '_CHUNK', 1)
    assert torch.equal(render_scene(DIGITS, scene, composite=composite), whole)


def test_empty_batch_and_sizes_of_one():
    scene = draw_scene(3, range(2), [1], 1, len(DIGITS), (28,28), (28,28))
    assert render_scene(DIGITS, scene[:0]).shape==(0,1,1,28,28)
    assert render_scene(DIGITS, scene[0]).shape==(1,1,1,28,28)


@pytest.mark.parametrize('scale', [0., 1e-30, 1e-6, 1e6, float('nan'), float('inf')])
def test_degenerate_scales_are_safe(scale):
    m = place(2, 1, scale)[None,None,None]
    frame = render(torch.full((1,1,2,2), 255, dtype=torch.uint8), torch.tensor([[0]]), m, (4,6))
    assert frame.shape==(1,1,1,4,6)
    if scale!=1e6: assert frame.sum()<=4*255
    else: assert frame.min()==255


def test_inputs_are_not_modified():
    scene = draw_scene(3, range(3), [1,2], 2, len(DIGITS), (28,28), (40,40))
    before = DIGITS.clone(), {k: getattr(scene, k).clone() for k in ('digit','angle','translate','gain')}
    render_scene(DIGITS, scene, composite='over')
    assert torch.equal(before[0], DIGITS) and all(torch.equal(getattr(scene, k), v) for k,v in before[1].items())


def test_custom_scene():
    zeros = torch.zeros(1,1,2)
    scene = Scene(digit=torch.tensor([[5]]), angle=zeros, translate=torch.tensor([[[[0.,0],[4,-3]]]]), scale=zeros+1, shear=torch.zeros(1,1,2,2), gain=zeros+1,
                  digit_size=(28,28), canvas_size=(64,64))
    frames = render_scene(DIGITS, scene)[0,:,0]
    assert torch.equal(frames[0,18:46,18:46], DIGITS[5,0]) and torch.equal(frames[1,15:43,22:50], DIGITS[5,0])


def test_memory_is_reused_when_no_tensor_refers_to_it():
    shape,other = (5,2**20),(6,2**20)
    x = allocate(shape, np.float32)
    views = [x[1:3], x.view(-1).numpy()[5:9], memoryview(x.numpy()), x.detach(), x.untyped_storage()]
    where = x.data_ptr()
    del x
    while views: # A single view is enough to keep the memory
        y = allocate(shape, np.float32)
        assert y.data_ptr()!=where and where % 64==0
        views.pop()
        del y
    first,second = allocate(shape, np.float32),allocate(shape, np.float32)
    assert where in (first.data_ptr(), second.data_ptr()) and first.data_ptr()!=second.data_ptr()
    assert allocate(other, np.float32).data_ptr() not in (first.data_ptr(), second.data_ptr())


def test_cached_memory_is_limited(monkeypatch):
    monkeypatch.setattr(parallel, '_cached', kept := [])
    monkeypatch.setattr(parallel, 'CACHE_LIMIT', 2**25)
    def held(): return sum(map(len, kept))
    for mb in (4, 9, 5, 8, 40, 3, 7, 16): # 40 MB is never cached, 3 MB is too small
        allocate((mb,2**20), np.uint8)
        assert held()<=2**25
    several = [allocate((7,2**20), np.uint8) for _ in range(6)]
    del several
    assert 0<held()<=2**25


def test_batches_in_use_are_not_overwritten(fonts):
    ds = fonts(num_frames=10, img_size=64)
    batches = [ds.get_batch(64) for _ in range(4)]
    copies = [o.clone() for o in batches]
    del batches[1]
    for _ in range(5): ds.get_batch(64)
    assert all(map(torch.equal, batches, [copies[i] for i in (0,2,3)]))
