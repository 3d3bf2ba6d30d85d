"""Brightness and frame-difference energy of every preset, over several thousand sequences each

`python -m benchmarks.presets` prints a page and writes it to `benchmarks/PRESETS.md`.
Digits come from MNIST if `--path` (or `MNIST_ROOT`) contains it, and from fonts otherwise.
"""
import os
from pathlib import Path

import torch
from fastcore.script import call_parse

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.presets import PRESETS
from torch_moving_mnist.utils import atomic_path

from .__main__ import find_digits

HERE = Path(__file__).parent
BANDS = 8


def sequence_statistics(
    frames, # `(B,T,C,H,W)` uint8
):          # `{name: (B,n)}`, in units of white
    "Statistics of each sequence"
    x = frames.double().mean(2)/255
    B,T,H,W = x.shape
    bright = x.mean((2,3))
    return dict(
        brightness=bright.mean(1, keepdim=True),
        frames=bright[:,[0,T//4,T//2,T*3//4,T-1]],
        energy=x.diff(dim=1).square().mean((1,2,3))[:,None],
        rows=x.mean((1,3)).view(B, BANDS, H//BANDS).mean(2),
        columns=x.mean((1,2)).view(B, BANDS, W//BANDS).mean(2))


def measure(
    ds,
    sequences, # How many, a multiple of `bs`
    bs=100,    # Sequences per batch
):             # `{name: (mean, error)}`, in percent of white
    "Means over sequences, and their standard errors"
    parts = [sequence_statistics(ds[i:i+bs]) for i in range(0, sequences, bs)]
    every = {k: torch.cat([o[k] for o in parts])*100 for k in parts[0]}
    return {k: (v.mean(0), v.std(0)/len(v)**.5) for k,v in every.items()}


def cells(mean, error):
    "Format means and errors as cells of a table"
    return ' | '.join(f'{m:.2f} ± {e:.2f}' for m,e in zip(mean.tolist(), error.tolist()))


def page(source, sequences):
    "Yield the lines of the page"
    def make(name): return MovingMNIST.preset(name, **source, seed=0, **({'normalize': False} if name=='affine' else {}))
    other = [k for k,o in PRESETS.items() if 'digits' in o.settings] # They need other images
    found = {name: measure(make(name), sequences) for name in MovingMNIST.presets() if name not in other}
    yield from ['# Preset statistics', '',
                f'Written by `python -m benchmarks.presets`: {sequences:,} sequences of each preset, seed 0, digits: {source["digits"]}. '
                'Values are means over sequences ± standard errors, in percent of white.', '',
                f"Not measured, because they need other images: {', '.join(other)}.", '']
    yield from ['Brightness of all frames, frame-difference energy (mean square of the change from one frame to the next, '
                'in percent of white²), and brightness of five of the frames:', '',
                '| preset | brightness | energy | first frame | frame at 1/4 | frame at 1/2 | frame at 3/4 | last frame |',
                '|---|---|---|---|---|---|---|---|']
    for name,o in found.items(): yield f"| {name} | {cells(*o['brightness'])} | {cells(*o['energy'])} | {cells(*o['frames'])} |"
    titles = dict(
        rows='Brightness of bands of eight rows, from top to bottom',
        columns='Brightness of bands of eight columns, from left to right',
    )
    for key,title in titles.items():
        yield from ['', f'{title}:', '', '| preset | ' + ' | '.join(f'{8*i}–{8*i+7}' for i in range(BANDS)) + ' |', '|---'*(BANDS+1) + '|']
        for name,o in found.items(): yield f'| {name} | {cells(*o[key])} |'


@call_parse
def main(
    path:str=os.environ.get('MNIST_ROOT', '.'), # Folder that contains MNIST (torchvision's root)
    sequences:int=4000,                         # Sequences of each preset, a multiple of 100
):
    "Measure every preset, print the page and write it"
    text = '\n'.join(page(find_digits(path), sequences)) + '\n'
    print(text)
    with atomic_path(HERE/'PRESETS.md') as tmp: Path(tmp).write_text(text, encoding='utf-8')
