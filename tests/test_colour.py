"Colours and backgrounds: the compiled renderer against the reference, and their use in a dataset"
import os

import numpy as np
import processes
import pytest
import torch
from hypothesis import given, settings, strategies as st
from test_paint import random_case

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.motion import MOTIONS
from torch_moving_mnist.engine import COMPOSITES, INTERPOLATIONS, render
from torch_moving_mnist.engine.reference import Backdrop, expand_gain, render_reference, sample_tiled


def case(seed, B, K, T, C, digit, canvas, colour, pictures, whole=False, scale=1.):
    "Digits, index, matrix, size, gain and backdrop; `pictures` is their shape `(M,C,h,w)`, or None"
    digits,index,matrix,size,gain = random_case(seed, B, K, T, C, digit, canvas, scale, .6, whole)
    g = torch.Generator().manual_seed(seed)
    if colour: gain = gain[...,None]*torch.rand(B, K, 1, 3, generator=g, dtype=torch.float64)
    if pictures is None: return digits, index, matrix, size, gain, None
    offset = torch.rand(B, T, 2, generator=g, dtype=torch.float64)*300 - 150
    backdrop = torch.randint(256, pictures, generator=g, dtype=torch.uint8), torch.randint(len(range(pictures[0])), (B,), generator=g), offset.round() if whole else offset
    return digits, index, matrix, size, gain, Backdrop(*backdrop)


PICTURES = [None, (3,1,64,64), (1,3,7,5), (2,3,90,101), (4,1,1,1), (2,1,33,40)]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**31), B=st.integers(1, 3), K=st.integers(1, 4), T=st.integers(1, 3), C=st.sampled_from([1,3]), canvas=st.tuples(st.integers(9, 40), st.integers(9, 40)),
       colour=st.booleans(), pictures=st.sampled_from(PICTURES), whole=st.booleans(), composite=st.sampled_from(COMPOSITES), interpolation=st.sampled_from(INTERPOLATIONS))
def test_kernel_agrees_with_the_reference(seed, B, K, T, C, canvas, colour, pictures, whole, composite, interpolation):
    digits,index,matrix,size,gain,backdrop = case(seed, B, K, T, C, (9,8), canvas, colour, pictures, whole)
    ours = render(digits, index, matrix, size, gain, composite, interpolation, backdrop=backdrop)
    theirs = render_reference(digits, index, matrix, size, gain, composite, interpolation, backdrop)
    assert ours.shape==theirs.shape and ours.shape[2]==(3 if C==3 or colour or pictures and pictures[1]==3 else 1)
    difference = (ours.int() - theirs.int()).abs()
    if interpolation=='bilinear' or whole: assert difference.max()<=1
    else: assert (difference>1).sum()<=3 + .002*difference.numel() # Samples almost halfway between two pixels may round differently


@pytest.mark.parametrize('composite', COMPOSITES)
@pytest.mark.parametrize('C', [1,3])
def test_floats_equal_normalised_bytes(C, composite):
    digits,index,matrix,size,gain,backdrop = case(0, 3, 3, 2, C, (20,20), (30,33), True, (2,3,40,29))
    frames = render(digits, index, matrix, size, gain, composite, backdrop=backdrop)
    mean,std = torch.tensor([.1,.2,.3])[:,None,None],torch.tensor([.5,.01,3.])[:,None,None]
    assert torch.equal(render(digits, index, matrix, size, gain, composite, stats=([.1,.2,.3],[.5,.01,3.]), backdrop=backdrop), (frames/255 - mean)/std)


def test_one_digit_in_one_colour_by_hand():
    digits = torch.full((1,1,2,2), 200, dtype=torch.uint8)
    matrix = torch.eye(3, dtype=torch.float64).expand(1,1,1,3,3)
    gain = torch.tensor([1.,.5,0]).expand(1,1,1,3)
    assert torch.equal(render(digits, torch.tensor([[0]]), matrix, (3,2), gain)[0,0,:,:,0], torch.tensor([[200,200,0],[100,100,0],[0,0,0]], dtype=torch.uint8))


@pytest.mark.parametrize('composite,expected', [('max', [90,200,90]), ('sum', [90,255,90]), ('opaque', [90,200,90]), ('over', [90,round(200 + 55/255*90),90])])
def test_a_pixel_on_a_background_by_hand(composite, expected):
    digits = torch.tensor([0,200,0], dtype=torch.uint8).view(1,1,1,3)
    back = torch.full((1,1,1,1), 90, dtype=torch.uint8), torch.tensor([0]), torch.zeros(1,1,2)
    frames = render(digits, torch.tensor([[0]]), torch.eye(3, dtype=torch.float64).expand(1,1,1,3,3), (1,3), composite=composite, backdrop=back)
    assert frames.flatten().tolist()==expected


def test_opaque_digits_hide_a_brighter_background():
    digits = torch.tensor([0,20,0], dtype=torch.uint8).view(1,1,1,3)
    back = torch.full((1,1,1,1), 90, dtype=torch.uint8), torch.tensor([0]), torch.zeros(1,1,2)
    frames = render(digits, torch.tensor([[0]]), torch.eye(3, dtype=torch.float64).expand(1,1,1,3,3), (1,3), composite='opaque', backdrop=back)
    assert frames.flatten().tolist()==[90,20,90]


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('offset', [(0,0), (5,-3), (-1000,777)])
def test_whole_offsets_roll_the_background(offset, interpolation):
    picture = torch.randint(256, (1,3,11,13), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    index,matrix = torch.full((1,1), -1), torch.eye(3, dtype=torch.float64).expand(1,1,1,3,3)
    frames = render(picture[:,:1,:2,:2], index, matrix, (22,26), interpolation=interpolation, backdrop=(picture, torch.tensor([0]), torch.tensor(offset).view(1,1,2)))
    assert torch.equal(frames[0,0], picture[0].roll((-offset[1],-offset[0]), (1,2)).tile(1,2,2))


def test_window_against_plain_loops():
    picture = torch.rand(1, 1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    dx,dy = 6.3,-2.75
    out = sample_tiled(picture, torch.tensor([[dx,dy]], dtype=torch.float64), (6,7))[0,0]
    for y in range(6):
        for x in range(7):
            u,v = x+dx, y+dy
            i,j = int(np.floor(v)),int(np.floor(u))
            expected = sum(picture[0,0,(i+p)%4,(j+q)%5].item()*(1-abs(v-i-p))*(1-abs(u-j-q)) for p in (0,1) for q in (0,1))
            assert abs(out[y,x].item()-expected)<1e-9


BOUNDS = """
import sys; sys.path.insert(0, sys.argv[1])
import torch
from test_colour import PICTURES, case
from torch_moving_mnist.engine import render
from torch_moving_mnist.engine.reference import render_reference
for seed,pictures in enumerate(PICTURES):
    for canvas in ((9,9), (12,33)):
        for whole in (False, True):
            digits,index,matrix,size,gain,backdrop = case(seed, 1, 2, 1, 1 + 2*(seed % 2), (6,5), canvas, True, pictures, whole)
            ours,theirs = (f(digits, index, matrix, size, gain, 'over', 'bilinear', backdrop=backdrop) for f in (render, render_reference))
            assert (ours.int() - theirs.int()).abs().max()<=1
print('all inside')
"""


def test_no_access_outside_any_array():
    "Run the renderer as plain Python on numpy arrays, which check every index"
    r = processes.run(BOUNDS, os.path.dirname(__file__), env={'NUMBA_DISABLE_JIT': '1'})
    assert r.stdout.strip()=='all inside', r.stderr


@pytest.mark.parametrize('backdrop,error,message', [
    ((torch.zeros(2,1,5,5), [0], (1,1,2)), ValueError, r'backdrop\[0\] is torch.float32'), ((torch.zeros(2,5,5).byte(), [0], (1,1,2)), ValueError, 'expected uint8 .M,C,h,w.'),
    ((torch.zeros(2,1,5,5).byte(), [0,1], (1,1,2)), ValueError, r'backdrop\[1\] has shape \(2,\); expected \(1,\)'), ((torch.zeros(2,1,5,5).byte(), [2], (1,1,2)), IndexError, 'contains 2..2; expected 0..1'),
    ((torch.zeros(2,1,5,5).byte(), [0], (1,2,2)), ValueError, r'backdrop\[2\] has shape')])
def test_backdrops_of_wrong_shape_or_dtype_are_refused(backdrop, error, message):
    pictures,which,offset = backdrop
    with pytest.raises(error, match=message):
        render(torch.ones(1,1,4,4, dtype=torch.uint8), torch.tensor([[0]]), torch.eye(3, dtype=torch.float64).expand(1,1,1,3,3), (8,8), backdrop=(pictures, torch.tensor(which), torch.zeros(offset)))


def test_gains_for_two_channels_are_refused():
    with pytest.raises(ValueError, match='gain has shape'):
        render(torch.ones(1,1,4,4, dtype=torch.uint8), torch.tensor([[0]]), torch.eye(3, dtype=torch.float64).expand(1,1,1,3,3), (8,8), torch.ones(1,1,1,2))


def test_expand_gain():
    digits = {C: torch.zeros(1,C,4,4, dtype=torch.uint8) for C in (1,3)}
    assert [expand_gain(torch.ones(g), digits[C], b and Backdrop(torch.zeros(b), None, None)).shape[-1] for g,C,b in [((1,1,1),1,None), ((1,1,1),3,None), ((1,1,1,3),1,None), ((1,1,1),1,(1,3,2,2)), ((1,1,1,3),3,(1,1,2,2))]]==[1,3,3,3,3]


PHOTOS = torch.randint(120, (3,3,50,70), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('motion', MOTIONS)
@pytest.mark.parametrize('composite', COMPOSITES)
def test_every_motion_and_composite(source, motion, composite):
    ds = MovingMNIST(**source, motion=motion, composite=composite, color='random', background=PHOTOS, drift=(0,3), num_frames=4, num_digits=[1,2], seed=0, normalize=(.2,.3))
    scene,x = ds.draw(indices=range(5)), ds.get_batch(indices=range(5))
    reference = render_reference(ds.digits.images, scene.digit, scene.matrix, (64,64), scene.gain[...,None]*scene.color[:,:,None], composite, 'bilinear', Backdrop(PHOTOS, scene.background, scene.drift))
    frames = ds.render(scene)
    assert frames.shape==(5,4,3,64,64) and (frames.int() - reference.int()).abs().max()<=1
    assert torch.equal(x, ds.batch_tfms(frames)) and torch.equal(ds[3], frames[3]) and torch.equal(ds.get_batch(indices=[3])[0], x[3])
    assert torch.equal((ds.denormalize(x)*255).round().byte(), frames)


def test_colours_and_backgrounds_change_nothing_else(fonts):
    plain,rich = fonts().draw(20), fonts(color='random', background=PHOTOS, drift=(1,2)).draw(20)
    for k in ('digit','angle','translate','scale','shear','gain'): assert torch.equal(getattr(plain, k), getattr(rich, k))
    assert plain.color is plain.background is plain.drift is None
    assert torch.equal(rich.color, fonts(color='random').draw(20).color) and torch.equal(rich.background, fonts(background=PHOTOS).draw(20).background)
    other = fonts(color='random', split='valid').draw(20)
    assert not (other.color==rich.color).all(-1).any()


def test_white_equals_grey(fonts):
    "White as a colour gives three channels equal to the grey frames; a black background gives the same frames"
    grey = fonts().get_batch(6)
    assert torch.equal(fonts(color=(1,1,1)).get_batch(6), grey.expand(-1,-1,3,-1,-1))
    for composite in COMPOSITES: assert torch.equal(fonts(composite=composite, background=torch.zeros(5, 7, dtype=torch.uint8)).get_batch(6), fonts(composite=composite).get_batch(6))


def test_given_colours_are_used(fonts):
    palette = [(1,0,0), (0,1,0), (.25,.5,1)]
    scene = fonts(color=palette, num_digits=3).draw(1000)
    share = torch.stack([(scene.color==torch.tensor(c, dtype=torch.float64)).all(-1).double().mean() for c in palette])
    assert (share-1/3).abs().max()<.04 and abs(share.sum()-1)<1e-9
    red = fonts(color=(1,0,0)).get_batch(4)
    assert red[:,:,0].max()>.9 and red[:,:,1:].max()==0
    hues = fonts(color='random', num_digits=3).draw(4000).color.flatten(0,1)
    assert torch.equal(hues.amax(1), torch.ones(len(hues)).double()) and torch.equal(hues.amin(1), torch.zeros(len(hues)).double())
    assert (hues.mean(0)-.5).abs().max()<.02 # Each channel is 1 for half of the hue circle


@pytest.mark.parametrize('size,room', [((64,64),(1,1)), ((70,64),(7,1)), ((64,80),(1,17)), ((20,30),(20,30)), ((100,30),(37,30))])
def test_still_backgrounds_cover_the_canvas_without_wrapping_if_large_enough(fonts, size, room):
    scene = fonts(background=torch.zeros(4,1,*size, dtype=torch.uint8)).draw(3000)
    assert torch.equal(scene.drift, scene.drift[:,:1].expand_as(scene.drift)) and torch.equal(scene.drift, scene.drift.round())
    found = scene.drift[:,0].flip(-1)
    assert found.min()==0 and found.amax(0).tolist()==[o-1 for o in room]
    assert (scene.background.bincount(minlength=4)/3000-.25).abs().max()<.04


def test_backgrounds_drift_in_straight_lines(fonts):
    ds = fonts(background=PHOTOS, drift=(1,3), motion='reflect', num_frames=8)
    drift = ds.draw(2000).drift
    step = drift.diff(dim=1)
    speed = step[:,0].norm(dim=-1)
    assert (step-step[:,:1]).abs().max()<1e-9 and speed.min()>=1 and speed.max()<=3 and abs(speed.mean()-2)<.05 and step.mean((0,1)).abs().max()<.1
    between = ds.draw(indices=[4], times=[0,.5,1])
    assert torch.allclose(between.drift[:,1], between.drift[:,::2].mean(1)) and torch.equal(between.drift[0,::2], ds.draw(indices=[4]).drift[0,:2])


def test_datasets_as_backgrounds(fonts):
    photos = [(o.permute(1,2,0).numpy(), 0) for o in PHOTOS]
    class Photos:
        def __len__(self): return len(photos)
        def __getitem__(self, i): return torch.from_numpy(photos[i][0]).permute(2,0,1), 7
    assert torch.equal(fonts(background=Photos()).get_batch(3), fonts(background=PHOTOS).get_batch(3))
    assert torch.equal(fonts(background=PHOTOS.numpy()).get_batch(3), fonts(background=PHOTOS).get_batch(3))


def test_measured_statistics_have_three_channels(fonts, capsys):
    ds = fonts(color=(1,.5,0), background=PHOTOS, drift=(0,2), normalize='measured')
    x = ds.get_batch(300)
    assert len(ds.stats[0])==3 and x.mean((0,1,3,4)).abs().max()<.05 and (x.std((0,1,3,4))-1).abs().max()<.05


def test_recipes_contain_colours_and_backgrounds(fonts):
    ds = fonts(color=[(1,0,0),(0,0,1)], background=PHOTOS, drift=(1,2))
    twin = MovingMNIST.from_recipe(ds.recipe, background=PHOTOS)
    assert torch.equal(twin[3], ds[3]) and twin.fingerprint==ds.fingerprint
    assert len({fonts(**kw).fingerprint for kw in (dict(), dict(color=(1,0,0)), dict(color='random'), dict(background=PHOTOS), dict(background=PHOTOS, drift=(0,1)), dict(background=PHOTOS[:2]))})==6
    with pytest.raises(ValueError, match='background=None; expected the background images'): MovingMNIST.from_recipe(ds.recipe)
    with pytest.raises(ValueError, match="background has .* expected the recipe's"): MovingMNIST.from_recipe(ds.recipe, background=PHOTOS.flip(0))


def test_scenes_with_both_round_trip_through_files_and_devices(fonts, tmp_path):
    ds = fonts(color='random', background=PHOTOS, drift=(1,2))
    scene = ds.draw(5)
    scene.save(tmp_path/'scene.npz')
    again = type(scene).load(tmp_path/'scene.npz')
    assert torch.equal(ds.render(again), ds.render(scene)) and torch.equal(ds.render(scene[[3]])[0], ds.render(scene)[3])
    with pytest.raises(ValueError, match='scene has backgrounds'): fonts().render(scene)
    assert 'color' in repr(scene) and 'background' in repr(scene) and 'drift=(1.0, 2.0)' in repr(ds)


@pytest.mark.parametrize('kw,error,message', [
    (dict(color='red'), TypeError, "color='red'; expected a triple"), (dict(color=(1,0)), ValueError, r'color=\(1, 0\)'), (dict(color=(2,0,0)), ValueError, r'numbers in \[0,1\]'), (dict(color=[]), ValueError, 'color='),
    (dict(color=(1,float('nan'),0)), ValueError, 'color='), (dict(background=torch.zeros(5,5)), TypeError, 'background holds torch.float32'), (dict(background='photos'), TypeError, "background='photos'"),
    (dict(background=torch.zeros(2,7,5,5).byte()), ValueError, r'background has shape \(2, 7, 5, 5\)'), (dict(drift=(0,1)), ValueError, r'drift=\(0, 1\) has no effect'),
    (dict(background=PHOTOS, drift=(2,1)), ValueError, r'drift=\(2, 1\); expected a range'), (dict(background=PHOTOS, drift=(-1,1)), ValueError, r'drift=\(-1, 1\); expected a range')])
def test_invalid_arguments_are_refused(fonts, kw, error, message):
    with pytest.raises(error, match=message): fonts(**kw)
