"""How fast is it, against what? Ratios, each measured in one run on one machine.

`python -m benchmarks` prints a table and writes it to `benchmarks/RESULTS.md`. Digits are MNIST's where `--path` (or `MNIST_ROOT`) has them, and font digits otherwise.
"""
import os, platform, statistics, subprocess, sys, tempfile, time
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
import torchvision.transforms.functional as TF
from fastcore.script import call_parse
from torch.utils.data import DataLoader

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import load_digits
from torch_moving_mnist.motion import MOTIONS
from torch_moving_mnist.render import render, render_reference
from torch_moving_mnist.trajectory import Scene
from torch_moving_mnist.truth import TARGETS
from torch_moving_mnist.utils import replacing

HERE = Path(__file__).parent


def seconds(f, calls=1):
    start = time.perf_counter()
    for _ in range(calls): f()
    return time.perf_counter() - start


def quartiles(xs):
    "Median and quartiles as text"
    a,b,c = statistics.quantiles(xs, n=4)
    return f'{b:.3g} ({a:.3g}–{c:.3g})'


def ratio(f, g, rounds=31, warm=3, calls=5):
    "Time of `calls` runs of `f` over as many of `g`, taken in turns"
    for _ in range(warm): f(), g()
    return [seconds(f, calls)/seconds(g, calls) for _ in range(rounds)]


def milliseconds(f, rounds=31, warm=3):
    for _ in range(warm): f()
    return [1000*seconds(f) for _ in range(rounds)]


def torchvision_loop(digits, scene):
    "The obvious way: each digit of each frame through torchvision's `affine`, composited by maximum"
    (B,K,T),(H,W) = scene.angle.shape, scene.canvas_size
    h,w = digits.shape[-2:]
    frames = torch.zeros(B, T, digits.shape[1], H, W, dtype=torch.uint8)
    for b in range(B):
        for k in range(K):
            if scene.digit[b,k]<0: continue
            padded = F.pad(digits[scene.digit[b,k]], [(W-w)//2, W-w-(W-w)//2, (H-h)//2, H-h-(H-h)//2])
            for t in range(T):
                layer = TF.affine(padded, scene.angle[b,k,t].item(), scene.translate[b,k,t].tolist(), scene.scale[b,k,t].item(), scene.shear[b,k,t].tolist(),
                                  interpolation=TF.InterpolationMode.BILINEAR)
                frames[b,t] = torch.maximum(frames[b,t], layer)
    return frames


def kornia_render(digits, scene):
    "Every digit of every frame in one call of kornia's `warp_affine`"
    import kornia
    (B,K,T),m = scene.angle.shape, scene.matrix[...,:2,:].float().flatten(0,2)
    x = digits[scene.digit.clamp(min=0)].float()*(scene.digit>=0)[...,None,None,None]
    x = x[:,:,None].expand(B,K,T,*x.shape[2:]).flatten(0,2)
    layers = kornia.geometry.transform.warp_affine(x, m, scene.canvas_size, align_corners=True)
    return layers.unflatten(0, (B,K,T)).amax(1).round().byte()


def training(ds, batches, steps):
    "Seconds of `steps` steps of a small next-frame predictor, and how many of them it waited for data"
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(5, 32, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(32, 5, 5, padding=2)).to(ds.device)
    opt = torch.optim.Adam(model.parameters())
    waited,batches = [],iter(batches)
    next(batches)
    start = time.perf_counter()
    for _ in range(steps):
        t = time.perf_counter()
        x = next(batches).squeeze(2)
        waited.append(time.perf_counter() - t)
        F.mse_loss(model(x[:,:5]), x[:,5:]).backward()
        opt.step(), opt.zero_grad()
    return time.perf_counter() - start, sum(waited)


def loader_rate(ds, workers):
    "Milliseconds a sequence of a DataLoader's second epoch"
    loader = DataLoader(ds, batch_size=128, num_workers=workers, persistent_workers=workers>0)
    for _ in loader: pass
    return 1000*seconds(lambda: [None for _ in loader])/len(ds)


def on_the_gpu(make):
    "Output bytes per second as a share of what a copy writes"
    def timed(f, n=20):
        f(), torch.cuda.synchronize()
        start,end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(n): f()
        end.record(), torch.cuda.synchronize()
        return start.elapsed_time(end)
    ds = make(device='cuda')
    for bs,goal in ((128,''), (4096,'at least 0.5')):
        batch = ds.get_batch(bs)
        yield f'clone of the batch ÷ get_batch({bs}) on {torch.cuda.get_device_name()}', quartiles([timed(batch.clone)/timed(lambda: ds.get_batch(bs)) for _ in range(11)]), goal


def bouncing(B, T, K=2, canvas=64, digit=28, seed=0):
    "Top-left corners `(B,K,T,2)` of digits that bounce off the walls in whole pixels"
    g = np.random.default_rng(seed)
    free = canvas - digit
    p,angle = g.random((B,K,2)),g.random((B,K))*2*np.pi
    v = np.stack([np.cos(angle), np.sin(angle)], -1)*.1
    out = np.empty((B,K,T,2), np.int64)
    for t in range(T):
        p = p + v
        v = np.where((p<=0) | (p>=1), -v, v)
        p = p.clip(0, 1)
        out[:,:,t] = (p*free).astype(np.int64)
    return out


def slice_and_maximum(digits, index, corners, canvas=64):
    "The usual script: numpy slices and `np.maximum`, one digit and frame at a time"
    B,K,T,_ = corners.shape
    h,w = digits.shape[-2:]
    frames = np.zeros((B,T,canvas,canvas), np.uint8)
    for b in range(B):
        for t in range(T):
            for k in range(K):
                x,y = corners[b,k,t]
                spot = frames[b,t,y:y+h,x:x+w]
                np.maximum(spot, digits[index[b,k]], out=spot)
    return frames


def bouncing_scene(digits, index, corners, canvas=64):
    zeros = torch.zeros(corners.shape[:3], dtype=torch.float64)
    return Scene(digit=torch.from_numpy(index), angle=zeros, translate=torch.from_numpy(corners) + (digits.shape[-1]-1)/2 - (canvas-1)/2, scale=zeros+1,
                 shear=torch.zeros(*zeros.shape, 2, dtype=torch.float64), gain=zeros+1, digit_size=tuple(digits.shape[-2:]), canvas_size=(canvas,canvas))


def usual(source, **kw):
    "The dataset that most of the table is about"
    return MovingMNIST(**{**source, **dict(num_digits=[1,2,3], num_frames=10, img_size=64, normalize=(.0752,.1769), seed=0), **kw})


def of_a_process(source):
    "`get_batch(128)` ÷ clone of the batch, five of each in turns; milliseconds of each, a hundred times over; `get_batch` with labels, pose and boxes ÷ without"
    ds,known = usual(source),usual(source, targets=['labels','pose','boxes'])
    batch = ds.get_batch(128)
    def ours(): return ds.get_batch(128)
    return [statistics.median(o) for o in (ratio(ours, batch.clone), milliseconds(ours, 101), milliseconds(batch.clone, 101), ratio(lambda: known.get_batch(128), ours))]


def python(code, **env):
    "Run `code` in a process of its own, which prints a number, or several in its last line"
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env={**os.environ, **env}).stdout.splitlines()[-1].split()
    return float(found[0]) if len(found)==1 else [float(o) for o in found]


PROCESS = "from benchmarks.__main__ import of_a_process; print(*of_a_process({!r}))"
IMPORT = "import time; t = time.perf_counter(); import torch, torchvision; {}; print(time.perf_counter() - t)"
FIRST = """if True:
    import time, torch
    from torch_moving_mnist.data import MovingMNIST
    t = time.perf_counter()
    ds = MovingMNIST(digits=torch.ones(9, 28, 28, dtype=torch.uint8), normalize=False, seed=0)
    ds.get_batch(2)
    print(time.perf_counter() - t)"""
PEAK = """if True:
    import re
    from torch_moving_mnist.data import MovingMNIST
    def kilobytes(what): return int(re.search(what + r':\\s+(\\d+)', open('/proc/self/status').read())[1])
    ds = MovingMNIST(digits='fonts', num_digits=[1,2,3], num_frames=10, seed=0, normalize=(.1,.3))
    ds.get_batch(64)
    before = kilobytes('VmRSS')
    with open('/proc/self/clear_refs', 'w') as f: f.write('5') # The peak counts from here
    batch = ds.get_batch(4096)
    print((kilobytes('VmHWM') - before)*1024/(batch.numel()*4))"""


def measure(source):
    "Rows of the table: what, how much, goal"
    def make(**kw): return usual(source, **kw)
    ds = make()
    batch,scene = ds.get_batch(128),ds.draw(128)
    images = ds.digits.images
    turns,ours,clones,knowing = zip(*(python(PROCESS.format(source)) for _ in range(7)))
    yield 'in 7 processes, on whose luck with memory much depends: get_batch(128) ÷ clone of the batch, five of each in turns', quartiles(turns), 'at most 3'
    yield '… each alone, a hundred times over, where both find their memory again', quartiles([a/b for a,b in zip(ours, clones)]), 'at most 3'
    yield '… get_batch(128) alone, milliseconds', quartiles(ours), ''
    yield '… clone of the batch alone, milliseconds', quartiles(clones), ''
    yield '… get_batch(128) with labels, pose and boxes ÷ without', quartiles(knowing), 'at most 1.1'
    yield 'get_batch(128) ÷ clone, every call right after a clone, whose idle threads still spin', quartiles(ratio(lambda: ds.get_batch(128), batch.clone, calls=1)), ''
    yield '… of which: draw', quartiles(ratio(lambda: ds.draw(128), batch.clone)), ''
    yield '… of which: matrix', quartiles(ratio(lambda: scene.matrix, batch.clone)), ''
    some = scene[:4]
    yield 'loop over torchvision\'s affine ÷ render, 4 sequences', quartiles(ratio(lambda: torchvision_loop(images, some), lambda: ds.render(some), 5, 1, 1)), ''
    yield 'the same for 128 sequences, the loop scaled up from 4 ÷ get_batch(128)', quartiles([32*seconds(lambda: torchvision_loop(images, some))/(seconds(lambda: ds.get_batch(128), 10)/10) for _ in range(7)]), 'at least 500'
    yield '… ÷ clone of the batch: what a way that takes no longer than a copy would reach', quartiles([32*seconds(lambda: torchvision_loop(images, some))/(seconds(batch.clone, 10)/10) for _ in range(7)]), ''
    args = images, scene.digit, scene.matrix, (64,64), scene.gain
    yield 'full-canvas grid_sample (the reference) ÷ render, 128 sequences', quartiles(ratio(lambda: render_reference(*args), lambda: render(*args), 7, 1, 1)), ''
    yield 'kornia\'s warp_affine, batched ÷ render, 128 sequences', quartiles(ratio(lambda: kornia_render(images, scene), lambda: render(*args), 7, 1, 1)), ''
    yield 'render(128) to bytes, 1 thread ÷ all threads', quartiles(threads_gain(lambda: ds.render(scene))), ''
    grey,index,corners = images[:,0].numpy(), scene.digit[:,:2].clamp(min=0).numpy(), bouncing(128, 20)
    bounce = bouncing_scene(images, index, corners)
    assert (ds.render(bounce)[:,:,0].numpy()==slice_and_maximum(grey, index, corners)).all()
    with one_thread(): yield 'numpy slices and maximum ÷ matrix and render, bouncing, 20 frames, 2 digits, bytes, 1 thread', quartiles(ratio(lambda: slice_and_maximum(grey, index, corners), lambda: ds.render(bounce), 15)), 'at least 5'
    yield 'ds[i], milliseconds', quartiles(milliseconds(lambda: ds[5], 101)), ''
    for bs in (1, 8, 32, 128, 512, 4096): yield f'get_batch({bs}), milliseconds a sequence', quartiles([x/bs for x in milliseconds(lambda: ds.get_batch(bs), 11)]), ''
    for size in (128, 256, 512):
        big = make(img_size=size)
        yield f'get_batch(32) at {size}² ÷ clone of it', quartiles(ratio(lambda: big.get_batch(32), big.get_batch(32).clone, 7, calls=3)), ''
    for k in (1, 3, 10): yield f'get_batch(128) with {k} digits ÷ clone', quartiles(ratio(lambda d=make(num_digits=k): d.get_batch(128), batch.clone, 11)), ''
    for t in (4, 100):
        long = make(num_frames=t)
        yield f'get_batch(32) with {t} frames ÷ clone of it', quartiles(ratio(lambda: long.get_batch(32), long.get_batch(32).clone, 11)), ''
    for motion in MOTIONS:
        moving = make(motion=motion, num_frames=20, num_digits=2)
        yield f'draw ÷ get_batch(128), motion={motion!r}, 20 frames, 2 digits', quartiles(ratio(lambda: moving.draw(128), lambda: moving.get_batch(128), 11, calls=3)), 'at most 0.33'
    everything = make(targets=[o for o in TARGETS if o not in ('cover','backdrop')])
    truth = [o for o in everything.get_batch(128)[1].values() if isinstance(o, torch.Tensor)]
    def five_and_a_copy(): return [ds.get_batch(128) for _ in range(5)], [o.clone() for o in truth]
    yield 'get_batch(128) with all of the ground truth ÷ five without it and a clone of the truth', quartiles(ratio(lambda: everything.get_batch(128), five_and_a_copy, 11, calls=1)), 'at most 1'
    for workers in (0, 1, 2): yield f'DataLoader, batches of 128, {workers} workers, milliseconds a sequence', quartiles([loader_rate(make(length=2048), workers) for _ in range(3)]), ''
    runs = [training(ds, ds.batches(bs=16, prefetch=2), 40) for _ in range(5)]
    yield 'share of training steps spent waiting, batches(bs=16, prefetch=2)', quartiles([wait/all for all,wait in runs]), 'under 0.02'
    yield 'the same steps ÷ steps on one batch that is there already', quartiles([all/training(ds, repeat(ds.get_batch(16)), 40)[0] for all,_ in runs]), ''
    if torch.cuda.is_available(): yield from on_the_gpu(make)
    yield 'import of data ÷ import of torch and torchvision', quartiles([python(IMPORT.format('import torch_moving_mnist.data'))/python(IMPORT.format('pass')) for _ in range(5)]), 'at most 1.2'
    with tempfile.TemporaryDirectory() as d:
        yield 'first dataset and get_batch in a process, nothing compiled before, seconds', f'{python(FIRST, NUMBA_CACHE_DIR=d):.3g}', ''
        yield 'first dataset and get_batch in a process, compiled before, seconds', f'{python(FIRST, NUMBA_CACHE_DIR=d):.3g}', ''
    if os.path.exists('/proc/self/clear_refs'): yield 'memory at the peak ÷ output, which is part of it, get_batch(4096)', f'{python(PEAK):.3g}', 'at most 1.25'


class one_thread:
    def __enter__(self): self.n = torch.get_num_threads(); torch.set_num_threads(1)
    def __exit__(self, *args): torch.set_num_threads(self.n)


def threads_gain(f):
    f()
    out = []
    for _ in range(31):
        with one_thread(): slow = seconds(f)
        out.append(slow/seconds(f))
    return out


def machine():
    cpu,info = platform.processor(),Path('/proc/cpuinfo')
    if info.exists(): cpu = next((line.split(':')[1].strip() for line in info.read_text().splitlines() if line.startswith('model name')), cpu)
    return f'{cpu}, {os.cpu_count()} cores; {platform.system()}, Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}, {torch.get_num_threads()} threads'


@call_parse
def main(
    path:str=os.environ.get('MNIST_ROOT', '.'), # Folder that holds MNIST (torchvision's root)
    out:str=str(HERE/'RESULTS.md'),             # Where to write the table
):
    "Measure, print, and write the table"
    source = dict(path=path, digits='mnist', download=False)
    try: load_digits(**source)
    except RuntimeError: source = dict(digits='fonts')
    lines = ['# Benchmarks', '', f"Written by `python -m benchmarks` on: {machine()}. Digits: {source['digits']}. Median and quartiles; sequences of 10 frames of 64×64 with 1 to 3 digits, float32 and normalised, where nothing else is said.", '',
             '| what | measured | goal |', '|---|---|---|']
    for what,much,goal in measure(source):
        lines.append(f'| {what} | {much} | {goal} |')
        print(lines[-1], flush=True)
    with replacing(out) as tmp: Path(tmp).write_text('\n'.join(lines) + '\n', encoding='utf-8')
