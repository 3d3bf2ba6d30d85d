"""Upper limits for the speed of the CUDA kernels, from their machine code and what a batch makes them do: no device is needed

`python -m benchmarks.roofline` compiles the kernels for the H100 and the H200, counts the instructions that a batch needs, and prints a table. A kernel cannot
take less time than its instructions need if every scheduler starts one in every cycle, nor less than its output needs at the speed of a copy: quads can stay in
the cache of a device.
"""
import math, multiprocessing, os, re, subprocess, tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from fastcore.script import call_parse

# From the data sheets (SXM): 132 multiprocessors with 4 schedulers, each of which starts one instruction for 32 threads per cycle, at 1.98 GHz
INSTRUCTIONS = 132*4*1.98e9
# Bytes per second, read and written: a copy reaches nine tenths of the memory's speed
COPY = dict(H100=.9*3.35e12, H200=.9*4.8e12)
TILE = dict(ROWS=8, COLS=32)


def blocks(kernel, pointers, constants):
    "Basic blocks of a compiled kernel: their instructions, and the blocks that may follow them"
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    names = kernel.arg_names
    kinds = {**pointers, **{k: 'constexpr' for k in constants}}
    source = ASTSource(fn=kernel, signature={k: kinds.get(k, 'i32') for k in names}, constexprs={(names.index(k),): v for k,v in constants.items()},
                       attrs={(names.index(k),): [['tt.divisibility', 16]] for k in (*pointers,'H','W') if k in names})
    binary = triton.compile(source, target=GPUTarget('cuda', 90, 32), options=dict(num_warps=1, num_stages=1, enable_fp_fusion=True)).asm['cubin']
    with tempfile.NamedTemporaryFile(suffix='.cubin') as f:
        f.write(binary)
        f.flush()
        code = subprocess.run([Path(triton.__file__).parent/'backends/nvidia/bin/nvdisasm', '-c', f.name], capture_output=True, text=True, check=True).stdout
    found,labels,branches = [[]],{},{}
    for line in code.splitlines():
        label = re.match(r'(\.L_x_\d+):', line)
        instruction = re.match(r'\s*/\*[0-9a-f]{4,}\*/\s+(@\S+\s+)?([A-Z0-9_.]+)', line)
        if label:
            found.append([])
            labels[label[1]] = len(found) - 1
        elif instruction and instruction[2]!='NOP':
            found[-1].append(instruction[2])
            if instruction[2] in ('BRA','EXIT'):
                target = re.search(r'\.L_x_\d+', line)
                branches[len(found)-1] = target and target[0],bool(instruction[1]) or ' P' in line or 'UP' in line
                found.append([])
    after = [[i+1] if i+1<len(found) else [] for i in range(len(found))]
    for i,(target,conditional) in branches.items(): after[i] = ([labels[target]] if target else []) + after[i]*conditional
    return [SimpleNamespace(instructions=o, size=len(o), after=n) for o,n in zip(found, after)]


def cheapest(code, start, stop):
    "Fewest instructions on a way from the end of block `start` to the end of block `stop`"
    costs,reached = {start: 0},{}
    while costs:
        block = min(costs, key=costs.get)
        cost = costs.pop(block)
        for o in code[block].after:
            if cost + code[o].size<reached.get(o, math.inf): reached[o] = costs[o] = cost + code[o].size
    return reached[stop]


def paint_cost(code):
    "Fewest instructions for a program, a tile, the first digit in a tile, and a digit in a tile that is copied and one that is sampled"
    sample = max(range(len(code)), key=lambda i: code[i].size)
    loops = sorted(((first,last) for last,o in enumerate(code) for first in o.after if first<=sample<=last), key=lambda o: o[1]-o[0])
    (_,digit),(_,tile) = loops[0],next(o for o in loops if o[1]!=loops[0][1])
    copy = max((i for i in range(len(code)) if i!=sample), key=lambda i: sum(o.startswith('LDG.E.U8') for o in code[i].instructions))
    stores = [i for i,o in enumerate(code) if any(name.startswith('STG') for name in o.instructions)]
    def way(*stops): return sum(cheapest(code, *o) for o in zip(stops, stops[1:]))
    each,copied,sampled = min(way(tile, o, tile) for o in stores),way(digit, copy, digit),way(digit, sample, digit)
    first = min(way(tile, digit, o, tile) for o in stores) - min(copied, sampled) - each
    return code[0].size + way(0, tile) - each,each,first,copied,sampled


def visits(images, index, matrix, gain, size, composite):
    "Tiles with digits, copies and samples of digits in tiles, and digits with samples of a batch; the kernels run in Triton's interpreter"
    import torch
    from torch_moving_mnist.engine.cuda import prepare
    _,box,pose = prepare(images, index, matrix, gain, size, composite, True) # 'nearest' packs nothing, and the boxes are the same
    (H,W),copied = size,pose[...,6]==1
    x,y = torch.arange(0, W, TILE['COLS']),torch.arange(0, H, TILE['ROWS'])
    near = ((box[...,0,None]<x+TILE['COLS']) & (box[...,1,None]>=x))[...,None,:] & ((box[...,2,None]<y+TILE['ROWS']) & (box[...,3,None]>=y))[...,None]
    tiles = near.sum((-1,-2))
    return near.any(2).sum().item(),tiles[copied].sum().item(),tiles[~copied].sum().item(),(~copied).any(1).sum().item()


def limits(name, ds, floats, sequences, pool):
    "A row for each card: instructions per pixel, time that they and the bytes need ÷ time of a copy"
    from torch_moving_mnist.engine import cuda
    from torch_moving_mnist.engine.reference import expand_gain
    from torch_moving_mnist.truth import engine_args
    args = engine_args(ds.draw(indices=range(sequences)), ds.digits)
    gain = expand_gain(args['gain'], args['images'])
    touched,copied,sampled,packed = pool.submit(visits, args['images'], args['index'], args['matrix'], gain, args['size'], ds.composite).result()
    (H,W),(B,K,T),(h,w) = args['size'],args['matrix'].shape[:3],args['images'].shape[-2:]
    pixels,tiles = B*T*H*W,B*T*-(-H//TILE['ROWS'])*-(-W//TILE['COLS'])
    common = dict(images='*u8', index='*i64', pose='*fp64', quads='*i64', box='*i32')
    shape = dict(C=1, h=h, w=w, CHANNELS=1, **TILE)
    def compiled(kernel, constants, **pointers):
        pointers,constants = {**common, **pointers},{**shape, **constants}
        return blocks(kernel, {k: v for k,v in pointers.items() if k in kernel.arg_names}, {k: v for k,v in constants.items() if k in kernel.arg_names})
    paint = compiled(cuda._paint, dict(LAYERS=1, ALL=False, MANY=False, PICTURED=0, COMPOSITE=ds.composite, NEAREST=False, FLOATS=floats),
                     pictures='*u8', which='*i64', offset='*fp64', levels='*fp32', out='*fp32' if floats else '*u8')
    program,tile,first,copy,sample = paint_cost(paint)
    # Both kernels that prepare digits have one long block for the pixels; prepare's handles all of MNIST's, pack's one tile
    prepare = compiled(cuda._prepare, dict(NEAREST=False, COMPLETE=True, FRAMES=32), matrix='*fp64', gain='*fp64', present='*u8')
    pack = compiled(cuda._pack, dict(LAYERS=1, COMPOSITE=ds.composite, ALL=False))
    pack = max(o.size for o in pack)*-(-(h+3)//TILE['ROWS'])*-(-(w+3)//TILE['COLS'])
    painting = B*T*program + tiles*tile + touched*first + copied*copy + sampled*sample
    preparing = B*K*-(-T//32)*max(o.size for o in prepare) + packed*pack
    each = (painting + preparing)/pixels
    written = 4 if floats else 1
    # Output, quads, boxes and poses as `prepare` makes them, matrices
    memory = pixels*written + B*K*(8*(h+3)*(w+3) + T*(4*4 + 8*8 + args['matrix'].element_size()*9))
    for card,speed in COPY.items():
        clone = 2*written/speed
        time = each/INSTRUCTIONS/clone
        yield f'| {name} | {card} | {32*each:.0f} | {time:.2f} | {1/max(time, .5):.2f} | {memory/(pixels*written):.2f} |' # Writing takes half the time of a copy


@call_parse
def main(
    path:str=os.environ.get('MNIST_ROOT', '.'), # Folder of MNIST
    sequences:int=64                            # How many to count
):
    "Print upper limits for the speed of the CUDA kernels"
    from torch_moving_mnist.data import MovingMNIST
    from .__main__ import default_dataset, find_digits
    source = find_digits(path)
    os.environ['TRITON_INTERPRET'] = '1'
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        pool.submit(int).result()
        del os.environ['TRITON_INTERPRET']
        print('| batch | card | instructions per pixel | their time ÷ copy | output ÷ copy, at most | memory ÷ output |\n|---|---|---|---|---|---|')
        canonical = MovingMNIST.preset('canonical', **source, seed=0)
        for name,ds,floats in (('affine, float32', default_dataset(source), True), ('affine, uint8', default_dataset(source), False),
                               ('canonical, float32', canonical, True), ('canonical, uint8', canonical, False)):
            for line in limits(name, ds, floats, sequences, pool): print(line)
