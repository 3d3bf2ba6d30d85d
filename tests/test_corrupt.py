"Corruption of frames against plain Python versions, and the noisy presets against OpenSTL's rules, with the same random words"
import copy, json, math, pickle, random, re

import numpy as np
import pytest
import torch
from conftest import ROOT, needs_mnist
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from torch_moving_mnist import load
from torch_moving_mnist.corrupt import CORRUPTIONS, add_noise, check_corrupt_params
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import load_digits
from torch_moving_mnist.files import verify
from torch_moving_mnist.metrics import baselines, evaluate
from torch_moving_mnist.motion import check_motion
from torch_moving_mnist.presets import PRESETS
from torch_moving_mnist.recipe import check_keys
from torch_moving_mnist.rng import Philox, normal
from torch_moving_mnist.truth import per_frame, show_truth, to_mot

KINDS = list(CORRUPTIONS)
SPLITS = ['train','valid','test']
PICTURES = torch.randint(0, 256, (3,3,40,44), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def own(frames, rng):
    "Adds random levels, and changes its argument"
    frames += (rng.uniform(frames.shape[1])*50).byte()[:,:,None,None,None]
    return frames


def words_of(seed, i, split, n): return Philox(seed, torch.tensor([i]), stream=2*SPLITS.index(split) + 48).words(n)[0].tolist()


# ---- Scalar versions: one frame, one pixel at a time

def box_muller(a, b):
    "Two normal numbers from two words"
    r,angle = math.sqrt(-2*math.log((a+1)/2**32)), 2*math.pi*(b+1)/2**32
    return r*math.cos(angle), r*math.sin(angle)


def scalar_noise(frames, words, std):
    n,out,block = len(frames),frames.copy(),-(-frames[0].size//4)*4
    for t in range(n):
        w,flat = words[t*block:(t+1)*block],out[t].reshape(-1)
        for i in range(len(flat)):
            z = box_muller(w[i//2*2], w[i//2*2+1])[i%2]
            flat[i] = min(max(round(flat[i] + 255*std*z), 0), 255)
    return out


def scalar_missing(frames, words, probability):
    out = frames.copy()
    for t in range(len(out)):
        if words[t]/2**32<probability: out[t] = 0
    return out


def scalar_hole(frames, words, size):
    out,(H,W),(h,w) = frames.copy(),frames.shape[2:],size
    for t in range(len(out)):
        y,x = (max(side-o, 0)*words[2*t+j]//2**32 for j,(side,o) in enumerate([(H,h),(W,w)]))
        for row in range(y, min(y+h, H)):
            for column in range(x, min(x+w, W)): out[t,:,row,column] = 0
    return out


def mirrored(i, n):
    "Position of a pixel past the edge, which is not repeated"
    while not 0<=i<n: i = -i if i<0 else 2*(n-1) - i
    return i


def scalar_blur(frames, words, sigma):
    out,(n,C,H,W) = frames.copy(),frames.shape
    def weights(side):
        r = min(math.ceil(4*sigma), side-1)
        w = {d: math.exp(-d*d/(2*sigma**2)) for d in range(-r, r+1)}
        return {d: o/sum(w.values()) for d,o in w.items()}
    down,across = weights(H),weights(W)
    for t in range(n):
        for c in range(C):
            for y in range(H):
                for x in range(W):
                    total = sum(p*q*float(frames[t,c,mirrored(y+i, H),mirrored(x+j, W)]) for i,p in down.items() for j,q in across.items())
                    out[t,c,y,x] = round(total)
    return out


SCALAR = dict(noise=scalar_noise, missing=scalar_missing, hole=scalar_hole, blur=scalar_blur)
CASES = [('noise', dict(std=.1)), ('noise', dict(std=2.5)), ('missing', dict(probability=.5)), ('missing', dict(probability=1)), ('hole', dict(size=(24,24))), ('hole', dict(size=(5,40))), ('hole', dict(size=(60,60))),
         ('blur', dict(sigma=1.)), ('blur', dict(sigma=.3))]


@pytest.mark.parametrize('frames', [None, (2,4), (1,100)], ids=str)
@pytest.mark.parametrize('kind,params', CASES, ids=str)
@pytest.mark.parametrize('kw', [dict(img_size=(35,37)), dict(img_size=(30,32), split='test', background=PICTURES)], ids=['grey','colour'])
def test_each_kind_is_its_scalar_version(fonts, kind, params, frames, kw):
    if kind=='blur' and (frames is None or 'background' in kw and params['sigma']==1): frames = (2,3) # The scalar version is slow
    kw = dict(num_digits=2, motion='bounce', seed=9, **kw)
    clean,ds = fonts(**kw), fonts(**kw, corrupt=kind, corrupt_params=dict(frames=frames, **params))
    i,(first,stop) = 234,frames or (0,5)
    before,found = clean[i].numpy(),ds[i].numpy()
    words = words_of(9, i, kw.get('split', 'train'), 5*4*before[0].size)
    assert np.array_equal(found[first:stop], SCALAR[kind](before[first:stop], words, **params))
    assert np.array_equal(found[:first], before[:first]) and np.array_equal(found[stop:], before[stop:])
    assert not np.array_equal(found, before) or params==dict(sigma=.3)


def test_a_very_wide_blur_is_that_of_the_canvas(fonts):
    kw = dict(img_size=(28,29), num_frames=1, seed=2)
    found = fonts(**kw, corrupt='blur', corrupt_params=dict(sigma=9))[3].numpy()
    assert np.array_equal(found, scalar_blur(fonts(**kw)[3].numpy(), None, 9))


def test_normal_numbers():
    z = normal(Philox(5, torch.arange(200)).words(5000))
    assert z.dtype==torch.float64 and z.shape==(200,5000) and abs(z.mean())<4e-3 and abs(z.std()-1)<3e-3 and abs((z**3).mean())<.01 and abs((z**4).mean()-3)<.03
    assert z.abs().max()<6.67 and abs((z[:,0::2]*z[:,1::2]).mean())<5e-3
    w = Philox(5, torch.arange(3)).words(6)
    for b in range(3):
        for i in (0,2,4): assert normal(w)[b,i:i+2].tolist()==pytest.approx(box_muller(*w[b,i:i+2].tolist()), abs=1e-12)
    ends = normal(torch.tensor([0,0,2**32-1,7]))
    assert ends.isfinite().all() and ends[2:].tolist()==[0,0]


def test_noise_of_large_frames_is_made_in_parts(monkeypatch):
    import torch_moving_mnist.corrupt as module
    def noisy(n):
        frames = torch.full((1,1,3,7,9), 128, dtype=torch.uint8)
        monkeypatch.setattr(module, '_PART', n)
        add_noise(frames, Philox(0, torch.arange(1)), .2)
        return frames
    assert torch.equal(noisy(64), noisy(10**6)) and torch.equal(noisy(16), noisy(64)) and noisy(64).unique().numel()>50


# ---- The same sequence everywhere

@pytest.mark.parametrize('part', [2**20, 64*64, 64*64*2, 64*64*7])
@pytest.mark.parametrize('corrupt', [*KINDS, own])
def test_a_sequence_is_the_same_in_every_batch(fonts, corrupt, part, monkeypatch):
    import torch_moving_mnist.corrupt as module
    ds = fonts(corrupt=corrupt, corrupt_params=dict(frames=(1,4)), length=50)
    whole = ds[range(13)]
    monkeypatch.setattr(module, '_PART', part)
    for i in (0,7,12): assert torch.equal(ds[i], whole[i])
    assert torch.equal(ds[[12,3,-50]], whole[[12,3,0]]) and torch.equal(torch.stack(ds.__getitems__([5,1])), whole[[5,1]])
    assert torch.equal(ds.get_batch(indices=[7,2])*255, whole[[7,2]].float())
    clean = fonts(length=50)[range(13)]
    assert torch.equal(ds.corrupted(clean, range(13)), whole) and torch.equal(clean, fonts(length=50)[range(13)])
    assert torch.equal(ds.corrupted(clean[4:5], [4]), whole[4:5])


@pytest.mark.parametrize('corrupt', [*KINDS, own])
def test_all_ways_to_a_batch_agree(fonts, corrupt):
    def make(**kw): return fonts(corrupt=corrupt, normalize=(.1,.3), length=50, **kw)
    whole = make().get_batch(indices=range(8))
    ds = make()
    assert torch.equal(torch.cat([ds.get_batch(4), ds.get_batch(4)]), whole)
    assert torch.equal(torch.cat([*make().batches(2, 4)]), whole) and torch.equal(torch.cat([*DataLoader(make().stream(4, 2), batch_size=None)]), whole)
    assert torch.equal(torch.cat([o for o in DataLoader(make(), batch_size=4)])[:8], make()[range(8)])
    assert torch.equal(pickle.loads(pickle.dumps(ds))[3], ds[3]) and torch.equal(copy.copy(ds)[3], ds[3])


def test_loader_workers_corrupt_alike(fonts):
    ds = fonts(corrupt='noise', length=12)
    found = torch.cat([*DataLoader(ds, batch_size=4, num_workers=2, multiprocessing_context='forkserver')])
    assert torch.equal(found, ds[range(12)])


def test_seeds_splits_and_indices_give_other_damage(fonts):
    def damage(i=0, **kw): return fonts(corrupt='hole', **kw).corrupted(torch.full((1,5,1,64,64), 255, dtype=torch.uint8), [i])
    found = [damage(), damage(1), damage(seed=1), damage(split='valid'), damage(split='test'), damage(seed=None), damage(seed=None)]
    assert all(not torch.equal(a, b) for k,a in enumerate(found) for b in found[:k])
    assert torch.equal(damage(), damage(num_digits=1, motion='bounce')) # It does not depend on what was drawn


def test_numbers_are_those_of_no_scene(fonts):
    "Streams of Scenes: those of draw_scene for all splits, of statistics, and of any attempt"
    used = {2*split + i + 64*attempt for split in range(6) for i in (0,1,32,33) for attempt in range(3)}
    assert not used & {2*split + 48 for split in range(3)}


def test_without_a_seed_the_damage_is_fresh(fonts):
    ds = fonts(corrupt='missing', corrupt_params=dict(probability=.5), seed=None)
    assert not torch.equal(ds.get_batch(8), ds.get_batch(8)) and ds[0].dtype==torch.uint8


def test_global_random_state_is_left_alone(fonts):
    ds = fonts(corrupt='noise')
    before = torch.get_rng_state(),random.getstate(),np.random.get_state()[1].tolist()
    ds[0], ds.get_batch(3)
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate()==before[1] and np.random.get_state()[1].tolist()==before[2]


# ---- Clean frames

@pytest.mark.parametrize('corrupt', [*KINDS, own, None])
@pytest.mark.parametrize('normalize', [False, True, (.1,.3), (.2,[.3])], ids=str)
def test_clean_frames_are_those_without_corruption(fonts, corrupt, normalize, capsys):
    kw = dict(normalize=normalize, seed=3)
    clean,ds = fonts(**kw), fonts(**kw, corrupt=corrupt, targets=['boxes','clean','labels'])
    for i in (0,77):
        frames,target = ds[i]
        assert list(target)==['boxes','clean','labels'] and isinstance(target['clean'], tv_tensors.Video) and torch.equal(target['clean'], clean[i])
    x,target = ds.get_batch(indices=[4,9])
    assert torch.equal(target['clean'], clean.get_batch(indices=[4,9])) and target['clean'].dtype==torch.float32
    frames,bytes_ = ds[[4,9]]
    assert torch.equal(x, ds.batch_tfms(frames)) and torch.equal(bytes_['clean'], clean[[4,9]])
    assert torch.equal(ds.render(ds.draw(indices=[4,9])), clean[[4,9]]) and torch.equal(ds.truth(ds.draw(indices=[4,9]))['clean'], clean[[4,9]])
    assert torch.equal(x, target['clean'])==(corrupt is None) and x.data_ptr()!=target['clean'].data_ptr()
    assert (ds.denormalize(target['clean'])*255 - clean[[4,9]]).abs().max()<1e-2


def test_clean_frames_with_other_transforms(fonts):
    ds = fonts(corrupt='noise', targets=['clean'])
    ds.batch_tfms = None
    x,target = ds.get_batch(indices=[2])
    assert x.dtype==target['clean'].dtype==torch.uint8 and torch.equal(target['clean'], fonts()[[2]]) and torch.equal(x[0], ds[2][0])
    ds.batch_tfms = lambda frames: frames.flip(-1).half()
    x,target = ds.get_batch(indices=[2])
    assert torch.equal(target['clean'], fonts()[[2]].flip(-1).half()) and torch.equal(x[0], ds[2][0].flip(-1).half())


def test_other_functions_of_ground_truth_ignore_clean_frames(fonts):
    ds,plain = (fonts(targets=['boxes','labels',*more], **kw) for more,kw in ((['clean'], dict(corrupt='hole')), ([], {})))
    assert all(torch.equal(a['boxes'], b['boxes']) for a,b in zip(per_frame(ds[0][1]), per_frame(plain[0][1])))
    show_truth(*ds[0])
    listed = fonts(targets=['clean'], corrupt='hole', concat=False)[1]
    assert isinstance(listed[0], list) and torch.equal(listed[1]['clean'], fonts()[1])


def test_a_scene_of_other_size_has_clean_frames(fonts):
    ds = fonts(targets=['clean'], corrupt='hole')
    scene = ds.draw(2)[0:1]
    assert ds.truth(scene, ['clean'])['clean'].shape==(1,5,1,64,64)


def test_measured_statistics_are_those_of_clean_frames(fonts, capsys):
    assert fonts(corrupt='noise', normalize='measured').stats==fonts(normalize='measured').stats


def test_the_path_without_corruption_does_not_copy_bytes(fonts, monkeypatch):
    "Without corruption and clean frames, get_batch takes normalised floats from the renderer"
    import torch_moving_mnist.data as module
    asked = []
    real = module.render
    monkeypatch.setattr(module, 'render', lambda **kw: asked.append(kw['stats']) or real(**kw))
    monkeypatch.setattr(module, 'corrupt_frames', lambda *a: 1/0)
    fonts(normalize=(.1,.3)).get_batch(2)
    assert asked==[([.1],[.3])]


# ---- A function of one's own

def test_a_function_gets_a_copy_of_the_range(fonts):
    seen = []
    def look(frames, rng):
        seen.append((frames.clone(), rng.words(3)))
        frames.zero_()
        return frames
    ds = fonts(corrupt=look, corrupt_params=dict(frames=(1,3)), targets=['clean'])
    seen.clear()
    frames,target = ds[[8,3]]
    assert torch.equal(seen[0][0], fonts()[[8,3]][:,1:3]) and seen[0][0].dtype==torch.uint8 and len(seen)==1
    assert seen[0][1].tolist()==[words_of(0, 8, 'train', 3), words_of(0, 3, 'train', 3)]
    assert torch.equal(target['clean'], fonts()[[8,3]]) and frames[:,1:3].max()==0 and torch.equal(frames[:,[0,3,4]], target['clean'][:,[0,3,4]])


@pytest.mark.parametrize('returned', [lambda x: x.float(), lambda x: x[:,:2], lambda x: None, lambda x: x.numpy(), lambda x: [x]], ids=['float','short','none','array','list'])
def test_a_function_that_returns_no_frames_is_refused_at_construction(fonts, returned):
    def spoil(frames, rng): return returned(frames)
    with pytest.raises(TypeError, match=r'corrupt=spoil returned .*; expected a uint8 tensor \(1, 5, 1, 64, 64\)'): fonts(corrupt=spoil)


def test_a_function_that_fails_later_is_refused_then(fonts):
    def spoil(frames, rng): return frames if len(frames)==1 else frames.int()
    with pytest.raises(TypeError, match=r'corrupt=spoil returned int32 \(2, 5, 1, 64, 64\); expected a uint8 tensor'): fonts(corrupt=spoil).get_batch(2)


def test_a_range_past_the_end_changes_nothing(fonts):
    for corrupt in (*KINDS, own): assert torch.equal(fonts(corrupt=corrupt, corrupt_params=dict(frames=(5,9)))[2], fonts()[2])


# ---- Arguments and settings

@pytest.mark.parametrize('kw,error,message', [
    (dict(corrupt='nois'), ValueError, "corrupt='nois'; expected one of .*Did you mean 'noise'"), (dict(corrupt=3), TypeError, 'corrupt=3; expected one of'), (dict(corrupt=True), TypeError, 'corrupt=True'),
    (dict(corrupt_params=dict(std=.1)), ValueError, "corrupt_params={'std': 0.1} without a corruption; expected corrupt=…"), (dict(corrupt_params={}), ValueError, 'corrupt_params={} without'),
    (dict(corrupt='noise', corrupt_params=3), TypeError, 'corrupt_params=3; expected a dict'), (dict(corrupt='noise', corrupt_params=dict(sdt=1)), ValueError, "key of corrupt_params='sdt'.*Did you mean 'std'"),
    (dict(corrupt='hole', corrupt_params=dict(std=1)), ValueError, "key of corrupt_params='std'; expected one of 'frames', 'size'"), (dict(corrupt=own, corrupt_params=dict(std=1)), ValueError, "'std'; expected one of 'frames'"),
    (dict(corrupt='noise', corrupt_params=dict(std=-.1)), ValueError, 'std=-0.1; expected a number from 0'), (dict(corrupt='noise', corrupt_params=dict(std='a')), TypeError, "std='a'"), (dict(corrupt='noise', corrupt_params=dict(std=math.nan)), ValueError, 'std=nan'),
    (dict(corrupt='missing', corrupt_params=dict(probability=1.1)), ValueError, 'probability=1.1; expected a number from 0 to 1'), (dict(corrupt='hole', corrupt_params=dict(size=0)), ValueError, 'size=0; expected a whole number, at least 1'),
    (dict(corrupt='hole', corrupt_params=dict(size=(1,2,3))), ValueError, r'size=\(1, 2, 3\); expected a side in pixels, or \(height, width\)'), (dict(corrupt='hole', corrupt_params=dict(size=2.5)), TypeError, 'size=2.5'),
    (dict(corrupt='blur', corrupt_params=dict(sigma=0)), ValueError, 'sigma=0; expected a number from 0.01'), (dict(corrupt='blur', corrupt_params=dict(frames=(3,3))), ValueError, r'frames=\(3, 3\); expected None, or \(first, stop\)'),
    (dict(corrupt='blur', corrupt_params=dict(frames=(-1,3))), ValueError, r'frames=\(-1, 3\)'), (dict(corrupt='blur', corrupt_params=dict(frames=5)), TypeError, 'frames=5'), (dict(corrupt='blur', corrupt_params=dict(frames=(0,1.5))), TypeError, r'frames=\(0, 1.5\)')], ids=lambda o: getattr(o, '__name__', re.sub(r' at 0x\w+', '', str(o))))
def test_wrong_arguments_are_refused(fonts, kw, error, message):
    with pytest.raises(error, match=message): fonts(**kw)


def test_settings_can_be_changed(fonts):
    ds = fonts()
    ds.corrupt = 'hole'
    assert ds.corrupt_params==dict(frames=None, size=(24,24)) and torch.equal(ds[1], fonts(corrupt='hole')[1])
    ds.corrupt_params = dict(size=5)
    assert torch.equal(ds[1], fonts(corrupt='hole', corrupt_params=dict(size=(5,5)))[1]) and "corrupt: 'hole', frames None, size (5, 5)" in repr(ds)
    ds.corrupt = 'noise' # The parameters of the hole do not apply
    assert ds.corrupt_params==dict(frames=None, std=.1)
    with pytest.raises(ValueError, match="corrupt='x'"): ds.corrupt = 'x'
    with pytest.raises(ValueError, match="corrupt_params='size'"): ds.corrupt_params = dict(size=3)
    ds.corrupt = None
    assert ds.corrupt_params is None and torch.equal(ds[1], fonts()[1])


def test_frames_of_other_sequences_are_refused(fonts):
    ds = fonts(corrupt='noise')
    frames = fonts()[[0,1]]
    for wrong in (frames/255, frames[0], frames[:1], None):
        with pytest.raises(ValueError, match=r'frames=.*; expected uint8 \(2,T,C,H,W\), of 2 sequences'): ds.corrupted(wrong, [0,1])
    with pytest.raises(IndexError, match='out of range'): ds.corrupted(frames[:1], [10**9])


def test_an_old_pickle_has_no_corruption(fonts):
    ds = fonts()
    state = {k: o for k,o in ds.__getstate__().items() if k not in ('corrupt','corrupt_params')}
    old = object.__new__(MovingMNIST)
    old.__setstate__(state)
    assert torch.equal(old[3], ds[3]) and old.recipe==ds.recipe


# ---- Recipes

@pytest.mark.parametrize('kind,params', [*CASES, ('noise', dict(frames=(1,3)))], ids=str)
def test_a_recipe_restores_the_damage(fonts, kind, params):
    ds = fonts(corrupt=kind, corrupt_params=params)
    recipe = json.loads(json.dumps(ds.recipe))
    again = MovingMNIST.from_recipe(recipe)
    assert torch.equal(again[6], ds[6]) and again.recipe==recipe==ds.recipe and again.fingerprint==ds.fingerprint!=fonts().fingerprint
    assert again.corrupt_params==ds.corrupt_params


def test_recipes_without_corruption_are_as_before(fonts):
    recipe = fonts().recipe
    assert not {'corrupt','corrupt_params'} & recipe.keys() and check_keys(recipe)['corrupt'] is None
    assert fonts(motion='bounce').recipe['motion_params']==dict(speed=.1)==fonts(motion='bounce', motion_params=dict(noise=0, noisy_frames=3)).recipe['motion_params']
    assert fonts(motion='bounce', motion_params=dict(noise=.1)).fingerprint!=fonts(motion='bounce').fingerprint


def test_functions_are_given_again(fonts):
    recipe = json.loads(json.dumps(fonts(corrupt=own, corrupt_params=dict(frames=(0,2))).recipe))
    assert recipe['corrupt']=={'function': 'own'} and recipe['corrupt_params']=={'frames': [0,2]}
    with pytest.raises(ValueError, match="corrupt=None; expected the function of the recipe: {'function': 'own'}"): MovingMNIST.from_recipe(recipe)
    again = MovingMNIST.from_recipe(recipe, corrupt=own)
    assert torch.equal(again[3], fonts(corrupt=own, corrupt_params=dict(frames=(0,2)))[3]) and again.recipe==recipe
    assert torch.equal(MovingMNIST.from_recipe(recipe, corrupt=None)[3], fonts()[3])


def test_the_corruption_of_a_recipe_can_be_replaced(fonts):
    recipe = fonts(corrupt='hole', corrupt_params=dict(size=5)).recipe
    assert MovingMNIST.from_recipe(recipe, corrupt='noise').corrupt_params==dict(frames=None, std=.1)
    assert MovingMNIST.from_recipe(recipe, corrupt_params=dict(size=7)).corrupt_params==dict(frames=None, size=(7,7))
    assert MovingMNIST.from_recipe(recipe, corrupt=None).recipe==fonts().recipe
    with pytest.raises(ValueError, match='without a corruption'): MovingMNIST.from_recipe(fonts().recipe, corrupt_params=dict(size=7))


# ---- Files

@pytest.mark.parametrize('corrupt', ['noise','hole',own])
@pytest.mark.parametrize('name,kw', [('a.npy',{}), ('a.npz',{}), ('a.pt',{}), ('a.gif',{}), ('p.npz', dict(layout='predrnn')), ('s.npz', dict(layout='srvp')), ('folder', dict(shards=2)), ('tar', dict(shards=2, format='tar'))], ids=lambda o: str(o))
def test_saved_frames_are_corrupted(fonts, tmp_path, corrupt, name, kw):
    ds = fonts(corrupt=corrupt, num_digits=2, normalize=(.1,.3), length=20)
    ds.save(tmp_path/name, n=9, progress=False, **kw)
    saved = load(tmp_path/name)
    assert torch.equal(saved[:], ds[range(9)]) and torch.equal(saved[3], ds[3])
    assert saved.recipe['corrupt']==ds.recipe['corrupt'] and not verify(tmp_path/name, against=ds)
    other = fonts(num_digits=2, normalize=(.1,.3), length=20)
    assert 'corrupt' in verify(tmp_path/name, against=other)[0]


@pytest.mark.parametrize('name,kw', [('a.npz',{}), ('a.pt',{}), ('folder', dict(shards=2)), ('tar', dict(format='tar'))], ids=lambda o: str(o))
@pytest.mark.parametrize('normalize', [(.1,.3), False], ids=str)
def test_clean_frames_are_saved(fonts, tmp_path, name, kw, normalize):
    ds = fonts(corrupt='noise', targets=['clean','labels'], normalize=normalize, length=20)
    ds.save(tmp_path/name, n=9, progress=False, **kw)
    saved = load(tmp_path/name)
    (frames,target),(own_frames,own_target) = saved[2],ds[2]
    assert torch.equal(frames, own_frames) and torch.equal(target['clean'], own_target['clean']) and isinstance(target['clean'], tv_tensors.Video)
    (x,target),(y,own_target) = (o.get_batch(indices=[7,1]) for o in (saved, ds))
    torch.testing.assert_close(x, y)
    torch.testing.assert_close(target['clean'], own_target['clean'])
    assert not verify(tmp_path/name, against=ds)


def test_the_pictures_of_mot_are_corrupted(fonts, tmp_path):
    from PIL import Image
    ds = fonts(corrupt='noise')
    to_mot(ds, 2, tmp_path/'mot')
    assert np.array_equal(np.array(Image.open(tmp_path/'mot'/'000001'/'img1'/'000003.png')), ds[1][2,0].numpy())


# ---- Scores

def scored(ds, **kw):
    calls = []
    def predict(seen):
        calls.append(seen.clone())
        return seen[:,-1:].expand(-1, ds.num_frames-seen.shape[1], -1, -1, -1)
    return evaluate(predict, ds, n=6, bs=4, progress=False, convention='plain', **kw),torch.cat(calls)


@pytest.mark.parametrize('corrupt', [*KINDS, own])
def test_predictors_see_damage_and_are_compared_with_clean_frames(fonts, corrupt):
    clean,ds = fonts(num_frames=6, num_digits=2, motion='bounce'), fonts(num_frames=6, num_digits=2, motion='bounce', corrupt=corrupt)
    found,seen = scored(ds)
    x,y = ds[range(6)].double()/255,clean[range(6)].double()/255
    assert torch.equal(seen, ds[range(6)][:,:3].float()/255)
    for row,pred in (('prediction', x[:,2:3]), ('last frame', x[:,2:3]), ('black', 0*x[:,2:3])): assert found[row]['mse']==pytest.approx(((pred - y[:,3:])**2).mean().item(), rel=1e-5)
    assert found['true scene']['mse']==0 and found['straight line']['mse']==scored(clean)[0]['straight line']['mse']
    rows = baselines(ds, [2,5])
    assert torch.equal(rows['true scene'], clean[[2,5]][:,3:].float()/255) and torch.equal(rows['last frame'][:,0], ds[[2,5]][:,2].float()/255)


@pytest.mark.parametrize('name', ['a.npz','folder'])
def test_a_file_with_clean_frames_has_the_scores_of_its_dataset(fonts, tmp_path, name):
    ds = fonts(num_frames=6, corrupt='noise', targets=['clean','labels'], length=12)
    ds.save(tmp_path/name, n=12, progress=False)
    (a,seen),(b,also) = scored(load(tmp_path/name)),scored(ds)
    assert torch.equal(seen, also) and all(a[k]['mse']==b[k]['mse'] for k in a) and set(a)=={'prediction','black','mean frame','last frame'}


def test_a_file_without_clean_frames_is_refused_where_they_are_needed(fonts, tmp_path):
    def saved(name, frames, **kw):
        fonts(num_frames=6, corrupt='noise', corrupt_params=dict(frames=frames), length=12, **kw).save(tmp_path/name, n=12, progress=False)
        return load(tmp_path/name)
    for name,frames in (('a.npy',None), ('b.npz',(2,4))):
        with pytest.raises(ValueError, match="ds holds corrupted frames to predict .*; expected a file with the target 'clean'"): scored(saved(name, frames))
    clean = fonts(num_frames=6)[range(6)].double()/255
    ds = saved('c.npy', (0,3))
    assert scored(ds)[0]['black']['mse']==pytest.approx((clean[:,3:]**2).mean().item(), rel=1e-5)
    with pytest.raises(ValueError, match=r'frames=\[0, 3\], and context is 2'): scored(ds, context=2)


# ---- The noise of 'bounce', and OpenSTL's presets

def scalar_path(u, words, T, noisy, free, sigma, speed=.1):
    "One digit, with OpenSTL's rule: pixel positions (x, y)"
    x,y,theta = u[0],u[1],2*math.pi*u[2]
    sign_x = sign_y = 1
    path = []
    for t in range(T):
        along_x,along_y = box_muller(*words[t]) if t<noisy else (0,0)
        x += sign_x*(math.cos(theta) + sigma*along_x)*speed
        y += sign_y*(math.sin(theta) + sigma*along_y)*speed
        if x<=0: x,sign_x = 0,-sign_x
        if x>=1: x,sign_x = 1,-sign_x
        if y<=0: y,sign_y = 0,-sign_y
        if y>=1: y,sign_y = 1,-sign_y
        path.append((int(free*x), int(free*y)))
    return path


@pytest.mark.parametrize('K,T,noisy,sigma', [(2,20,10,.2), (1,7,None,.5), (3,5,50,3), (2,12,1,.1)])
def test_noisy_bounce_is_its_scalar_version(K, T, noisy, sigma):
    model,p = check_motion('bounce', motion_params=dict(noise=sigma, noisy_frames=noisy))
    B = 200
    pose = model.draw(Philox(3, torch.arange(B)), K, torch.arange(T, dtype=torch.float64), num_frames=T, canvas_size=(64,64), digit_size=(28,28), ink=None, **p)
    rng,n = Philox(3, torch.arange(B)),min(T, T if noisy is None else noisy)
    u,words = rng.uniform(K, 3).tolist(), rng.words(n, K, 2).tolist()
    for b in range(B):
        for k in range(K):
            expected = scalar_path(u[b][k], [words[b][t][k] for t in range(n)], T, n, 36, sigma)
            assert (pose['translate'][b,k] + 18).tolist()==[[float(x), float(y)] for x,y in expected]


def test_without_noise_a_path_is_as_before(fonts):
    plain = fonts(motion='bounce', num_frames=20).draw(indices=range(50))
    for params in (dict(noise=0), dict(noise=0., noisy_frames=4), dict(speed=.1)):
        same = fonts(motion='bounce', num_frames=20, motion_params=params).draw(indices=range(50))
        assert torch.equal(same.translate, plain.translate) and torch.equal(same.bounces, plain.bounces)
    noisy = fonts(motion='bounce', num_frames=20, motion_params=dict(noise=.2)).draw(indices=range(50))
    assert not torch.equal(noisy.translate, plain.translate) and torch.equal(noisy.digit, plain.digit)


@pytest.mark.parametrize('params,message', [(dict(noise=-1), 'noise=-1; expected a number from 0 to 10'), (dict(noise=.1, noisy_frames=0), 'noisy_frames=0; expected a whole number, at least 1'), (dict(noise='a'), "noise='a'"), (dict(noisy_frames=1.5), 'noisy_frames=1.5')], ids=str)
def test_wrong_noise_is_refused(fonts, params, message):
    with pytest.raises((ValueError, TypeError), match=message): fonts(motion='bounce', motion_params=params)


def canonical_frames(digits, path):
    "A sequence of OpenSTL: the brighter pixel of digits, (T,64,64)"
    out = np.zeros((len(path[0]),64,64), np.uint8)
    for image,places in zip(digits, path):
        for t,(x,y) in enumerate(places): out[t,y:y+28,x:x+28] = np.maximum(out[t,y:y+28,x:x+28], image)
    return out


@pytest.mark.parametrize('name', ['noisy-dynamic','noisy-perceptual','noisy-missing'])
def test_noisy_presets_are_openstls(source, name):
    ds,plain = (MovingMNIST.preset(o, **source, seed=5) for o in (name, 'canonical'))
    assert ds.context==10 and ds.num_frames==20 and ds.channels==1
    for i in range(12):
        scene = ds.draw(indices=[i])
        rng = Philox(5, torch.tensor([i]), stream=1)
        u,words = rng.uniform(2, 3)[0].tolist(), rng.words(10, 2, 2)[0].tolist()
        noise = .2 if name=='noisy-dynamic' else 0
        path = [scalar_path(u[k], [words[t][k] for t in range(10)], 20, 10, 36, noise) for k in range(2)]
        expected = canonical_frames(ds.digits.images[scene.digit[0],0].numpy(), path)
        w = words_of(5, i, 'train', 40)
        for t in range(10):
            if name=='noisy-perceptual':
                row,column = (int(40*o/2**32) for o in w[2*t:2*t+2])
                expected[t,row:row+24,column:column+24] = 0
            if name=='noisy-missing' and w[t]/2**32<.2: expected[t] = 0
        assert np.array_equal(ds[i][:,0].numpy(), expected)
        if name!='noisy-dynamic': assert torch.equal(ds[i][10:], plain[i][10:])
    assert torch.equal(ds.get_batch(indices=[3])[0], ds[3]/255)


def test_statistics_of_the_noisy_presets(fonts):
    kw = dict(digits='fonts', seed=1)
    missing = (MovingMNIST.preset('noisy-missing', **kw)[range(500)].flatten(2).amax(-1)==0).double()
    assert abs(missing[:,:10].mean()-.2)<.02 and missing[:,10:].sum()==0
    white = torch.full((300,20,1,64,64), 255, dtype=torch.uint8)
    holes = MovingMNIST.preset('noisy-perceptual', **kw).corrupted(white, range(300))==0
    assert (holes.flatten(2).sum(-1)==torch.tensor([576]*10 + [0]*10)).all()
    assert holes[:,:10,0].any((0,1))[63:].sum()==0 and holes[:,:10,0].any(3).any(0).any(0)[:63].all() # The last row is never hidden


def test_the_settings_of_a_noisy_preset_can_be_changed(fonts):
    kw = dict(digits='fonts', seed=1)
    assert torch.equal(MovingMNIST.preset('noisy-missing', corrupt=None, **kw)[2], MovingMNIST.preset('canonical', **kw)[2])
    assert MovingMNIST.preset('noisy-missing', corrupt='noise', **kw).corrupt_params==dict(frames=None, std=.1)
    assert MovingMNIST.preset('noisy-perceptual', corrupt_params=dict(size=9), **kw).corrupt_params==dict(frames=(0,10), size=(9,9))
    assert MovingMNIST.preset('noisy-dynamic', motion='reflect', **kw).motion_params==dict(speed=.1)


def test_a_preset_that_needs_pictures_says_so(fonts):
    for kw in ({}, dict(background=None), dict(digits='fonts')):
        with pytest.raises(ValueError, match=r"name='mmnist-cifar' without background; expected background=torchvision.datasets.CIFAR10"): MovingMNIST.preset('mmnist-cifar', **kw)


@needs_mnist
def test_mmnist_cifar_is_openstls():
    "Pictures of the canvas' size: nothing is resized"
    pictures = torch.randint(0, 256, (5,3,64,64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    ds = MovingMNIST.preset('mmnist-cifar', ROOT, background=pictures, seed=5, download=False)
    assert ds.context==10 and ds.protocol.startswith('mmnist-cifar:')
    for i in range(6):
        scene = ds.draw(indices=[i])
        u = Philox(5, torch.tensor([i]), stream=1).uniform(2, 3)[0].tolist()
        digits = ds.digits.images[scene.digit[0],0].numpy()
        assert not ((digits>1) & (digits<255)).any()
        frames = canonical_frames(digits, [scalar_path(o, [], 20, 0, 36, 0) for o in u])
        expected = np.maximum(frames[:,None], pictures[scene.background[0]].numpy())
        assert np.array_equal(ds[i].numpy(), expected)


@needs_mnist
@pytest.mark.parametrize('split', SPLITS)
def test_binary_digits(split):
    "Levels above 1 become white; images that then equal one of a split before it are left out"
    def of(name, split): return load_digits(name, ROOT, split, download=False)
    def white(images): return torch.where(images>1, 255, images).byte()
    seen = {o.numpy().tobytes() for other in SPLITS[SPLITS.index(split)+1:] for o in white(of('mnist', other).images)}
    grey,binary = of('mnist', split),of('mnist-binary', split)
    kept = torch.tensor([o.numpy().tobytes() not in seen for o in white(grey.images)])
    assert torch.equal(binary.images, white(grey.images)[kept]) and torch.equal(binary.labels, grey.labels[kept]) and binary.name=='mnist-binary'
    assert (~kept).sum()<30 and (grey.images>1).sum()>(grey.images==255).sum()


def test_every_preset_has_reasons_and_what_it_needs_an_example():
    for o in PRESETS.values(): assert o.settings.keys()==o.reasons.keys() and bool(o.needs)==bool(o.example)


def test_parameters_are_complete():
    for k in KINDS: assert [*check_corrupt_params(k)]==['frames', *CORRUPTIONS[k].spec]
