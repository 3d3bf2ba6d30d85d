"""Benchmarks on a CUDA device: `python -m benchmarks --cuda`

Speeds are output bytes per second ÷ those of a copy of the same batch on the device (`clone`), measured alternately.
With `--device cpu` the same code runs on the CPU, which shows that it works and nothing else.
"""
import time

import torch

from torch_moving_mnist import MovingMNIST
from torch_moving_mnist.engine import render
from torch_moving_mnist.truth import TARGETS, available_targets, engine_args, needs_pixels

from .__main__ import default_dataset, row, run_python, training

FIRST = """if True:
    import time, torch
    from torch_moving_mnist import MovingMNIST
    ds = MovingMNIST(digits='fonts', num_digits=[1,2,3], num_frames=10, seed=0, normalize=(.1,.3), device={device!r})
    torch.zeros(1, device={device!r}).item()
    start = time.perf_counter()
    ds.get_batch(128).sum().item()
    print(time.perf_counter() - start)"""


class Clock:
    "Times calls on a device"
    def __init__(self, device): self.cuda = device.startswith('cuda')

    def wait(self):
        if self.cuda: torch.cuda.synchronize()

    def milliseconds(self, f, calls):
        "Milliseconds per call, between two events on the device"
        self.wait()
        if not self.cuda:
            start = time.perf_counter()
            for _ in range(calls): f()
            return (time.perf_counter() - start)*1000/calls
        first,last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(calls): f()
        last.record()
        self.wait()
        return first.elapsed_time(last)/calls

    def ratio(self, f, g, rounds=11, calls=20):
        "Time of `f` ÷ time of `g`, in turns"
        for _ in range(3): f(), g()
        return [self.milliseconds(f, calls)/self.milliseconds(g, calls) for _ in range(rounds)]


def speed_rows(source, device, clock, sizes):
    "Output ÷ copy, for floats and bytes of affine and canonical sequences, and the parts of a batch"
    for motion,make in (('affine', default_dataset), ('canonical', lambda source, **kw: MovingMNIST.preset('canonical', **source, seed=0, **kw))):
        ds = make(source, device=device)
        for kind,of in (('float32', lambda n: ds.get_batch(n)), ('uint8', lambda n: ds.render(ds.draw(n)))):
            if motion=='canonical' and kind=='float32': continue
            for n in sizes:
                out = of(n)
                yield row(f"{motion}, {kind}: clone of {n:,} sequences ÷ making them", clock.ratio(out.clone, lambda: of(n)), 'at least 0.5' if n==max(sizes) else '')
        n = max(sizes)
        scene = ds.draw(n)
        args = dict(engine_args(scene, ds.digits), composite=ds.composite)
        batch = ds.render(scene)
        for name,f in (('draw', lambda: ds.draw(n)), ('matrix of a new Scene', lambda: ds.draw(n).matrix), ('render from matrices, uint8', lambda: render(**args))):
            yield row(f'{motion}: {name}, {n:,} sequences ÷ clone of their bytes', clock.ratio(f, batch.clone))
    plain,targets = (default_dataset(source, device=device, targets=o) for o in ((), ('boxes','labels')))
    n = max(sizes)//4
    yield row(f'get_batch({n:,}) with boxes and labels ÷ without', clock.ratio(lambda: targets.get_batch(n), lambda: plain.get_batch(n), calls=3))


def truth_rows(source, device, clock, n=128):
    "Each target made on the device ÷ made on the CPU and copied there"
    there,here = default_dataset(source, device=device),default_dataset(source)
    scene,twin = there.draw(n),here.draw(n)
    for name in available_targets():
        if TARGETS[name].dtype=='str': continue
        def copied():
            x = here.truth(twin, [name])[name]
            return {k: o.to(device) for k,o in x.items()} if isinstance(x, dict) else x.to(device)
        way = ' by the reference' if needs_pixels(name) or name in ('boxes','full_boxes') else ''
        yield row(f"target {name!r}{way}, {n} sequences: on the device ÷ on the CPU and copied", clock.ratio(lambda: there.truth(scene, [name]), copied, 5, 2), 'at most 1')


def agreement_rows(source, device, n=256):
    "Whether Scenes and frames are those of the CPU"
    for settings in (dict(), dict(motion='bounce'), dict(motion='collide', num_digits=2), dict(composite='over', color='random')):
        here,there = (default_dataset(source, **settings, device=o) for o in ('cpu', device))
        a,b = (ds.draw(indices=range(n)) for ds in (here, there))
        off = max((x.double() - y.cpu().double()).abs().max().item() for x,y in ((a.translate, b.translate), (a.angle, b.angle), (a.matrix, b.matrix)))
        levels = (here.render(a).int() - there.render(b).cpu().int()).abs()
        what = ', '.join(f'{k}={v!r}' for k,v in settings.items()) or 'default'
        yield f'{what}: largest difference of Scenes from those of the CPU, pixels and degrees', f'{off:.2g}', 'at most 1e-9'
        yield f'{what}: largest difference of frames, grey levels; share of pixels that differ', f'{levels.max().item()}; {(levels>0).double().mean().item():.2g}', 'at most 1'


def other_rows(source, device, clock, sizes):
    "First call, waiting for the device, memory, and training beside it"
    yield row('first get_batch(128) of a process, seconds, kernels compiled', [run_python(FIRST.format(device=device)) for _ in range(3)])
    ds = default_dataset(source, device=device)
    ds.get_batch(7)
    if clock.cuda:
        torch.cuda.set_sync_debug_mode('error')
        try: waits = 'none' if ds.get_batch(7) is not None else ''
        except RuntimeError as e: waits = f'yes: {e}'
        finally: torch.cuda.set_sync_debug_mode('default')
        yield 'operations of get_batch for which the host waits', waits, 'none'
        n = max(sizes)
        for kind,of in dict(floats=ds, bytes=default_dataset(source, device=device, normalize=False)).items():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            batch = of.get_batch(n)
            peak = torch.cuda.max_memory_allocated() - before
            size = batch.numel()*batch.element_size()
            del batch
            yield f'peak memory, including the output ÷ output, get_batch({n:,}), {kind}', f'{peak/size:.3g}', 'at most 1.25'
    runs = [training(ds, ds.batches(bs=64, prefetch=2), 40) for _ in range(5)]
    yield row('fraction of training time spent waiting for batches(bs=64, prefetch=2)', [wait/total for total,wait in runs], 'under 0.02')


def measure(source, device='cuda', sizes=(128, 1024, 4096)):
    "All rows: name, result, goal"
    clock = Clock(device)
    yield from agreement_rows(source, device)
    yield from speed_rows(source, device, clock, sizes)
    yield from other_rows(source, device, clock, sizes)
    yield from truth_rows(source, device, clock)
