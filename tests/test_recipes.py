"Presets, recipes, stored Scenes, and sequences that meet a condition"
import dataclasses, json, os, subprocess, sys

import numpy as np
import pytest
import torch

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import checksum, load_digits
from torch_moving_mnist.motion import MOTIONS
from torch_moving_mnist.presets import PRESETS
from torch_moving_mnist import recipe as recipe_module
from torch_moving_mnist.recipe import digest
from torch_moving_mnist.scene import Scene, concatenate


def equal(a, b): return all(torch.equal(getattr(a, k), getattr(b, k)) for k in ('digit','angle','translate','scale','shear','gain','stretch','bounces')) and (a.digit_size, a.canvas_size)==(b.digit_size, b.canvas_size)


# Settings from the papers, independent of the presets: name, canvas, digit side, digits, frames, composite, motion
TABLE = [('canonical', 64, 28, [2], 20, 'max', 'bounce'), ('canonical-tfds', 64, 28, [2], 20, 'max', 'reflect'), ('svg', 64, 32, [2], 15, 'sum', 'stochastic_bounce'),
         ('srvp', 64, 28, [2], 25, 'sum', 'subpixel_bounce'), ('srvp-deterministic', 64, 28, [2], 100, 'sum', 'subpixel_bounce'), ('mmnist++', 64, 28, [3], 20, 'max', 'trajgru'),
         ('affine', 64, 28, [1,2,3], 10, 'max', 'affine'), *[(f'noisy-{o}', 64, 28, [2], 20, 'max', 'bounce') for o in ('dynamic','perceptual','missing')], ('mfmnist', 64, 28, [2], 20, 'max', 'bounce')]
NEED_MORE = ['mmnist-cifar'] # Pictures, which the user gives


@pytest.mark.parametrize('name,canvas,side,digits,frames,composite,motion', TABLE, ids=[o[0] for o in TABLE])
def test_presets(source, name, canvas, side, digits, frames, composite, motion):
    ds = MovingMNIST.preset(name, **source, seed=0)
    assert (ds.canvas_size, tuple(ds.digits.images.shape[-2:]), ds.num_digits, ds.num_frames, ds.composite, ds.motion)==((canvas,canvas), (side,side), digits, frames, composite, motion)
    assert ds[0].shape==(frames,1,canvas,canvas) and ds[0].dtype==torch.uint8 and ds.render(ds.draw(indices=[0])).amax((2,3,4)).min()>0
    x = ds.get_batch(2)
    if name!='affine': assert torch.equal(x, ds[[0,1]]/255) and (ds.corrupt is not None or torch.equal(ds[[0,1]], ds.render(ds.draw(indices=[0,1]))))


def test_presets_are_all_listed_and_explained():
    assert list(MovingMNIST.presets())==[*[o[0] for o in TABLE], *NEED_MORE]==list(PRESETS) and [k for k,o in PRESETS.items() if o.needs]==NEED_MORE
    for name,o in PRESETS.items(): assert o.settings.keys()==o.reasons.keys() and MovingMNIST.presets()[name]==o.source


def test_a_preset_can_be_changed(source):
    kw = dict(source, seed=0)
    a,b = MovingMNIST.preset('canonical', **kw), MovingMNIST(num_digits=2, num_frames=20, motion='bounce', normalize=False, **kw)
    assert torch.equal(a[3], b[3])
    for motion in MOTIONS:
        c = MovingMNIST.preset('srvp', motion=motion, composite='max', num_frames=7, **kw)
        assert (c.motion, c.composite, c[0].shape[0])==(motion, 'max', 7)
    assert MovingMNIST.preset('srvp', motion_params=dict(stochastic=True, speed=2), **kw).motion_params==dict(stochastic=True, speed=2)


def test_svgs_digits_are_resized_once():
    big = MovingMNIST.preset('svg', digits='fonts', seed=0)
    assert torch.equal(big.digits.images, load_digits('fonts', digit_size=32).images)
    p = big.draw(50).translate + 16
    assert p.min()>=0 and p.max()<=31 and torch.equal(p, p.round())


@pytest.mark.parametrize('kw', [dict(num_digits=[1,3], affine_params=dict(angle=(-5,5)), classes=[3,8]), dict(motion='velocity', composite='over', interpolation='nearest', img_size=(50,71)),
    dict(motion='trajgru', motion_params=dict(margin=14.5), normalize='measured'), dict(motion='subpixel_bounce', motion_params=dict(stochastic=False), digit_size=(20,22), split='test'),
    dict(seed=2**64-1, normalize=(.1,.3), concat=False, length=17), dict(motion='svg')], ids=str)
def test_a_recipe_restores_the_dataset(source, kw, capsys):
    ds = MovingMNIST.preset('svg', **source, seed=5) if kw.get('motion')=='svg' else MovingMNIST(**{**source, 'num_frames': 6, 'seed': 3, **kw})
    r = json.loads(json.dumps(ds.recipe))
    twin = MovingMNIST.from_recipe(r, source['path'], download=False)
    assert twin.recipe==ds.recipe==r and twin.fingerprint==ds.fingerprint and len(twin)==len(ds)
    assert equal(twin.draw(indices=range(10)), ds.draw(indices=range(10)))
    assert torch.equal(twin.get_batch(5), ds.get_batch(5))
    assert type(twin[0]) is type(ds[0])


def test_every_setting_that_affects_a_sequence_is_in_the_fingerprint(fonts):
    different = [dict(), dict(num_digits=2), dict(num_frames=6), dict(img_size=65), dict(concat=False), dict(normalize=True), dict(normalize=(.1,.2)), dict(split='test'), dict(composite='sum'),
                 dict(interpolation='nearest'), dict(seed=1), dict(length=5), dict(affine_params=dict(angle=(0,1))), dict(motion='velocity'), dict(motion='reflect'), dict(classes=[1]), dict(digit_size=30),
                 dict(motion='reflect', motion_params=dict(speed=.2)), dict(corrupt='noise'), dict(corrupt='noise', corrupt_params=dict(std=.3)), dict(corrupt='blur'), dict(motion='bounce'), dict(motion='bounce', motion_params=dict(noise=.2)),
                 dict(where=lambda s: s.digit[:,0]>=0), dict(digits=load_digits('fonts').images), dict(digits=load_digits('fonts').images.flip(0))]
    prints = [fonts(**kw).fingerprint for kw in different]
    assert len(set(prints))==len(prints) and all(len(o)==12 for o in prints)
    assert fonts().fingerprint==fonts(transform=len).fingerprint==prints[0]


def test_a_recipe_is_the_same_in_another_process(fonts):
    code = "from torch_moving_mnist.data import MovingMNIST; print(MovingMNIST(digits='fonts', num_digits=[1,2,3], num_frames=5, normalize=False, seed=0).fingerprint)"
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env={**os.environ, 'PYTHONHASHSEED': '5'})
    assert r.stdout.strip()==fonts().fingerprint, r.stderr


def falling(rng, num_digits, times, **_):
    u = rng.uniform(num_digits, 2)[:,:,None].expand(-1,-1,len(times),-1)
    return dict(translate=20*u)


def upper(scene): return scene.translate[:,0,0,1]<12


def test_functions_and_custom_digits_must_be_passed_to_from_recipe(fonts):
    ds = fonts(motion=falling, where=upper, digits=load_digits('fonts').images[:700])
    r = json.loads(json.dumps(ds.recipe))
    assert r['motion']=={'function': 'falling'} and r['digits']=='custom'
    twin = MovingMNIST.from_recipe(r, digits=load_digits('fonts').images[:700], motion=falling, where=upper)
    assert torch.equal(twin[5], ds[5])
    with pytest.raises(ValueError, match='motion=None; expected the function'): MovingMNIST.from_recipe(r)
    with pytest.raises(ValueError, match='digits=None; expected the images'): MovingMNIST.from_recipe(r, motion=falling, where=upper)
    with pytest.raises(ValueError, match="argument of from_recipe='sed'"): MovingMNIST.from_recipe(r, sed=3)
    with pytest.raises(TypeError, match='recipe cannot hold motion_params'): fonts(motion=falling, motion_params=dict(g=torch.ones(1))).recipe


def test_other_digits_are_refused(fonts, monkeypatch):
    r = fonts().recipe
    with pytest.raises(ValueError, match="digits have checksum .* expected the recipe's '0+', 2,100 images of 'fonts'"): MovingMNIST.from_recipe({**r, 'checksum': '0'*32})
    with pytest.warns(UserWarning, match='made by version 99'): MovingMNIST.from_recipe({**r, 'version': '99'})
    for wrong in (None, {}, [], dict(library='other')):
        with pytest.raises(ValueError, match='expected what `ds.recipe` has returned'): MovingMNIST.from_recipe(wrong)


def test_checksums_differ_for_different_images():
    x = torch.arange(24)
    things = [(x,), (x.view(4,6),), (x.view(6,4),), (x.int(),), (x.byte(),), (x, None), (None, x), (x[:12], x[12:]), (x.flip(0),), (x+0., )]
    assert len({checksum(*o) for o in things})==len(things)
    assert checksum(x.view(4,6).T)==checksum(x.view(4,6).T.contiguous())
    assert digest(dict(a=(1,2), b=None))==digest(dict(b=None, a=[1,2]))!=digest(dict(a=[2,1], b=None))


@pytest.mark.parametrize('motion', MOTIONS)
def test_scenes_round_trip_through_a_file(fonts, tmp_path, motion):
    scene = fonts(motion=motion, img_size=(70,80)).draw(9)
    scene.save(tmp_path/'scene.npz')
    again = Scene.load(tmp_path/'scene.npz')
    assert equal(scene, again) and again.translate.dtype==torch.float64 and again.bounces.dtype==torch.uint8 and again.bounces.any()==(motion not in ('affine','velocity'))
    assert [o.name for o in tmp_path.iterdir()]==['scene.npz']


def test_ten_thousand_canonical_sequences_take_a_few_megabytes(source, tmp_path):
    ds = MovingMNIST.preset('canonical', **{**source, 'split': 'test'}, seed=0, length=10_000)
    scene = ds.draw(indices=range(10_000))
    scene.save(tmp_path/'test.npz')
    assert (tmp_path/'test.npz').stat().st_size<4e6
    again = Scene.load(str(tmp_path/'test.npz'))
    assert torch.equal(ds.render(again[-3:]), ds.render(scene[-3:]))


def test_a_scene_is_written_completely_or_not_at_all(fonts, tmp_path, monkeypatch):
    scene = fonts().draw(3)
    scene.save(tmp_path/'a.npz')
    before = (tmp_path/'a.npz').read_bytes()
    def full(f, **arrays): f.write(b'half'); raise OSError('No space left on device')
    monkeypatch.setattr(np, 'savez_compressed', full)
    with pytest.raises(OSError, match='No space'): fonts().draw(4).save(tmp_path/'a.npz')
    assert (tmp_path/'a.npz').read_bytes()==before and len(list(tmp_path.iterdir()))==1


@pytest.mark.parametrize('content', [b'', b'PK\3\4 nonsense', b'\x93NUMPY', b'text'], ids=str)
def test_files_that_are_not_scenes_are_refused(tmp_path, content):
    (tmp_path/'x').write_bytes(content)
    with pytest.raises(ValueError, match='does not hold a Scene'): Scene.load(tmp_path/'x')
    np.savez(tmp_path/'y.npz', digit=np.zeros((2,2)))
    with pytest.raises(ValueError, match='does not hold a Scene'): Scene.load(tmp_path/'y.npz')
    with pytest.raises(FileNotFoundError): Scene.load(tmp_path/'nothing.npz')


def bounces(scene):
    v = scene.translate.diff(dim=2)
    return ((v[:,:,1:]*v[:,:,:-1]<0).any(-1) & (scene.digit>=0)[...,None]).sum((1,2))


def apart(scene): return (scene.translate[:,0]-scene.translate[:,1]).norm(dim=-1).min(1).values>20
def fast(scene): return (scene.translate.diff(dim=2).norm(dim=-1).mean((1,2))>3.4)


CONDITIONS = dict(twice=lambda s: bounces(s)>=2, apart=apart, fast=fast, all=lambda s: s.digit[:,0]>=0)


@pytest.mark.parametrize('name', CONDITIONS)
@pytest.mark.parametrize('seed', [0, None])
def test_sequences_meet_the_condition(fonts, name, seed):
    ds = fonts(motion='bounce', num_digits=2, num_frames=12, seed=seed, where=CONDITIONS[name])
    assert CONDITIONS[name](ds.draw(200)).all() and CONDITIONS[name](ds.draw(indices=[3,3,-1])).all()


@pytest.mark.parametrize('name', CONDITIONS)
def test_accepted_sequences_depend_on_seed_and_index_only(fonts, name):
    def make(): return fonts(motion='bounce', num_digits=2, num_frames=12, seed=4, where=CONDITIONS[name])
    ds,many = make(), make().draw(150)
    for i in (0, 1, 77, 149): assert equal(ds.draw(indices=[i]), many[i])
    assert equal(ds.draw(indices=[149,5,77,5]), many[[149,5,77,5]])
    assert torch.equal(ds[77], ds.render(many[77])[0])


def test_the_first_accepted_attempt_is_used(fonts):
    "Against a plain loop over attempts"
    from torch_moving_mnist.draw import draw_scene
    ds = fonts(motion='bounce', num_digits=2, num_frames=12, seed=4, where=apart)
    images = len(ds.digits)
    for i in range(6):
        a = next(a for a in range(10**5) if apart(draw_scene(4, [i], [2], 12, images, (28,28), (64,64), motion='bounce', attempt=a)).item())
        assert equal(ds.draw(indices=[i]), draw_scene(4, [i], [2], 12, images, (28,28), (64,64), motion='bounce', attempt=a))


def test_a_condition_that_is_always_true_changes_nothing(fonts): assert equal(fonts(where=CONDITIONS['all']).draw(20), fonts().draw(20))


def test_the_condition_uses_the_frames_for_any_times(fonts):
    ds = fonts(motion='reflect', num_digits=2, num_frames=12, where=apart)
    whole,half = ds.draw(indices=range(9)), ds.draw(indices=range(9), times=[0,.5,11])
    assert torch.equal(whole.digit, half.digit) and torch.equal(half.translate[:,:,[0,2]], whole.translate[:,:,[0,11]])


def test_a_condition_that_is_never_true_is_refused(fonts):
    def never(scene): return scene.digit[:,0]<-1
    with pytest.raises(ValueError, match=r'where=never accepts none of 65,536 draws of sequence 0; expected a condition'): fonts(where=never)


@pytest.mark.parametrize('returned', [True, torch.ones(3), torch.ones(1, 1, dtype=torch.bool), None], ids=str)
def test_a_condition_must_return_one_bool_per_sequence(fonts, returned):
    with pytest.raises(TypeError, match='where=.*expected a bool tensor'): fonts(where=lambda scene: returned)
    with pytest.raises(TypeError, match="where='fast'; expected a function or None"): fonts(where='fast')


def test_measured_statistics_are_those_of_accepted_sequences(fonts, capsys):
    ds = fonts(motion='bounce', num_digits=2, num_frames=12, where=apart, normalize='measured')
    x = ds.get_batch(300)
    assert abs(x.mean())<.03 and abs(x.std()-1)<.03


def test_damaged_recipes_are_refused(fonts):
    recipe = fonts().recipe
    with pytest.raises(ValueError, match=r"lacks \['motion'\]"): MovingMNIST.from_recipe({k: o for k,o in recipe.items() if k!='motion'})
    with pytest.raises(ValueError, match=r"unknown keys \['foo'\]"): MovingMNIST.from_recipe({**recipe, 'foo': 1})
    assert MovingMNIST.from_recipe(recipe).recipe==recipe


def test_settings_of_a_recipe_can_be_replaced(fonts):
    ds = fonts(motion='bounce', motion_params=dict(speed=.2))
    assert MovingMNIST.from_recipe(ds.recipe, seed=5).recipe=={**ds.recipe, 'seed': 5}
    assert MovingMNIST.from_recipe(ds.recipe, split='test', num_frames=3)[0].shape[0]==3
    assert MovingMNIST.from_recipe(ds.recipe, motion='affine').motion_params is None
    with pytest.raises(ValueError, match="argument of from_recipe='num_frame'"): MovingMNIST.from_recipe(ds.recipe, num_frame=3)


def test_keys_that_an_earlier_version_did_not_write(fonts, monkeypatch):
    recipe = {k: o for k,o in fonts().recipe.items() if k!='drift'}
    with pytest.raises(ValueError, match=r"recipe lacks \['drift'\].*made by version .*this is"): MovingMNIST.from_recipe(recipe)
    monkeypatch.setitem(recipe_module._ADDED, 'drift', [0,0])
    assert torch.equal(MovingMNIST.from_recipe(recipe)[1], fonts()[1])
    with pytest.raises(ValueError, match=r"unknown keys \['warp'\].*made by version .*this is"): MovingMNIST.from_recipe({**fonts().recipe, 'warp': 1})


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Noted(Scene):
    "A Scene with a field of its own"
    note:str = ''


def test_subclasses_of_scene_are_stored_and_loaded(fonts, tmp_path):
    scene = fonts().draw(2)
    Noted(**vars(scene), note='x').save(tmp_path/'a.npz')
    again = Noted.load(tmp_path/'a.npz')
    assert type(again) is Noted and torch.equal(again.translate, scene.translate)


def test_scenes_name_their_digits_and_refuse_others(fonts, tmp_path):
    train,test = fonts(),fonts(split='test')
    scene = train.draw(3)
    scene.save(tmp_path/'a.npz')
    stored = Scene.load(tmp_path/'a.npz')
    assert stored.digits==scene.digits==train.digits.checksum!=test.digits.checksum
    assert torch.equal(train.render(stored), train.render(scene)) and stored[1:].to('cpu').digits==scene.digits
    for use in test.render,test.truth:
        with pytest.raises(ValueError, match=f'digits with checksum .{scene.digits}.*expected {test.digits.checksum}.*test images'): use(stored)
    unnamed = dataclasses.replace(stored, digits=None, digit=stored.digit.clamp(max=99))
    assert test.render(unnamed).shape==train.render(unnamed).shape # Not checked
    with pytest.raises(ValueError, match='different digits'): concatenate([scene, test.draw(2)])


def test_keys_of_any_type_are_refused(fonts):
    with pytest.raises(ValueError, match='recipe has the unknown keys'): MovingMNIST.from_recipe({**fonts().recipe, 3: 1, 'a': 2, None: 3})


def test_backgrounds_motions_and_conditions_of_a_recipe_can_be_replaced(fonts):
    black = torch.zeros(3,40,40, dtype=torch.uint8)
    plain,pictured = fonts(),fonts(background=black)
    assert MovingMNIST.from_recipe(plain.recipe, background=black)[0].shape[1]==3 and MovingMNIST.from_recipe(pictured.recipe, background=None, normalize=False)[0].shape[1]==1
    with pytest.raises(ValueError, match='background has'): MovingMNIST.from_recipe(pictured.recipe, background=black + 1)
    with pytest.raises(ValueError, match='background'): MovingMNIST.from_recipe(pictured.recipe)
    def own(rng, K, times, *, period=3, **_): return dict(translate=rng.uniform(K, 2)[:,:,None]*times[:,None]%period)
    recipe = fonts(motion=own, motion_params=dict(period=2)).recipe
    assert torch.equal(MovingMNIST.from_recipe(recipe, motion=own)[0], fonts(motion=own, motion_params=dict(period=2))[0])
    assert torch.equal(MovingMNIST.from_recipe(recipe, motion='bounce')[0], fonts(motion='bounce')[0])
    assert torch.equal(MovingMNIST.from_recipe(fonts(where=lambda s: s.digit[:,0]>0).recipe, where=None)[0], fonts()[0])


@pytest.mark.parametrize('key,value', [('library', np.ma.array([1,2])), ('version', torch.zeros(2)), ('checksum', np.zeros(2)), ('background', torch.zeros(2)), ('seed', object()), ('color', {1,2})])
def test_recipes_hold_only_what_json_can_write(fonts, key, value):
    with pytest.raises(ValueError, match=rf"recipe\['{key}'\]=.*expected what json can write"): MovingMNIST.from_recipe({**fonts().recipe, key: value})
