"""What the presets look like in numbers, over several thousand sequences each

`python -m benchmarks.presets` prints a page and writes it to `benchmarks/PRESETS.md`. Digits are MNIST's where `--path` (or `MNIST_ROOT`) has them, and font digits otherwise.
"""
import os
from pathlib import Path

import torch
from fastcore.script import call_parse

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.utils import replacing

HERE = Path(__file__).parent
BANDS = 8


def of_sequences(frames):
    "Statistics of each sequence, in units of white: `{name: (B,n)}`"
    x = frames.double().mean(2)/255
    B,T,H,W = x.shape
    bright = x.mean((2,3))
    return dict(brightness=bright.mean(1, keepdim=True), frames=bright[:,[0,T//4,T//2,T*3//4,T-1]], energy=x.diff(dim=1).square().mean((1,2,3))[:,None],
                rows=x.mean((1,3)).view(B, BANDS, H//BANDS).mean(2), columns=x.mean((1,2)).view(B, BANDS, W//BANDS).mean(2))


def measure(ds, sequences, bs=100):
    "Means over sequences and their standard errors: `{name: (mean, error)}`, in percent of white"
    parts = [of_sequences(ds.render(ds.draw(bs))) for _ in range(sequences//bs)]
    every = {k: torch.cat([o[k] for o in parts])*100 for k in parts[0]}
    return {k: (v.mean(0), v.std(0)/len(v)**.5) for k,v in every.items()}


def cells(mean, error): return ' | '.join(f'{m:.2f} ± {e:.2f}' for m,e in zip(mean.tolist(), error.tolist()))


def page(source, sequences):
    "Lines of the page"
    found = {name: measure(MovingMNIST.preset(name, **source, seed=0, **({'normalize': False} if name=='affine' else {})), sequences) for name in MovingMNIST.presets()}
    yield from ['# The presets in numbers', '', f'Written by `python -m benchmarks.presets`: {sequences:,} sequences of each, seed 0, digits of {source["digits"]}. Mean over sequences ± its standard error, in percent of white.', '']
    yield from ['Brightness, and frame-difference energy (mean square of the change from one frame to the next, in percent of white²):', '',
                '| preset | brightness | energy | first frame | at a quarter | in the middle | at three quarters | last frame |', '|---|---|---|---|---|---|---|---|']
    for name,o in found.items(): yield f"| {name} | {cells(*o['brightness'])} | {cells(*o['energy'])} | {cells(*o['frames'])} |"
    for key,title in dict(rows='Brightness of bands of eight rows, from top to bottom', columns='Brightness of bands of eight columns, from left to right').items():
        yield from ['', f'{title}:', '', '| preset | ' + ' | '.join(f'{8*i}–{8*i+7}' for i in range(BANDS)) + ' |', '|---'*(BANDS+1) + '|']
        for name,o in found.items(): yield f'| {name} | {cells(*o[key])} |'


@call_parse
def main(
    path:str=os.environ.get('MNIST_ROOT', '.'), # Folder where torchvision finds MNIST
    sequences:int=4000,                         # Of each preset, a multiple of 100
):
    "Describe every preset"
    try: MovingMNIST(path, normalize=False, download=False)
    except RuntimeError: source = dict(digits='fonts')
    else: source = dict(digits='mnist', path=path, download=False)
    text = '\n'.join(page(source, sequences)) + '\n'
    print(text)
    with replacing(HERE/'PRESETS.md') as tmp: Path(tmp).write_text(text, encoding='utf-8')
