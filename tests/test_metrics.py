"Scores against the rules of published code, written out in numpy; baselines; `evaluate`"
import json, math

import numpy as np
import pytest
import torch
from conftest import ROOT, needs_mnist
from scipy.signal import convolve2d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchvision.transforms.functional import gaussian_blur

from torch_moving_mnist import load
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.metrics import CONVENTIONS, Table, baselines, compare, evaluate, score, ssim, straight_on
from torch_moving_mnist.presets import PRESETS
from torch_moving_mnist.scene import with_fields

SCORES = 'mse', 'mae', 'ssim', 'psnr'


def videos(seed, B=3, T=4, C=1, H=24, W=31, noise=.2):
    "True frames, of whole grey levels as those of a dataset, and predictions that leave [0,1]"
    g = torch.Generator().manual_seed(seed)
    true = (gaussian_blur(torch.rand(B*T, C, H, W, generator=g), 5)*255).byte().float().view(B, T, C, H, W)/255
    return true + noise*torch.randn(true.shape, generator=g), true


# ---- Published rules, in numpy. Frames (B,T,C,H,W); each returns scores (B,T)

def each(f, pred, true): return np.array([[f(p, t) for p,t in zip(*o)] for o in zip(pred, true)])


def skimage_ssim(data_range, **kw): return lambda p, t: structural_similarity(p, t, data_range=data_range, channel_axis=0, **kw)


def gaussian_ssim(p, t):
    "As in SVG's `finn_ssim`, one channel at a time"
    y,x = np.mgrid[-5:6,-5:6]
    window = np.exp(-(x**2 + y**2)/(2*1.5**2))
    window /= window.sum()
    def mean(o): return convolve2d(o, window, mode='valid')
    values = []
    for a,b in zip(p.astype(np.float64), t.astype(np.float64)):
        m,n = mean(a),mean(b)
        values.append(((2*m*n + .01**2)*(2*(mean(a*b) - m*n) + .03**2)/((m*m + n*n + .01**2)*(mean(a*a) - m*m + mean(b*b) - n*n + .03**2))).mean())
    return np.mean(values)


def openstl(pred, true):
    clipped = np.minimum(np.maximum(pred, 0), 1)
    return dict(mse=((pred-true)**2).sum((2,3,4)), mae=np.abs(pred-true).sum((2,3,4)), ssim=each(skimage_ssim(2), clipped, true),
                psnr=each(lambda p, t: 20*np.log10(1/np.sqrt(np.mean((p-t)**2))), clipped, true))


def simvp(pred, true):
    clipped = np.minimum(np.maximum(pred, 0), 1)
    def psnr(p, t): return 20*np.log10(255) - 10*np.log10(np.mean((np.uint8(p*255) - np.uint8(t*255))**2))
    return {**openstl(pred, true), 'psnr': each(psnr, clipped, true)}


def predrnn(pred, true):
    pred = np.minimum(np.maximum(pred, 0), 1)
    levels = np.uint8(pred*255),np.uint8(true*255)
    def psnr(p, t): return 20*np.log10(255) - 10*np.log10(((np.int32(p) - np.int32(t))**2).sum()/p.size)
    return dict(mse=np.square(true-pred).sum((2,3,4)), mae=np.abs(true-pred).sum((2,3,4)), ssim=each(skimage_ssim(255), *levels), psnr=each(psnr, *levels))


def svg(pred, true):
    def psnr(p, t): return np.mean([peak_signal_noise_ratio(b, a, data_range=1) for a,b in zip(p, t)])
    return dict(mse=((pred-true)**2).mean((2,3,4)), mae=np.abs(pred-true).mean((2,3,4)), ssim=each(skimage_ssim(2), pred, true), psnr=each(psnr, pred, true),
                ssim_finn=each(gaussian_ssim, pred, true))


def srvp(pred, true):
    pred = np.clip(pred, 0, 1)
    return dict(mse=((pred-true)**2).mean((2,3,4)), mae=np.abs(pred-true).mean((2,3,4)), ssim=each(gaussian_ssim, pred, true),
                psnr=(10*np.log10(1/((pred-true)**2).mean((3,4)))).mean(2))


def plain(pred, true):
    window = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return dict(mse=((pred-true)**2).mean((2,3,4)), mae=np.abs(pred-true).mean((2,3,4)), ssim=each(skimage_ssim(1, **window), pred, true),
                psnr=each(lambda p, t: peak_signal_noise_ratio(t, p, data_range=1), pred, true))


RULES = dict(openstl=openstl, simvp=simvp, predrnn=predrnn, svg=svg, srvp=srvp, plain=plain)


@pytest.mark.filterwarnings('ignore:divide by zero')
@pytest.mark.parametrize('shape', [dict(), dict(B=1), dict(T=1), dict(C=3), dict(H=11, W=40), dict(B=1, T=1, H=16, W=16)], ids=str)
@pytest.mark.parametrize('convention', CONVENTIONS)
def test_each_convention_is_its_published_rule(convention, shape):
    pred,true = videos(1, **shape)
    expected = RULES[convention](pred.numpy(), true.numpy())
    found = score(pred, true, convention)
    total = SCORES[:2] if convention=='predrnn' else ()
    assert expected.keys()==found['per_frame'].keys()
    for name,o in expected.items():
        assert found['per_frame'][name].shape==(true.shape[1],)
        assert np.allclose(found['per_frame'][name], o.mean(0), rtol=2e-5), name
        assert found[name]==pytest.approx(o.sum(1).mean() if name in total else o.mean(), rel=2e-5)


def test_the_rules_are_those_of_the_table():
    assert RULES.keys()==CONVENTIONS.keys() and all(o.source and o.formula for o in CONVENTIONS.values())


def test_a_case_by_hand():
    "All pixels of the first frame are wrong by a half, none of the second; then a difference of 16 levels, whose square is 0 modulo 256"
    true = torch.zeros(1,2,1,16,16)
    pred = true.clone()
    pred[:,0] = .5
    s = (.01*2)**2/(.25 + (.01*2)**2)
    for name in ('openstl','simvp'):
        assert [score(pred, true, name)[o] for o in SCORES]==[32, 64, pytest.approx((1 + s)/2), math.inf]
        assert score(pred, true, name)['per_frame']['mse'].tolist()==[64, 0]
    assert score(pred, true, 'openstl')['per_frame']['psnr'][0]==pytest.approx(20*math.log10(2))
    assert score(pred, true, 'simvp')['per_frame']['psnr'][0]==pytest.approx(20*math.log10(255) - 10*math.log10(127**2 % 256))
    found = score(pred, true, 'predrnn')
    assert (found['mse'],found['mae'],found['mse_per_frame'])==(64, 128, 32)
    assert found['per_frame']['psnr'][0]==pytest.approx(20*math.log10(255/127))
    assert (score(pred, true, 'plain')['mse'],score(pred, true, 'svg')['mae'])==(.125, .25)
    levels = true + 16/255
    assert score(levels, true, 'simvp')['psnr']==math.inf and score(levels, true, 'predrnn')['psnr']==pytest.approx(20*math.log10(255/16))


def test_clipping():
    true = torch.ones(1,1,1,16,16)
    expected = dict(openstl=256, simvp=256, predrnn=0, svg=1, srvp=0, plain=1)
    assert {k: score(true + 1, true, k)['mse'] for k in CONVENTIONS}==expected


def test_published_errors_are_reproduced():
    "Blurred canonical frames: PSNR of bytes that wrap is 14 dB too high, and SSIM with a range of 2 is .016 too high"
    ds = MovingMNIST.preset('canonical', digits='fonts', split='test', seed=0)
    true = ds[:64][:,10:].float()/255
    pred = gaussian_blur(true.flatten(0, 1), 5, 1.2).view_as(true)
    table = compare(pred, true)
    assert list(table)==list(CONVENTIONS) and table['openstl']['mse']==pytest.approx(23, abs=1)
    assert table['simvp']['psnr'] - table['openstl']['psnr']==pytest.approx(14, abs=.5)
    assert table['openstl']['ssim'] - table['predrnn']['ssim']==pytest.approx(.016, abs=.002)
    assert table['svg']['ssim_finn']==table['plain']['ssim']<table['predrnn']['ssim']


# ---- SSIM

@pytest.mark.parametrize('C', [1,3])
@pytest.mark.parametrize('shape', [(11,11), (12,40), (64,64)])
def test_ssim_equals_that_of_skimage(shape, C):
    pred,true = videos(2, 2, 2, C, *shape)
    for window,kw in dict(uniform={}, gaussian=dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)).items():
        for data_range in (1, 2.):
            assert np.allclose(ssim(pred, true, window, data_range), each(skimage_ssim(data_range, **kw), pred.double().numpy(), true.double().numpy()), atol=1e-12)


def test_ssim_has_gradients():
    pred,true = (o.double() for o in videos(3, 1, 1, 2, 12, 13))
    assert torch.autograd.gradcheck(lambda x: ssim(x, true), pred.requires_grad_())
    x = torch.zeros_like(true).requires_grad_()
    before = ssim(x, true).mean()
    (-before).backward()
    assert ssim(x.detach() - .1*x.grad, true).mean()>before and x.grad.isfinite().all()
    per_frame = score(pred, true, 'plain')['per_frame']
    assert all(o.requires_grad for o in per_frame.values())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats(dtype):
    white = torch.ones(1,1,1,16,16, dtype=dtype)
    assert score(white, white)['mse']==0
    pred,true = videos(4)
    pred = pred.to(dtype)
    for k in ('openstl','plain'): assert score(pred, true.to(dtype), k)['ssim']==pytest.approx(score(pred.float(), true.to(dtype).float(), k)['ssim'], rel=1e-6)


def test_nothing_depends_on_default_dtype_or_device():
    pred,true = videos(5)
    expected = repr(compare(pred, true))
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device('meta'): assert repr(compare(pred, true))==expected
    finally: torch.set_default_dtype(torch.float32)


def test_chunks_change_nothing(monkeypatch):
    pred,true = videos(6, 7)
    expected = compare(pred, true)
    monkeypatch.setattr('torch_moving_mnist.metrics._PIXELS', 1)
    for k,row in compare(pred, true).items():
        for name in SCORES: assert row[name]==pytest.approx(expected[k][name], rel=1e-12)


# ---- Samples

@pytest.mark.parametrize('convention', ['svg','srvp'])
def test_the_best_sample_counts_for_each_sequence_and_score(convention):
    pred,true = videos(7, 5)
    samples = torch.stack([pred, true + .05, videos(8, 5)[0]])
    samples[1,2] = 0
    alone = [[score(o[b:b+1], true[b:b+1], convention) for o in samples] for b in range(5)]
    found = score(samples, true, convention)
    for name in SCORES:
        best = min if name in ('mse','mae') else max
        assert found[name]==pytest.approx(np.mean([best(o[name] for o in row) for row in alone]), rel=1e-9)
    assert score(pred[None], true, convention)[name]==pytest.approx(score(pred, true, convention)[name])


def test_intervals_of_srvp():
    pred,true = videos(9, 6)
    x = srvp(pred.numpy(), true.numpy())
    found = score(pred, true, 'srvp')
    for name in ('ssim','psnr'): assert found[f'{name}_interval']==pytest.approx(1.96*x[name].mean(1).std()/np.sqrt(6), rel=1e-4)
    assert score(pred[:1], true[:1], 'srvp')['psnr_interval']==0


# ---- Bad input

@pytest.mark.parametrize('change,message', [
    (lambda p, t: (p, t*2), 'true contains .*expected numbers from 0 to 1: `ds.denorm'), (lambda p, t: (p*255, t*255), 'true contains .*divide bytes by 255'), (lambda p, t: (p, t-1), 'true contains'), (lambda p, t: (p, t*math.nan), 'true contains nan'),
    (lambda p, t: (p/0, t), 'pred contains'), (lambda p, t: (p[:,:2], t), 'pred has shape .* and true has'), (lambda p, t: (p[:,:,0], t[:,:,0]), 'true has shape'),
    (lambda p, t: (p[...,:9], t[...,:9]), 'at least 11'), (lambda p, t: ((p*255).byte(), t), 'pred holds torch.uint8; .*divide bytes by 255'), (lambda p, t: (p, (t*255).byte()), 'true holds torch.uint8'),
    (lambda p, t: (p.numpy(), t), 'pred=.*expected a Tensor'), (lambda p, t: (p, None), 'true=None'), (lambda p, t: (p[:0], t[:0]), 'at least one frame'), (lambda p, t: (p.to('meta'), t), 'one device'),
    (lambda p, t: (p[None], t[0]), 'pred has shape'), (lambda p, t: (p.view(3,1,4,24,31).expand(3,9,4,24,31).transpose(1,2), t.view(3,1,4,24,31).expand(3,9,4,24,31).transpose(1,2)), 'at most 4 channels')], ids=lambda o: o if isinstance(o, str) else '')
@pytest.mark.parametrize('convention', ['svg','plain'])
def test_wrong_frames_are_refused(change, message, convention):
    with pytest.raises((ValueError, TypeError), match=message): score(*change(*videos(1)), convention)


def test_normalised_predictions_are_warned_of():
    pred,true = videos(1)
    for wrong in (pred*255, (pred - .1)/.05):
        with pytest.warns(UserWarning, match='is it normalised'): score(wrong, true)


def test_wrong_words_are_refused():
    pred,true = videos(1)
    with pytest.raises(ValueError, match="convention='openslt'.*Did you mean 'openstl'"): score(pred, true, 'openslt')
    with pytest.raises(ValueError, match=r"'openstl' knows no samples"): score(pred[None], true)
    with pytest.raises(ValueError, match='window'): ssim(pred, true, 'box')


# ---- Baselines and `evaluate`

def still(rng, num_digits, times, **_): return dict(translate=rng.uniform(num_digits, 2)[:,:,None].expand(-1, -1, len(times), -1)*9)


def canonical(**kw): return MovingMNIST.preset('canonical', **{**dict(digits='fonts', split='test', seed=0), **kw})


@needs_mnist
def test_baselines_on_the_canonical_test_set():
    "Their MSE on 2,000 sequences, as it has been measured before"
    ds = canonical(digits='mnist', path=ROOT, download=False)
    total = {}
    for first in range(0, 2000, 500):
        true = ds[first:first+500][:,10:].float()/255
        for k,pred in baselines(ds, range(first, first+500)).items(): total[k] = total.get(k, 0) + (pred - true).square().sum((0,2,3,4))/2000
    for name,mse in {'black': 174.6, 'mean frame': 153.6, 'last frame': 286.3, 'true scene': 0}.items(): assert total[name].mean()==pytest.approx(mse, rel=.01), name
    line = total['straight line']
    assert line.mean()<total['mean frame'].mean() and line[0]<20 and line[-1]>total['mean frame'][-1]


@pytest.mark.parametrize('kw', [dict(), dict(color='random'), dict(background=torch.arange(251, dtype=torch.uint8).expand(1,50,251), drift=(1,3)), dict(motion='affine'), dict(motion='subpixel_bounce'), dict(num_digits=[1,3]), dict(motion='collide')], ids=str)
def test_straight_lines_are_right_until_the_first_bounce(kw):
    ds = canonical(**kw)
    scene,context = ds.draw(indices=range(60)),10
    line = straight_on(scene, context)
    assert line.angle.shape[-1]==10 and not line.bounces.any()
    hit = scene.bounces>0 if scene.collisions is None else (scene.bounces>0) | scene.collisions.any(2)
    free = hit[:,:,context:].cumsum(-1)==0
    assert line.collisions is None
    off = (line.translate - scene.translate[:,:,context:]).abs().amax(-1)[free & (scene.digit>=0)[:,:,None]]
    assert off.max()<(1e-6 if ds.motion=='affine' else 1.5) and len(off)>100
    if scene.drift is not None: assert torch.allclose(line.drift, scene.drift[:,context:], atol=1e-6)
    assert ds.render(line).shape==(60,10,ds.channels,64,64)


@pytest.mark.parametrize('motion', ['velocity','trajgru',still], ids=['velocity','trajgru','own'])
def test_curved_motions_go_on_as_in_the_last_two_frames(motion):
    ds = canonical(motion=motion)
    x,line = ds.draw(indices=range(9)),straight_on(ds.draw(indices=range(9)), 10, curved=True)
    for k in ('translate','angle','shear'):
        a,b = (getattr(x, k)[:,:,t] for t in (8,9))
        for t in (0,4): assert torch.allclose(getattr(line, k)[:,:,t], b + (t+1)*(b - a), atol=1e-6), k
    assert torch.equal(baselines(ds, range(9))['straight line'], ds.render(line).float()/255)


def test_a_digit_that_bounces_at_every_frame_goes_on():
    scene = canonical().draw(3)
    for bounces in (torch.full_like(scene.bounces, 3), torch.zeros_like(scene.bounces)):
        for context in (1,19): assert straight_on(with_fields(scene, bounces=bounces), context).translate.isfinite().all()


def test_evaluate_scores_all_batches_as_one():
    ds = canonical()
    found = evaluate(lambda seen: seen.flip(1)*.9, ds, n=23, bs=5, convention='srvp', progress=False)
    frames = ds[:23].float()/255
    expected = score(frames[:,:10].flip(1)*.9, frames[:,10:], 'srvp')
    for name in (*SCORES, 'psnr_interval'): assert found['prediction'][name]==pytest.approx(expected[name], rel=1e-9)
    for name,pred in baselines(ds, range(23)).items():
        assert found[name]['mse']==pytest.approx(score(pred, frames[:,10:], 'srvp')['mse'], rel=1e-9)
    assert list(found)==['prediction','black','mean frame','last frame','straight line','true scene']
    assert (found.n,found.context,found.horizon,found.convention,found.fingerprint)==(23, 10, 10, 'srvp', ds.fingerprint)


@pytest.mark.parametrize('indices', [3, [30], [-31], 'a', [.5], torch.zeros(2,2)], ids=str)
def test_wrong_indices_of_baselines(indices, tmp_path):
    ds = canonical(length=30)
    ds.save(tmp_path/'a.npy', n=30, progress=False)
    for o in (ds, load(tmp_path/'a.npy')):
        with pytest.raises((ValueError, TypeError, IndexError), match='ind[ie][xc]'): baselines(o, indices)
    assert torch.equal(baselines(ds, [-1])['last frame'], baselines(load(tmp_path/'a.npy'), torch.tensor([29]))['last frame'])


def test_the_mean_frame_is_that_of_the_frames_to_see():
    ds = canonical(length=30)
    assert torch.allclose(baselines(ds, [3])['mean frame'][0,4], (ds[:][:,:10].double()/255).mean((0,1)).float(), atol=1e-6)
    assert torch.equal(baselines(ds, [3])['last frame'][0], (ds[3][9:10].float()/255).expand(10,-1,-1,-1))


def test_a_predictor_may_change_its_argument_and_view_it():
    def predict(seen): return seen.view(-1,1,64,64).sub_(.5).view_as(seen).mul_(0)
    found = evaluate(predict, canonical(), n=6, bs=3, convention='svg', samples=2, progress=False)
    expected = evaluate(torch.zeros_like, canonical(), n=6, convention='svg', progress=False)
    for k in found: assert [found[k][o] for o in SCORES]==pytest.approx([expected[k][o] for o in SCORES], rel=1e-9), k


def test_what_the_predictor_sees():
    ds,seen = canonical(targets=['boxes'], transform=lambda o: 1/0),[]
    evaluate(lambda x: (seen.append(x), torch.zeros(len(x),15,1,64,64))[1], ds, n=3, bs=2, context=5, progress=False)
    assert torch.equal(torch.cat(seen), canonical()[:3][:,:5].float()/255) and not torch.is_inference_mode_enabled() and torch.is_grad_enabled()


def test_a_file_is_evaluated_as_its_dataset(tmp_path):
    ds = canonical(length=20)
    for name,kw in (('a.npy',{}), ('a.npz',dict(targets=['labels'])), ('a',dict(shards=3))):
        ds.save(tmp_path/name, n=20, progress=False, **kw)
        saved = load(tmp_path/name, transform=lambda o: 1/0)
        assert (saved.context,saved.protocol)==(ds.context,ds.protocol)
        found,expected = (evaluate(lambda seen: seen*.5, o, progress=False) for o in (saved, ds))
        assert list(found)==['prediction','black','mean frame','last frame'] and found.fingerprint==ds.fingerprint
        for k in found: assert [found[k][o] for o in SCORES]==[expected[k][o] for o in SCORES]


def test_samples_of_a_stochastic_predictor():
    ds = canonical()
    def noisy(seen): return seen + torch.randn(seen.shape, generator=g)*.1
    g = torch.Generator().manual_seed(0)
    once = evaluate(noisy, ds, n=4, convention='svg', progress=False)
    assert evaluate(noisy, ds, n=4, convention='svg', samples=4, progress=False)['prediction']['mse']<once['prediction']['mse']
    assert 'best of 2 samples' in repr(evaluate(noisy, ds, n=2, convention='srvp', samples=2, progress=False))
    with pytest.warns(UserWarning, match='training mode'): evaluate(torch.nn.Identity(), ds, n=2, progress=False)
    with pytest.raises(ValueError, match='samples=2'): evaluate(noisy, ds, n=4, samples=2)


@pytest.mark.parametrize('kw,message', [(dict(n=0), 'n=0'), (dict(n=10**9), 'n=1000000000'), (dict(bs=0), 'bs=0'), (dict(context=20), 'context=20'), (dict(context=0), 'context=0'), (dict(convention='x'), 'convention'),
                                        (dict(progress=1), 'progress=1')], ids=str)
def test_wrong_arguments_of_evaluate(kw, message):
    with pytest.raises((ValueError, TypeError), match=message): evaluate(torch.zeros_like, canonical(), **kw)


@pytest.mark.parametrize('predict,message', [(lambda x: x[:,:3], 'shape'), (lambda x: [1], 'predict returned'), (lambda x: x/0, 'cannot be scored: pred contains'), (lambda x: x.byte(), 'cannot be scored: pred holds'), (None, 'predict=None')])
def test_wrong_predictors(predict, message):
    with pytest.raises((ValueError, TypeError), match=message): evaluate(predict, canonical(), n=2, progress=False)


def test_frames_may_round_past_the_ends():
    ds = canonical(normalize=(.1,.3))
    true = ds.denormalize(ds.get_batch(indices=range(3)))
    pred = true*.7
    for k,row in compare(pred, true + 1e-6).items(): assert row['mse']==pytest.approx(score(pred, true.clamp(0, 1), k)['mse'], rel=1e-3)


def test_wrong_datasets():
    with pytest.raises(TypeError, match='ds is a TensorDataset'): evaluate(torch.zeros_like, torch.utils.data.TensorDataset(torch.zeros(3)))
    for call in (lambda ds: evaluate(torch.zeros_like, ds, n=2), lambda ds: baselines(ds, [0])):
        with pytest.raises(ValueError, match='seed=None'): call(canonical(seed=None))
    with pytest.raises(ValueError, match='num_frames=1'): evaluate(torch.zeros_like, canonical(num_frames=1), n=2)


def test_results_print_save_and_plot(tmp_path, capsys):
    found = evaluate(torch.zeros_like, canonical(), n=4)
    assert 'evaluate' in capsys.readouterr().err
    text = repr(found)
    assert "4 sequences of" in text and text.count('\n')==8 and text.splitlines()[-1].split()==['true','scene','0.000','0.000','1.000','inf']
    assert found.to_markdown().splitlines()[1]=='|---|---:|---:|---:|---:|' and found._repr_markdown_().endswith(found.to_markdown())
    found.save(tmp_path/'a.json')
    saved = json.loads((tmp_path/'a.json').read_text(), parse_constant=lambda o: 1/0)
    assert (saved['samples'],saved['rule']['error'])==(1, CONVENTIONS['openstl'].error)
    assert saved['scores']['true scene']['psnr'] is None and saved['recipe']==found.recipe and len(saved['scores']['black']['per_frame']['mse'])==10
    assert [line.get_label() for line in found.plot('psnr').get_lines()]==list(found)
    with pytest.raises(ValueError, match="name='mes'"): found.plot('mes')
    assert repr(Table())==repr(Table({}))


# ---- Protocols

def test_protocols_are_those_of_the_papers():
    frames = {k: (o.context, o.settings['num_frames']) for k,o in PRESETS.items()}
    assert frames=={'canonical': (10,20), 'canonical-tfds': (10,20), 'svg': (5,15), 'srvp': (5,25), 'srvp-deterministic': (5,100), 'mmnist++': (10,20), 'affine': (None,10),
                     'noisy-dynamic': (10,20), 'noisy-perceptual': (10,20), 'noisy-missing': (10,20), 'mfmnist': (10,20), 'mmnist-cifar': (10,20)}
    for name,(context,n) in frames.items():
        if 'digits' in PRESETS[name].settings: continue # With other images it is another dataset
        ds = MovingMNIST.preset(name, digits='fonts', normalize=False, seed=0)
        again = MovingMNIST.from_recipe(json.loads(json.dumps(ds.recipe)))
        assert ds.context==again.context==(context or n//2) and ds.protocol==again.protocol
        assert ds.protocol==(f'{name}: {context} frames to see, {n-context} to predict; {PRESETS[name].source}' if context else '5 frames to see, 5 to predict: half of the sequence, since no paper has these settings')


@pytest.mark.parametrize('kw,context', [(dict(num_frames=10), 5), (dict(num_digits=3), 10), (dict(composite='over', num_frames=8), 4), (dict(motion=still, num_frames=6), 3), (dict(img_size=65), 10)], ids=lambda o: ','.join(o) if isinstance(o, dict) else str(o))
def test_settings_of_no_paper_see_half(kw, context):
    assert canonical(**kw).context==context and 'half of the sequence, since no paper' in canonical(**kw).protocol


@pytest.mark.parametrize('kw', [dict(motion_params=dict(speed=.3)), dict(digit_size=40), dict(color='random'), dict(classes=[3]), dict(where=lambda scene: scene.digit[:,0]>=0), dict(interpolation='nearest'), dict(background=torch.zeros(9,9, dtype=torch.uint8))], ids=lambda o: ','.join(o))
def test_a_changed_preset_says_that_it_is_changed(kw):
    ds = canonical(**kw)
    assert ds.context==10 and ds.protocol.startswith("10 frames to see, 10 to predict, as 'canonical' has it; other settings differ")
    assert canonical(num_frames=40).protocol==f"canonical: 10 frames to see, 30 to predict; {PRESETS['canonical'].source}, with 20 frames"


def test_a_file_without_a_recipe_sees_half(tmp_path):
    np.save(tmp_path/'mnist_test_seq.npy', canonical()[:12][:,:,0].transpose(0, 1).numpy())
    saved = load(tmp_path/'mnist_test_seq.npy')
    assert saved.context==10 and 'the settings are not known' in saved.protocol
    assert 'an unknown recipe' in repr(evaluate(torch.zeros_like, saved, n=3, progress=False))
