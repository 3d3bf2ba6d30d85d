"""Benchmarks of `MovingMNIST` against other ways to make or copy a batch

Both sides of a ratio are measured in one run on one machine.
`python -m benchmarks` prints a table and writes it to `benchmarks/RESULTS.md`.
Digits come from MNIST if `--path` (or `MNIST_ROOT`) contains it, and from fonts otherwise.
"""
import json, os, platform, shutil, statistics, subprocess, sys, tempfile, time, zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
import torchvision.transforms.functional as TF
from fastcore.script import call_parse
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import load_digits
from torch_moving_mnist.metrics import score
from torch_moving_mnist.motion import MOTIONS
from torch_moving_mnist.engine import render
from torch_moving_mnist.engine.reference import render_reference
from torch_moving_mnist.scene import Scene
from torch_moving_mnist.truth import available_targets
from torch_moving_mnist.utils import atomic_path

HERE = Path(__file__).parent


def seconds(f, calls=1):
    "Time of `calls` calls of `f`"
    start = time.perf_counter()
    for _ in range(calls): f()
    return time.perf_counter() - start


def quartiles(xs):
    "Format the median and quartiles of `xs`"
    a,b,c = statistics.quantiles(xs, n=4)
    return f'{b:.3g} ({a:.3g}–{c:.3g})'


def ratio(f, g, rounds=31, warm=3, calls=5):
    "Time of `calls` calls of `f` ÷ time of `calls` calls of `g`, measured alternately, once per round"
    for _ in range(warm): f(), g()
    return [seconds(f, calls)/seconds(g, calls) for _ in range(rounds)]


def milliseconds(f, rounds=31, warm=3):
    "Milliseconds of single calls of `f`, one per round"
    for _ in range(warm): f()
    return [1000*seconds(f) for _ in range(rounds)]


def torchvision_loop(digits, scene):
    "Apply torchvision's `affine` to each digit of each frame, and composite by maximum"
    (B,K,T),(H,W) = scene.angle.shape, scene.canvas_size
    h,w = digits.shape[-2:]
    frames = torch.zeros(B, T, digits.shape[1], H, W, dtype=torch.uint8)
    for b in range(B):
        for k in range(K):
            if scene.digit[b,k]<0: continue
            padded = F.pad(digits[scene.digit[b,k]], [(W-w)//2, W-w-(W-w)//2, (H-h)//2, H-h-(H-h)//2])
            for t in range(T):
                layer = TF.affine(
                    padded, scene.angle[b,k,t].item(), scene.translate[b,k,t].tolist(),
                    scene.scale[b,k,t].item(), scene.shear[b,k,t].tolist(), interpolation=TF.InterpolationMode.BILINEAR)
                frames[b,t] = torch.maximum(frames[b,t], layer)
    return frames


def kornia_render(digits, scene):
    "Warp every digit of every frame in one call of kornia's `warp_affine`"
    import kornia
    (B,K,T),m = scene.angle.shape, scene.matrix[...,:2,:].float().flatten(0,2)
    x = digits[scene.digit.clamp(min=0)].float()*(scene.digit>=0)[...,None,None,None]
    x = x[:,:,None].expand(B,K,T,*x.shape[2:]).flatten(0,2)
    layers = kornia.geometry.transform.warp_affine(x, m, scene.canvas_size, align_corners=True)
    return layers.unflatten(0, (B,K,T)).amax(1).round().byte()


def training(ds, batches, steps):
    "Train a small next-frame predictor: seconds for `steps` steps, and seconds of these spent waiting for data"
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(5, 32, 5, padding=2), torch.nn.ReLU(),
        torch.nn.Conv2d(32, 32, 5, padding=2), torch.nn.ReLU(),
        torch.nn.Conv2d(32, 5, 5, padding=2)).to(ds.device)
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
    "Milliseconds per sequence in the second epoch of a DataLoader"
    loader = DataLoader(ds, batch_size=128, num_workers=workers, persistent_workers=workers>0)
    for _ in loader: pass
    return 1000*seconds(lambda: [None for _ in loader])/len(ds)


def bouncing_corners(B, T, K=2, canvas=64, digit=28, seed=0):
    "Top-left corners `(B,K,T,2)`, in whole pixels, of digits that bounce off the walls"
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
    "Render with numpy slices and `np.maximum`, one digit and frame at a time, as many scripts do"
    B,K,T,_ = corners.shape
    h,w = digits.shape[-2:]
    frames = np.zeros((B,T,canvas,canvas), np.uint8)
    for b in range(B):
        for t in range(T):
            for k in range(K):
                x,y = corners[b,k,t]
                region = frames[b,t,y:y+h,x:x+w]
                np.maximum(region, digits[index[b,k]], out=region)
    return frames


def bouncing_scene(digits, index, corners, canvas=64):
    "The Scene that `slice_and_maximum` renders for the same arguments"
    zeros = torch.zeros(corners.shape[:3], dtype=torch.float64)
    translate = torch.from_numpy(corners) + (digits.shape[-1]-1)/2 - (canvas-1)/2
    shear = torch.zeros(*zeros.shape, 2, dtype=torch.float64)
    return Scene(digit=torch.from_numpy(index), angle=zeros, translate=translate, scale=zeros+1, shear=shear, gain=zeros+1,
                 digit_size=tuple(digits.shape[-2:]), canvas_size=(canvas,canvas))


def find_digits(path):
    "Keyword arguments for digits of MNIST if the folder has them, otherwise of fonts"
    source = dict(path=path, digits='mnist', download=False)
    try: load_digits(**source)
    except RuntimeError: return dict(digits='fonts')
    return source


def default_dataset(source, **kw):
    "The dataset that most rows measure; `kw` changes its settings"
    settings = dict(num_digits=[1,2,3], num_frames=10, img_size=64, normalize=(.0752,.1769), seed=0)
    return MovingMNIST(**{**source, **settings, **kw})


def measure_process(source):
    """Medians of four measurements in the current process.

    1. `get_batch(128)` ÷ clone of the batch, five calls of each in turns
    2. milliseconds of `get_batch(128)`, 101 calls in a loop
    3. milliseconds of the clone, 101 calls in a loop
    4. `get_batch(128)` with labels, pose and boxes ÷ without
    """
    ds,with_targets = default_dataset(source),default_dataset(source, targets=['labels','pose','boxes'])
    batch = ds.get_batch(128)
    def get_batch(): return ds.get_batch(128)
    rounds = (
        ratio(get_batch, batch.clone),
        milliseconds(get_batch, 101),
        milliseconds(batch.clone, 101),
        ratio(lambda: with_targets.get_batch(128), get_batch),
    )
    return [statistics.median(o) for o in rounds]


def run_python(code, **env):
    "Run `code` in a new process, and return the number, or the list of numbers, in the last line that it prints"
    process = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env={**os.environ, **env})
    numbers = [float(o) for o in process.stdout.splitlines()[-1].split()]
    return numbers[0] if len(numbers)==1 else numbers


PROCESS = "from benchmarks.__main__ import measure_process; print(*measure_process({!r}))"
IMPORT = "import time; t = time.perf_counter(); import torch, torchvision; {}; print(time.perf_counter() - t)"
FIRST = """if True:
    import os
    def cpu(): return sum(os.times()[:4])
    times = [cpu()]
    import torch, torchvision
    times.append(cpu())
    from torch_moving_mnist.data import MovingMNIST
    from torch_moving_mnist.truth import available_targets
    settings = dict(digits='fonts', num_digits=[1,2,3], num_frames=10, seed=0, normalize=(.1,.3))
    ds = MovingMNIST(**settings)
    ds.get_batch(128)
    times.append(cpu())
    ds[0]
    times.append(cpu())
    pictures = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    MovingMNIST(**settings, composite='over', background=pictures, targets=available_targets('over', background=True)).get_batch(8)
    times.append(cpu())
    print(*(b-a for a,b in zip(times, times[1:])))"""
PEAK = """if True:
    import re
    from torch_moving_mnist.data import MovingMNIST
    def kilobytes(name): return int(re.search(name + r':\\s+(\\d+)', open('/proc/self/status').read())[1])
    ds = MovingMNIST(digits='fonts', num_digits=[1,2,3], num_frames=10, seed=0, normalize=(.1,.3))
    ds.get_batch(64)
    before = kilobytes('VmRSS')
    with open('/proc/self/clear_refs', 'w') as f: f.write('5') # Reset the peak
    batch = ds.get_batch(4096)
    print((kilobytes('VmHWM') - before)*1024/(batch.numel()*4))"""


def row(
    name,    # What was measured
    values,  # Results of all rounds
    goal='', # Empty: none
):
    "A row of the table"
    return name,quartiles(values),goal


def measure(source):
    "Yield the rows of the table: measurement, result, goal"
    def make(**kw): return default_dataset(source, **kw)
    ds = make()
    batch,scene = ds.get_batch(128),ds.draw(128)
    images = ds.digits.images
    def get_batch(): return ds.get_batch(128)

    in_turns,batch_times,clone_times,target_ratios = zip(*(run_python(PROCESS.format(source)) for _ in range(7)))
    yield row('get_batch(128) ÷ clone of the batch, five calls of each in turn, in 7 processes because memory placement varies',
              in_turns, 'at most 3')
    yield row('… each in a separate loop of 101 calls, which reuses the same memory',
              [a/b for a,b in zip(batch_times, clone_times)], 'at most 3')
    yield row('… get_batch(128) in that loop, milliseconds', batch_times)
    yield row('… clone of the batch in that loop, milliseconds', clone_times)
    yield row('… get_batch(128) with labels, pose and boxes ÷ without', target_ratios, 'at most 1.1')
    yield row('get_batch(128) ÷ clone, each call right after a clone, while threads of the clone still spin',
              ratio(get_batch, batch.clone, calls=1))
    yield row('… draw(128) ÷ clone', ratio(lambda: ds.draw(128), batch.clone))
    yield row('… matrix of the Scene ÷ clone', ratio(lambda: scene.matrix, batch.clone))

    small = scene[:4]
    def loop(): return torchvision_loop(images, small)
    yield row("loop over torchvision's affine ÷ render, 4 sequences", ratio(loop, lambda: ds.render(small), 5, 1, 1))
    yield row('the same loop for 128 sequences (32 times its time for 4) ÷ get_batch(128)',
              [32*seconds(loop)/(seconds(get_batch, 10)/10) for _ in range(7)], 'at least 500')
    yield row('… ÷ clone of the batch: the ratio of a generator as fast as a copy',
              [32*seconds(loop)/(seconds(batch.clone, 10)/10) for _ in range(7)])
    args = images, scene.digit, scene.matrix, (64,64), scene.gain
    yield row('full-canvas grid_sample (the reference) ÷ render, 128 sequences',
              ratio(lambda: render_reference(*args), lambda: render(*args), 7, 1, 1))
    yield row("kornia's batched warp_affine ÷ render, 128 sequences",
              ratio(lambda: kornia_render(images, scene), lambda: render(*args), 7, 1, 1))
    yield row('render(128) to uint8, 1 thread ÷ all threads', threads_gain(lambda: ds.render(scene)))
    grey,index,corners = images[:,0].numpy(), scene.digit[:,:2].clamp(min=0).numpy(), bouncing_corners(128, 20)
    bounce = bouncing_scene(images, index, corners)
    assert (ds.render(bounce)[:,:,0].numpy()==slice_and_maximum(grey, index, corners)).all()
    with one_thread():
        yield row('numpy slices and maximum ÷ matrix and render, bouncing digits, 20 frames, 2 digits, uint8, 1 thread',
                  ratio(lambda: slice_and_maximum(grey, index, corners), lambda: ds.render(bounce), 15), 'at least 5')

    yield row('ds[i], milliseconds', milliseconds(lambda: ds[5], 101))
    for bs in (1, 8, 32, 128, 512, 4096):
        yield row(f'get_batch({bs}), milliseconds per sequence', [x/bs for x in milliseconds(lambda: ds.get_batch(bs), 11)])
    for size in (128, 256, 512):
        large = make(img_size=size)
        yield row(f'get_batch(32) at {size}² ÷ clone of that batch',
                  ratio(lambda: large.get_batch(32), large.get_batch(32).clone, 7, calls=3))
    for k in (1, 3, 10):
        yield row(f'get_batch(128) with num_digits={k} ÷ clone', ratio(lambda d=make(num_digits=k): d.get_batch(128), batch.clone, 11))
    for t in (4, 100):
        long = make(num_frames=t)
        yield row(f'get_batch(32) with {t} frames ÷ clone of that batch', ratio(lambda: long.get_batch(32), long.get_batch(32).clone, 11))
    for motion in MOTIONS:
        moving = make(motion=motion, num_frames=20, num_digits=2)
        yield row(f'draw ÷ get_batch(128), motion={motion!r}, 20 frames, 2 digits',
                  ratio(lambda: moving.draw(128), lambda: moving.get_batch(128), 11, calls=3), 'at most 0.33')
    everything = make(targets=available_targets())
    truth = [o for o in everything.get_batch(128)[1].values() if isinstance(o, torch.Tensor)]
    def five_and_a_copy(): return [ds.get_batch(128) for _ in range(5)], [o.clone() for o in truth]
    yield row('get_batch(128) with all targets ÷ five calls without targets and a clone of the targets',
              ratio(lambda: everything.get_batch(128), five_and_a_copy, 11, calls=1), 'at most 1')

    for workers in (0, 1, 2):
        yield row(f'DataLoader, batches of 128, num_workers={workers}, milliseconds per sequence',
                  [loader_rate(make(length=2048), workers) for _ in range(3)])
    for rows in (reading_rows, writing_rows, scaling_rows):
        with tempfile.TemporaryDirectory(dir='.') as d: yield from rows(source, Path(d)) # On the disk, not in a file system in memory
    runs = [training(ds, ds.batches(bs=16, prefetch=2), 40) for _ in range(5)]
    yield row('fraction of training time spent waiting for batches(bs=16, prefetch=2)', [wait/total for total,wait in runs], 'under 0.02')
    yield row('time of the same training steps ÷ steps that reuse one batch',
              [total/training(ds, repeat(ds.get_batch(16)), 40)[0] for total,_ in runs])

    imports = [run_python(IMPORT.format('import torch_moving_mnist.data'))/run_python(IMPORT.format('pass')) for _ in range(5)]
    yield row('import of torch_moving_mnist.data ÷ import of torch and torchvision', imports, 'at most 1.2')
    yield from score_rows(source)
    yield from first_rows()
    if os.path.exists('/proc/self/clear_refs'):
        yield 'peak memory, including the output ÷ output, get_batch(4096)', f'{run_python(PEAK):.3g}', 'at most 1.25'


def reading_rows(source, folder, n=1024, bs=128):
    "Yield the rows that compare making canonical sequences with reading them from memory, through a `DataLoader` without workers"
    ds = MovingMNIST.preset('canonical', **source, seed=0, length=n)
    (folder/'MovingMNIST').mkdir()
    np.save(folder/'MovingMNIST'/'mnist_test_seq.npy', ds[:n][:,:,0].transpose(0, 1).numpy())
    stored = torchvision.datasets.MovingMNIST(folder, split=None)
    batches = DataLoader(ds, batch_size=None, sampler=BatchSampler(SequentialSampler(ds), bs, False))
    for i,(made,read) in enumerate(zip(batches, DataLoader(stored, batch_size=bs))): assert torch.equal(made, read), i
    def go_through(loader): return lambda: [None for _ in loader]
    name = "DataLoader over 'canonical', uint8, num_workers=0 ÷ over torchvision's MovingMNIST with the same frames in memory"
    reading = go_through(DataLoader(stored, batch_size=bs))
    yield row(f'{name}: a sampler of batches', ratio(go_through(batches), reading, 7, calls=1), 'at most 1.5')
    yield row('… the default collation', ratio(go_through(DataLoader(ds, batch_size=bs)), reading, 7, calls=1))


def writing_rows(source, folder, n=10_000, bs=256):
    "Yield the rows that compare `ds.save` with rendering to memory and writing the bytes raw; both sides flush to the disk"
    ds = MovingMNIST.preset('canonical', **source, seed=0, length=n)
    frames = np.empty((n,20,1,64,64), np.uint8)
    frames.fill(0) # So that its pages exist
    def render_and_write():
        for i in range(0, n, bs): frames[i:i+bs] = ds[i:i+bs]
        with open(folder/'raw', 'wb') as f:
            f.write(frames)
            f.flush()
            os.fsync(f.fileno())
    def timed(f):
        for o in folder.iterdir(): shutil.rmtree(o) if o.is_dir() else o.unlink()
        return seconds(f)
    ways = {'one .npy': dict(fname=folder/'a.npy'), 'a folder of .npy shards': dict(fname=folder/'a'), 'a folder of .tar shards': dict(fname=folder/'b', format='tar')}
    timed(render_and_write)
    rounds = [(timed(render_and_write), *(timed(lambda: ds.save(n=n, progress=False, **o)) for o in ways.values())) for _ in range(7)]
    for i,name in enumerate(ways, 1):
        yield row(f"rendering {n:,} 'canonical' sequences to memory and writing them raw ÷ ds.save to {name}", [o[0]/o[i] for o in rounds],
                  '' if 'tar' in name else 'at least 0.7')


def scaling_rows(source, folder, n=20_000, steps=400, rounds=5):
    "Yield the rows on two processes instead of one"
    ds = MovingMNIST.preset('canonical', **source, seed=0, length=n)
    def saved(workers):
        shutil.rmtree(folder/'set', ignore_errors=True)
        return seconds(lambda: ds.save(folder/'set', n=n, shards=20, workers=workers, progress=False))
    def streamed(workers):
        batches = iter(DataLoader(default_dataset(source).stream(128, steps + 20), batch_size=None, num_workers=workers))
        for _ in range(20): next(batches) # The workers are at work
        return seconds(lambda: [None for _ in batches])
    saved(1)
    saves,streams = ([(f(1), f(2)) for _ in range(rounds)] for f in (saved, streamed))
    yield row("ds.save of 'canonical' sequences to a folder of .npy shards, workers=1, thousand sequences per second", [n/1000/a for a,_ in saves])
    yield row('… time with workers=1 ÷ with workers=2', [a/b for a,b in saves])
    packed = [len(zlib.compress(ds[i:i+100].numpy().tobytes(), 6))/100_000 for i in range(0, 1000, 100)]
    yield row("a 'canonical' sequence compressed with zlib, level 6, kilobytes", packed)
    yield "recipe of 'canonical', kilobytes", f'{len(json.dumps(ds.recipe))/1000:.3g}', ''
    yield row('DataLoader over ds.stream(128), num_workers=1, thousand sequences per second', [steps*.128/a for a,_ in streams])
    yield row('… time with num_workers=1 ÷ with num_workers=2', [a/b for a,b in streams])


def score_rows(source, n=32):
    "Yield the row that compares `score` with the loop over frames of published code, which calls scikit-image"
    from skimage.metrics import structural_similarity
    ds = MovingMNIST.preset('canonical', **source, seed=0)
    true = ds[:n][:,10:].float()/255
    pred = TF.gaussian_blur(true.flatten(0, 1), 5).view_as(true)
    def loop():
        a,b = pred.numpy(),true.numpy()
        np.square(a - b).sum((2,3,4)).mean(), np.abs(a - b).sum((2,3,4)).mean()
        for x,y in zip(a.reshape(-1, 64, 64), b.reshape(-1, 64, 64)):
            structural_similarity(x, y, data_range=2)
            10*np.log10(1/np.square(x - y).mean())
    yield row(f"OpenSTL's loop over frames with scikit-image ÷ score(pred, true), {n} sequences, 10 frames", ratio(loop, lambda: score(pred, true), 15, calls=1))


def first_rows():
    "Yield the rows of the first use: CPU seconds in a new process ÷ those of `import torch, torchvision` in it"
    what = ('first dataset and get_batch(128)', 'first ds[i] after it, in addition', 'first of all targets after it, in addition')
    goals = ('at most 3', 'at most 0.5', 'at most 3')
    cold,warm = [],[]
    for _ in range(3):
        with tempfile.TemporaryDirectory() as d:
            for results in (cold, warm):
                imported,*rest = run_python(FIRST, NUMBA_CACHE_DIR=d)
                results.append([o/imported for o in rest])
    for i in range(3): yield row(f'{what[i]}, nothing compiled, CPU time ÷ import of torch and torchvision', [o[i] for o in cold], goals[i])
    yield row('the first two of these rows, with compiled code on disk', [o[0] + o[1] for o in warm])
    with tempfile.TemporaryDirectory() as d, ThreadPoolExecutor(3) as pool: # Three processes at once
        times = list(pool.map(lambda _: run_python(FIRST, NUMBA_CACHE_DIR=d), range(3)))
    imported = sum(o[0] for o in times)/3
    yield ('three processes at once, nothing compiled: CPU time of all three for the rows above ÷ one import',
           f'{sum(map(sum, times))/imported - 3:.3g}', '')


class one_thread:
    "Context in which torch, and so the renderer, uses one thread"
    def __enter__(self): self.n = torch.get_num_threads(); torch.set_num_threads(1)
    def __exit__(self, *args): torch.set_num_threads(self.n)


def threads_gain(f):
    "Time of `f` with one thread ÷ with all threads, once per round"
    f()
    out = []
    for _ in range(31):
        with one_thread(): slow = seconds(f)
        out.append(slow/seconds(f))
    return out


def machine():
    "Processor, its vector instructions as far as PyTorch uses them, and versions, for the heading of the table"
    cpu,info,kind = platform.processor(),Path('/proc/cpuinfo'),torch.backends.cpu.get_cpu_capability().replace('AVX512', 'AVX-512')
    if info.exists():
        text = info.read_text()
        cpu = next((line.split(':')[1].strip() for line in text.splitlines() if line.startswith('model name')), cpu)
        if 'avx512f' in text and kind=='AVX2': kind = 'limited to AVX2'
    versions = f'Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}'
    return f'{cpu} ({kind}), {os.cpu_count()} cores; {platform.system()}, {versions}, {torch.get_num_threads()} threads'


def card(device):
    "Name of the device"
    return f'{torch.cuda.get_device_name(device)} (CUDA)' if device.startswith('cuda') else device


@call_parse
def main(
    path:str=os.environ.get('MNIST_ROOT', '.'), # Folder that contains MNIST (torchvision's root)
    cuda:bool=False,                            # Measure a CUDA device instead of the CPU
    device:str='cuda',                          # With --cuda: the device; 'cpu' tries the code without one
    out:str=None,                               # Where to write the table; by default benchmarks/RESULTS.md or RESULTS-CUDA.md
):
    "Run all benchmarks, print the table and write it"
    source = find_digits(path)
    if cuda: from .cuda import measure as rows_of
    else: rows_of = measure
    out = out or HERE/('RESULTS-CUDA.md' if cuda else 'RESULTS.md')
    on = f'{card(device)}; {machine()}' if cuda else machine()
    about = (f"Written by `python -m benchmarks{' --cuda'*cuda}` on: {on}. Digits: {source['digits']}. A result is a median with its quartiles in brackets; `÷` is a ratio, and a row that begins with `…` continues the row above. "
             "Unless a row says otherwise, sequences have 10 frames of 64×64 with 1 to 3 digits, as normalised float32. [NOTES.md](NOTES.md) says why some goals are missed.")
    lines = ['# Benchmarks', '', about, '', '| measurement | result | goal |', '|---|---|---|']
    for name,result,goal in rows_of(source, **(dict(device=device) if cuda else {})):
        lines.append(f'| {name} | {result} | {goal} |')
        print(lines[-1], flush=True)
    with atomic_path(out) as tmp: Path(tmp).write_text('\n'.join(lines) + '\n', encoding='utf-8')
