"Opacity, foregrounds, lifetimes and pictures, each against a scalar version of its rule"
import dataclasses, json, math, random
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import fit_pictures, load_digits, load_pictures
from torch_moving_mnist.engine import render, trace
from torch_moving_mnist.engine.overlay import overlay
from torch_moving_mnist.engine.reference import Backdrop, blend, effective_composite, expand_gain, render_reference, trace_reference
from torch_moving_mnist.rng import Philox
from torch_moving_mnist.recipe import check_keys
from torch_moving_mnist.scene import Scene, with_fields
from torch_moving_mnist.truth import TARGETS

G = torch.Generator().manual_seed(0)


def bytes_of(*shape): return torch.randint(256, shape, generator=G, dtype=torch.uint8)


def straight_images(n, h=9, w=7):
    "RGBA with transparent, half transparent and opaque pixels"
    alpha = bytes_of(n,1,h,w)*(bytes_of(n,1,h,w)>90) | (255*(bytes_of(n,1,h,w)>200)).byte()
    return torch.cat([bytes_of(n,3,h,w), alpha], 1)


STRAIGHT = straight_images(12)
RGBA = load_digits(STRAIGHT).images
FENCE = torch.zeros(1,2,1,24, dtype=torch.uint8)
FENCE[:,0,:,:9],FENCE[:,1,:,:9],FENCE[:,1,:,9] = 120,255,100


def make(**kw): return MovingMNIST(**{**dict(digits='fonts', num_digits=[2,3], num_frames=5, seed=4, normalize=False), **kw})


def sample(plane, u, v, nearest):
    "A pixel of a plane, bilinear or nearest, 0 outside; plain Python"
    h,w = len(plane),len(plane[0])
    def texel(x, y): return plane[y][x] if 0<=x<w and 0<=y<h else 0
    if nearest: return texel(round(u), round(v))
    x,y = math.floor(u),math.floor(v)
    fx,fy = u-x,v-y
    return (1-fy)*((1-fx)*texel(x,y) + fx*texel(x+1,y)) + fy*((1-fx)*texel(x,y+1) + fx*texel(x+1,y+1))


@pytest.mark.parametrize('nearest', [False, True])
@pytest.mark.parametrize('kind', ['rgba', 'grey'])
def test_over_pixel_by_pixel(kind, nearest):
    "Porter and Duff's rule with the alpha of the image, or with its grey level"
    ds = make(digits=STRAIGHT if kind=='rgba' else STRAIGHT[:,3:], composite='over', background=bytes_of(2,3,5,6), color='random', interpolation='nearest' if nearest else 'bilinear', img_size=(20,24))
    images,scene = ds.digits.images,ds.draw(indices=[0,1,2])
    frames,gain = ds.render(scene),scene.channel_gain
    rng = random.Random(0)
    wrong = 0
    for _ in range(400):
        b,t,y,x = rng.randrange(3),rng.randrange(5),rng.randrange(20),rng.randrange(24)
        row,column = (y + scene.drift[b,t,1].item()) % 5,(x + scene.drift[b,t,0].item()) % 6
        level = ds.pictures[scene.background[b],:,int(row),int(column)].double().tolist()
        for k in range(scene.digit.shape[1]):
            if scene.digit[b,k]<0: continue
            u,v,_ = (torch.linalg.inv(scene.matrix[b,k,t]) @ torch.tensor([x,y,1.], dtype=torch.float64)).tolist()
            planes = images[scene.digit[b,k]].tolist()
            alpha = sample(planes[-1], u, v, nearest)/255
            for c in range(3):
                ink = sample(planes[c if kind=='rgba' else 0], u, v, nearest)
                level[c] = ink*gain[b,k,t,c].item() + (1-alpha)*level[c]
        wrong += any(abs(o - found)>.5001 for o,found in zip(level, frames[b,t,:,y,x].tolist()))
    assert wrong<=4 if nearest else wrong==0 # Where a sample lies between two texels, rounding decides


def test_no_rim():
    "Every pixel of a coloured digit before a picture lies between the picture and the colour"
    for digits in ('fonts', 'shapes'):
        ds = make(digits=digits, composite='over', color=(1,.2,0), background=torch.full((3,8,8), 200, dtype=torch.uint8), num_digits=1)
        frames = ds[0].double()
        low,high = torch.tensor([200.,51,0])[:,None,None],torch.tensor([255.,200,200])[:,None,None]
        assert (frames>=low-1).all() and (frames<=high+1).all()
        rim = make(digits=digits, composite='opaque', color=(1,.2,0), background=torch.full((3,8,8), 200, dtype=torch.uint8), num_digits=1)[0]
        assert (rim[:,0]<190).any() # What the other rule is for


def test_premultiplied_by_hand():
    x = load_digits([PIL.Image.new('RGBA', (7,9), (250,100,0,128))]*7).images
    assert x.shape==(5,4,9,7) and x[0,:,0,0].tolist()==[125,50,0,128] # 250·128/255 = 125.49, 100·128/255 = 50.2
    expected = (STRAIGHT[:,:3].double()*STRAIGHT[:,3:].double()/255).round()
    assert (RGBA[:,:3].double() - expected[:len(RGBA)]).abs().max()<=0 and torch.equal(RGBA[:,3], STRAIGHT[:len(RGBA),3])


def test_layers_compose_to_frames():
    for images,composite in ((STRAIGHT,'over'), (STRAIGHT,'opaque'), (STRAIGHT,'max'), (STRAIGHT,'sum'), (None,'over')):
        ds = make(composite=composite, background=bytes_of(2,3,30,30), drift=(0,2), foreground=FENCE, foreground_drift=(1,2), lifetime=(1,4),
                  **({} if images is None else dict(digits=images)))
        scene = ds.draw(indices=range(4))
        truth = ds.truth(scene, ['layers','backdrop','foreground','occluder'] + ['cover']*(composite in ('over','opaque')))
        layers,cover = truth['layers'].transpose(1,2),truth.get('cover', truth['layers'][:,:,:,:1]).transpose(1,2)
        layers = torch.cat([truth['backdrop'][:,:,None].expand(-1,-1,-1,layers.shape[3],-1,-1), layers], 2)
        cover = torch.cat([torch.ones_like(cover[:,:,:1]), cover], 2)
        finished = blend(layers.flatten(0,1), cover.flatten(0,1), composite).clamp(0,255).round().unflatten(0, (4,5))
        frames = (truth['foreground'] + (1 - truth['occluder'])*finished).clamp(0,255).round()
        difference = (frames - ds.render(scene).float()).abs()
        assert difference.max()<=1 and (difference>0).float().mean()<1e-3


def test_three_channels_are_opaque():
    assert [effective_composite('over', bytes_of(1,c,2,2)) for c in (1,3,4)]==['over','opaque','over']
    a,b = (make(digits=STRAIGHT[:,:3], composite=o, targets=['boxes','visibility']).get_batch(4) for o in ('over','opaque'))
    assert torch.equal(a[0], b[0]) and torch.equal(a[1]['boxes'], b[1]['boxes']) and torch.equal(a[1]['visibility'], b[1]['visibility'])


def test_presence_draws_what_scenes_without_the_digit_draw():
    for composite in ('max','sum','over','opaque'):
        ds = make(composite=composite, lifetime=(1,3), motion='bounce' if composite=='max' else 'affine')
        scene = ds.draw(indices=range(6))
        frames = ds.render(scene)
        for t in range(5):
            here = with_fields(scene, digit=scene.digit.where(scene.present[:,:,t], -1), present=None)
            assert torch.equal(frames[:,t], ds.render(here)[:,t])
        truth = ds.truth(scene, ['present','boxes','visibility','masks','modal_boxes','instance'])
        gone = ~truth['present']
        assert gone.any() and torch.equal(truth['present'], scene.present & (scene.digit>=0)[...,None])
        assert not truth['boxes'][gone].any() and not truth['visibility'][gone].any() and not truth['masks'][gone].any() and not truth['modal_boxes'][gone].any()
        assert not any((truth['instance'][b,t]==k+1).any() for b,k,t in gone.nonzero().tolist())


@pytest.mark.parametrize('split', ['train','test'])
def test_lifetimes_are_the_scalar_rule(split):
    ds = make(lifetime=(2,4), num_frames=7, split=split)
    scene = ds.draw(indices=range(50))
    words = Philox(4, torch.arange(50), stream=2*['train','valid','test'].index(split) + 41).words(3, 2).tolist()
    for b in range(50):
        for k in range(3):
            n = 2 + (words[b][k][0]*3 >> 32)
            first = (words[b][k][1]*(7 + n - 1) >> 32) - (n-1)
            assert scene.present[b,k].tolist()==[first<=t<first+n for t in range(7)] and scene.present[b,k].any()
    assert torch.equal(make(num_frames=7, split=split).draw(indices=range(50)).translate, scene.translate) # Poses stay as they are


def test_foregrounds_pixel_by_pixel():
    glass = load_pictures(straight_images(2, 5, 6), 'foreground')
    ds = make(foreground=straight_images(3, 5, 6), foreground_drift=(1,3), composite='sum', img_size=(30,34))
    plain = MovingMNIST.from_recipe({**ds.recipe, 'foreground': None, 'foreground_drift': [0,0]})
    scene = ds.draw(indices=range(3))
    frames,behind = ds.render(scene),plain.render(with_fields(scene, foreground=None, foreground_drift=None))
    rng = random.Random(1)
    for _ in range(300):
        b,t,y,x = rng.randrange(3),rng.randrange(5),rng.randrange(30),rng.randrange(34)
        dx,dy = scene.foreground_drift[b,t].tolist()
        planes = ds.occluders[scene.foreground[b]].tolist()
        u,v = (x+dx) % 6,(y+dy) % 5
        wrapped = [[row[-1:] + row + row[:2] for row in plane[-1:] + plane + plane[:2]] for plane in planes]
        *color,alpha = (sample(o, u+1, v+1, False) for o in wrapped)
        expected = [min(max(f + (1 - alpha/255)*p, 0), 255) for f,p in zip(color, behind[b,t,:,y,x].tolist()*3)]
        assert all(abs(e - f)<=.51 for e,f in zip(expected, frames[b,t,:,y,x].tolist()))
    assert glass.shape==(2,4,5,6)


def test_what_a_foreground_hides():
    ds = make(foreground=FENCE, foreground_drift=(1,2), num_frames=4)
    scene = ds.draw(indices=range(6))
    names = ['occluder','instance','modal_masks','masks','visibility','modal_boxes','flow','flow_valid','boxes']
    truth = ds.truth(scene, names)
    free = ds.truth(with_fields(scene, foreground=None, foreground_drift=None), [o for o in names if o!='occluder'])
    hidden = truth['occluder'][:,:,0]>=.5
    assert hidden.any() and torch.equal(truth['instance'], free['instance'].where(~hidden, 0))
    assert torch.equal(truth['modal_masks'], free['modal_masks'] & ~hidden[:,None])
    assert torch.equal(truth['masks'], free['masks']) and torch.equal(truth['boxes'], free['boxes'])
    whole = free['modal_masks'].sum((-2,-1))/free['visibility']
    share = truth['modal_masks'].sum((-2,-1))/whole
    assert torch.allclose(truth['visibility'][free['visibility']>0], share[free['visibility']>0], atol=1e-5)
    move = (scene.foreground_drift[:,:-1] - scene.foreground_drift[:,1:]).float()
    expected = move[...,None,None].expand_as(truth['flow'])
    shown = hidden[:,:-1,None].expand_as(expected)
    assert torch.allclose(truth['flow'][shown], expected[shown], atol=1e-5) and torch.equal(truth['flow'][~shown], free['flow'][~shown])


@pytest.mark.parametrize('composite', ['max','sum','over','opaque'])
@pytest.mark.parametrize('kind', ['grey','rgba'])
def test_the_reference_agrees(kind, composite):
    ds = make(composite=composite, lifetime=(1,3), foreground=FENCE, foreground_drift=(1,2), background=bytes_of(2,1,20,20), **(dict(digits=STRAIGHT) if kind=='rgba' else {}))
    scene = ds.draw(indices=range(5))
    images,back = ds.digits.images,Backdrop(ds.pictures, scene.background, scene.drift)
    front = Backdrop(ds.occluders, scene.foreground, scene.foreground_drift)
    args = images,scene.digit,scene.matrix,(64,64)
    names = ['masks','modal_masks','instance','visibility','overlap','modal_boxes','layers','flow','flow_valid','backward_flow'] + ['cover']*(composite in ('over','opaque'))
    ours = trace(*args, names, composite=composite, backdrop=back, present=scene.present, foreground=front)
    hidden = trace(*args, ['occluder'], composite=composite, foreground=front)['occluder'][:,:,0]>=.5
    gain = expand_gain(scene.gain, images, back, front)
    theirs = trace_reference(*args, names, gain, None, composite, 'bilinear', back, scene.present, hidden, scene.foreground_drift)
    for name in names:
        a,b = ours[name].double(),theirs[name].double()
        assert a.shape==b.shape and ((a-b).abs()>1e-3).double().mean()<2e-3, name
    slow = render_reference(*args, gain, composite, 'bilinear', back, scene.present)
    overlay(slow, front)
    boxes = torch.empty(*scene.angle.shape, 4)
    fast = render(*args, composite=composite, backdrop=back, present=scene.present, foreground=front, boxes=boxes)
    assert (fast.int() - slow.int()).abs().max()<=1
    floats = render(*args, composite=composite, backdrop=back, present=scene.present, foreground=front, stats=([.2],[.3]))
    assert torch.equal(floats, (fast/255 - torch.tensor(.2))/torch.tensor(.3))


def test_batches_samples_and_files_agree(tmp_path):
    ds = make(foreground=FENCE, lifetime=(2,4), composite='over', targets=['present','occluder'])
    whole = ds[list(range(4))]
    for i in range(4):
        frames,target = ds[i]
        assert torch.equal(frames, whole[0][i]) and torch.equal(target['present'], whole[1]['present'][i])
    ds.save(tmp_path/'x', n=4, shards=2, progress=False)
    from torch_moving_mnist import load
    saved = load(tmp_path/'x')
    assert torch.equal(saved[2][0], whole[0][2]) and torch.equal(saved[2][1]['occluder'], whole[1]['occluder'][2])
    scene = ds.draw(indices=[1,2])
    scene.save(tmp_path/'s.npz')
    assert torch.equal(ds.render(Scene.load(tmp_path/'s.npz')), whole[0][1:3])


def test_images_from_pil_and_folders(tmp_path):
    modes = {'RGBA': (10,200,30,128), 'LA': (80,128), 'P': 3, 'L': 77, 'RGB': (1,2,3), '1': 1}
    shapes = {mode: load_digits([PIL.Image.new(mode, (7,9), colour)]*7, split='train').images.shape[1] for mode,colour in modes.items()}
    assert shapes=={'RGBA':4, 'LA':4, 'P':3, 'L':1, 'RGB':3, '1':1}
    for name,size in (('cat',(20,30)), ('dog',(33,9))):
        (tmp_path/name).mkdir()
        for i in range(8): PIL.Image.fromarray(np.random.default_rng(i).integers(0, 256, (*size,3), dtype=np.uint8)).save(tmp_path/name/f'{i}.png')
    ds = make(digits=ImageFolder(tmp_path), digit_size=(12,14), composite='over', targets=['caption'])
    assert ds.digits.images.shape[1:]==(3,12,14) and ds.digits.names==('cat','dog') and 'dog' in ds[0][1]['caption'] + ds[1][1]['caption'] + ds[2][1]['caption']
    with pytest.raises(ValueError, match=r'digits has images of shapes .* expected a single shape, or digit_size=…'): make(digits=ImageFolder(tmp_path))
    last = STRAIGHT.movedim(1, 3)
    assert torch.equal(load_digits(last.numpy()).images, RGBA)


def test_fitted_pictures():
    x = bytes_of(2,3,5,6)
    mirrored = fit_pictures(x, 'mirror', (64,64))
    for y in range(20):
        for c in range(20): assert torch.equal(mirrored[:,:,y%10,c%12], x[:,:,min(y%10, 9-y%10),min(c%12, 11-c%12)])
    assert fit_pictures(x, 'resize', (17,31)).shape==(2,3,17,31) and fit_pictures(x, 'resize', (3,4)).shape==(2,3,3,4)
    flat = torch.full((1,1,4,4), 93, dtype=torch.uint8)
    assert (fit_pictures(flat, 'resize', (9,11))==93).all()
    for fit in ('tile','mirror','resize'):
        ds = make(background=x, background_fit=fit)
        assert torch.equal(MovingMNIST.from_recipe(ds.recipe, background=x)[1], ds[1])
    assert 'background_fit' not in make(background=x).recipe
    seam = make(background=x, background_fit='resize', num_digits=1)
    assert seam.pictures.shape==(2,3,64,64)


def test_over_of_earlier_versions_is_opaque():
    recipe = make(composite='opaque').recipe
    old = {**recipe, 'version': '0.1.0', 'composite': 'over'}
    assert check_keys(old)['composite']=='opaque' and old['composite']=='over'
    assert check_keys({**recipe, 'composite': 'over'})['composite']=='over'
    with pytest.warns(UserWarning, match='version 0.1.0'): assert torch.equal(MovingMNIST.from_recipe(old)[0], make(composite='opaque')[0])


@pytest.mark.parametrize('kw,error,message', [
    (dict(lifetime=4), TypeError, r'lifetime=4; expected a range \(lo, hi\)'), (dict(lifetime=(0,4)), ValueError, r'lifetime=\(0, 4\); expected'),
    (dict(lifetime=(5,4)), ValueError, r'lifetime=\(5, 4\); expected'), (dict(lifetime=(1.5,4)), TypeError, r'lifetime=\(1.5, 4\)'),
    (dict(foreground=bytes_of(3,8,8)), ValueError, r'foreground has shape \(3, 8, 8\); expected \(C,H,W\) or \(M,C,H,W\), C 2 or 4'),
    (dict(foreground=5), TypeError, 'foreground=5; expected'), (dict(foreground_drift=(1,2)), ValueError, 'foreground_drift=.* has no effect without a foreground'),
    (dict(background=bytes_of(4,8,8)), ValueError, r'background has shape \(4, 8, 8\)'), (dict(background_fit='stretch'), ValueError, "background_fit='stretch'; expected one of"),
    (dict(background_fit='mirror'), ValueError, 'without a background'), (dict(targets=['occluder']), ValueError, "without a foreground; expected foreground=…, or no 'occluder'"),
    (dict(digits=bytes_of(8,2,9,9)), ValueError, r'C 1, 3 or 4')], ids=str)
def test_errors(kw, error, message):
    with pytest.raises(error, match=message): make(**kw)


def test_scenes_with_foregrounds_need_pictures():
    scene = make(foreground=FENCE).draw(2)
    with pytest.raises(ValueError, match='scene has foregrounds, but there are no foreground images'): make().render(scene)
    with pytest.raises(ValueError, match='foreground and foreground_drift belong together'): Scene(**{**vars(scene), 'foreground': None})
    with pytest.raises(TypeError, match='present holds torch.int64; expected True and False'): Scene(**{**vars(scene), 'present': torch.ones(2,3,5).long()})
    assert all(o in TARGETS for o in ('occluder','foreground','present'))


def test_captions_and_protocols_know_lifetimes():
    ds = make(num_digits=1, lifetime=(2,2), num_frames=9, motion='bounce', targets=['caption'], length=40)
    scene = ds.draw(indices=range(40))
    texts = ds.truth(scene)['caption']
    for b in range(40):
        first,*_,last = [0, *scene.present[b,0].nonzero()[:,0].tolist()][1:]*2
        dx,dy = (scene.translate[b,0,last] - scene.translate[b,0,first]).tolist()
        hit = bool((scene.bounces[b,0,last if last>first else []]>0).any()) # In the first frame, the way to the wall is not seen
        assert ('bouncing' in texts[b])==hit
        if not hit and dx>abs(dy)*2.5 and dx>1: assert 'goes right' in texts[b]
    canonical = MovingMNIST.preset('canonical', digits='fonts', seed=0)
    for kw in (dict(lifetime=(2,9)), dict(foreground=FENCE)):
        other = MovingMNIST.preset('canonical', digits='fonts', seed=0, **kw)
        assert 'other settings differ' in other.protocol and other.protocol!=canonical.protocol


def test_what_earlier_versions_kept():
    "Pickles of 0.1 have none of the new attributes, and their 'over' is 'opaque'; positions of a Scene's fields stay"
    ds = make(composite='opaque')
    new = ('corrupt','corrupt_params','background_fit','occluders','foreground_drift','lifetime','circles','_cursor')
    state = {k: o for k,o in vars(ds).items() if k not in new} | {'_position': 0, '_home': (0,1), 'composite': 'over'}
    old = MovingMNIST.__new__(MovingMNIST)
    old.__setstate__(state)
    assert torch.equal(old[3], ds[3]) and old.recipe==ds.recipe and repr(old)==repr(ds) and torch.equal(old.get_batch(2), ds.get_batch(2))
    fields = [o.name for o in dataclasses.fields(Scene)]
    assert fields[:14]==['digit','angle','translate','scale','shear','gain','digit_size','canvas_size','stretch','color','background','drift','bounces','digits']


# ---- What a second reading found

@pytest.mark.parametrize('dtype', [torch.float64, torch.float16])
def test_batches_are_float32_whatever_the_default_dtype(dtype):
    front = torch.full((2,8,8), 128, dtype=torch.uint8)
    settings = [dict(corrupt='noise', normalize=(.1,.3)), dict(foreground=front, normalize=False), dict(targets=['clean'], normalize=(.1,.3)), dict(corrupt='blur', foreground=front, targets=['clean'], normalize=(.1,.3))]
    expected = [make(**kw).get_batch(2) for kw in settings]
    torch.set_default_dtype(dtype)
    try: found = [make(**kw).get_batch(2) for kw in settings]
    finally: torch.set_default_dtype(torch.float32)
    for a,b in zip(expected, found):
        for x,y in [(a, b)] if isinstance(a, torch.Tensor) else [(a[0], b[0]), (a[1]['clean'], b[1]['clean'])]: assert y.dtype==torch.float32 and torch.equal(x, y)


def test_captions_count_what_happens_in_a_lifetime():
    "By a scalar version: a wall or a digit counts if the digit was there in the frame before, and the other digit too"
    ds = make(motion='collide', num_digits=3, num_frames=12, lifetime=(2,12), img_size=90, length=200)
    scene = ds.draw(indices=range(200))
    texts,met = ds.truth(scene, 'caption')['caption'],0
    there = scene.present & (scene.digit>=0)[...,None]
    for b,text in enumerate(texts):
        clauses = text.rstrip('.').split('; ')
        for k,clause in enumerate(clauses):
            hits,bumps,bent,partners = 0,0,False,set()
            for t in range(12):
                if not there[b,k,t] or t and not there[b,k,t-1]: continue
                hits += bin(int(scene.bounces[b,k,t])).count('1')
                for j in range(3):
                    if not scene.collisions[b,k,j,t]: continue
                    bent = True
                    if there[b,j,t] and (not t or there[b,j,t-1]): bumps,partners = bumps+1,partners | {j}
            def times(n): return {1:'once', 2:'twice'}.get(n, f'{n} times')
            assert (' off the ' in clause)==(hits>0) and (not hits or f'bouncing {times(hits)} off the ' in clause)
            assert (f"bouncing {times(bumps)} off {'another digit' if len(partners)==1 else 'other digits'}" in clause) if bumps else 'another digit' not in clause and 'other digits' not in clause
            assert (' ends up ' in clause)==(hits>0 or bent)
            met += bumps
    assert met>50


def test_a_fitted_background_can_be_replaced_and_refitted():
    pictures = torch.randint(0, 255, (3,3,20,24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for fit in 'tile','mirror','resize':
        ds = make(background=pictures, background_fit=fit)
        recipe = json.loads(json.dumps(ds.recipe))
        assert recipe['background']['pictures']==[3,3,20,24] and '3 images 20×24' in repr(ds)
        assert torch.equal(MovingMNIST.from_recipe(recipe, background=pictures)[3], ds[3])
        for change in dict(img_size=80), dict(background_fit='mirror'), dict(background_fit='resize', img_size=(40,50)):
            again = MovingMNIST.from_recipe(recipe, background=pictures, **change)
            assert torch.equal(again[3], make(**{**dict(background=pictures, background_fit=fit), **change})[3])
        with pytest.raises(ValueError, match='background'): MovingMNIST.from_recipe(recipe, background=pictures.flip(0))


def test_folders_and_images_keep_their_transparency(tmp_path):
    for i in range(6):
        (tmp_path/f'{i%2}').mkdir(exist_ok=True)
        im = Image.new('RGBA', (12,10), (255,0,0,0))
        im.paste((0,200,0,255), (3,3,9,8))
        (im if i else im.convert('RGB')).save(tmp_path/f'{i%2}'/f'{i}.png') # Files with alpha and without
    ds = make(digits=ImageFolder(tmp_path), composite='over')
    assert ds.digits.images.shape[1:]==(4,10,12) and not ds.digits.images[-1,:,0,0].any()
    grey = Image.new('L', (8,8), 0)
    grey.save(tmp_path/'grey.png', transparency=0)
    images = make(digits=[Image.open(tmp_path/'grey.png')]*9, split='train').digits.images
    assert images.shape[1]==4 and not images.any()


def test_max_before_a_background_warns_of_alpha():
    with pytest.warns(UserWarning, match="composite='max' does not use the alpha"): make(digits=STRAIGHT, background=torch.full((1,9,9), 230, dtype=torch.uint8))


def test_single_parameters_of_a_preset_are_replaced():
    def preset(name, **kw): return MovingMNIST.preset(name, digits='fonts', **kw)
    assert preset('noisy-missing', corrupt_params=dict(probability=.5)).corrupt_params=={'frames': (0,10), 'probability': .5}
    assert preset('noisy-missing', corrupt='missing').corrupt_params=={'frames': (0,10), 'probability': .2}
    assert preset('noisy-missing', corrupt='blur').corrupt_params=={'frames': None, 'sigma': 1.}
    assert preset('noisy-missing', corrupt='blur', corrupt_params=dict(sigma=2)).corrupt_params=={'frames': None, 'sigma': 2.}
    assert preset('noisy-dynamic', motion_params=SimpleNamespace(noise=.5)).motion_params=={**preset('noisy-dynamic').motion_params, 'noise': .5}
    assert preset('srvp-deterministic', motion='reflect').motion_params==preset('canonical-tfds').motion_params
    assert preset('noisy-missing', corrupt=None).corrupt_params is None


@pytest.mark.parametrize('kwargs,error,message', [
    (dict(corrupt=lambda f: f), TypeError, r'corrupt=<lambda>\(f\); expected a function of frames, rng'), (dict(where=lambda: True), TypeError, r'where=<lambda>\(\); expected a function of a Scene'),
    (dict(corrupt=3), TypeError, "corrupt=3; expected one of 'noise', .* a function or None"), (dict(lifetime=(0,3)), ValueError, r'lifetime=\(0, 3\); expected a range .* 1 ≤ lo'),
    (dict(foreground=torch.zeros(8,8,dtype=torch.uint8)), ValueError, r'foreground has shape \(8, 8\); expected \(C,H,W\) or \(M,C,H,W\), C 2 or 4'),
    (dict(corrupt='blur', corrupt_params=dict(frames={0:1, 2:3})), TypeError, r'frames=\{0: 1, 2: 3\}; expected None, or \(first, stop\)')], ids=lambda o: '+'.join(o) if isinstance(o, dict) else '')
def test_what_was_refused_badly(kwargs, error, message):
    with pytest.raises(error, match=message): make(**kwargs)


def test_a_function_that_is_set_is_tried_at_once():
    ds = make(corrupt='blur', corrupt_params=dict(sigma=2))
    with pytest.raises(TypeError, match='corrupt=<lambda> returned float32'): ds.corrupt = lambda frames, rng: frames.float()
    assert ds.corrupt=='blur' and ds.corrupt_params['sigma']==2
