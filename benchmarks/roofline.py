"""Upper limits for the speed of the CUDA kernels, from their machine code and what a batch makes them do: no device is needed

`python -m benchmarks.roofline` compiles the kernels for the H100 and the H200, counts their instructions, and prints a table. A kernel cannot take less time than
its instructions need if every scheduler starts one in every cycle, nor less than its bytes need at the speed of a copy.
"""
import multiprocessing, os, re, subprocess, tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from fastcore.script import call_parse

# From the data sheets (SXM): 132 multiprocessors with 4 schedulers, each of which starts one instruction for 32 threads per cycle, at 1.98 GHz
INSTRUCTIONS = 132*4*1.98e9
# Bytes per second, read and written: a copy reaches nine tenths of the memory's speed
COPY = dict(H100=.9*3.35e12, H200=.9*4.8e12)
TILE = 8,32


def blocks(kernel, pointers, constants):
    "Number of instructions in each basic block of a compiled kernel"
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    names = kernel.arg_names
    kinds = {**pointers, **{k: 'constexpr' for k in constants}}
    source = ASTSource(fn=kernel, signature={k: kinds.get(k, 'i32') for k in names}, constexprs={(names.index(k),): v for k,v in constants.items()},
                       attrs={(names.index(k),): [['tt.divisibility', 16]] for k in (*pointers,'H','W')})
    binary = triton.compile(source, target=GPUTarget('cuda', 90, 32), options=dict(num_warps=1, num_stages=1, enable_fp_fusion=True)).asm['cubin']
    with tempfile.NamedTemporaryFile(suffix='.cubin') as f:
        f.write(binary)
        f.flush()
        code = subprocess.run([Path(triton.__file__).parent/'backends/nvidia/bin/nvdisasm', '-c', f.name], capture_output=True, text=True, check=True).stdout
    found = [0]
    for line in code.splitlines():
        instruction = re.match(r'\s*/\*[0-9a-f]{4,}\*/\s+(@\S+\s+)?([A-Z0-9_]+)', line)
        if line.startswith('.L_x'): found.append(0)
        elif instruction:
            found[-1] += instruction[2]!='NOP'
            if instruction[2]=='BRA': found.append(0)
    return found


def near(images, index, matrix, gain, size, composite):
    "Tiles that each digit of each frame can reach, `(B,T,K)`; the kernel that prepares digits runs in Triton's interpreter"
    from torch_moving_mnist.engine.cuda import prepare
    box = prepare(images, index, matrix, gain, size, composite, False)[1]
    first,last = box[...,[0,2]],box[...,[1,3]]
    tile = box.new_tensor(TILE[::-1])
    tiles = last//tile - first//tile + 1
    return ((last>=first).all(-1)*tiles.prod(-1)).double()


def limits(name, ds, floats, sequences, pool):
    "A row for each card: instructions per pixel, time that they and the bytes need ÷ time of a copy"
    from torch_moving_mnist.engine import cuda
    from torch_moving_mnist.engine.reference import expand_gain
    from torch_moving_mnist.truth import engine_args
    scene = ds.draw(indices=range(sequences))
    args = engine_args(scene, ds.digits)
    gain = expand_gain(args['gain'], args['images'])
    reached = pool.submit(near, args['images'], args['index'], args['matrix'], gain, args['size'], ds.composite).result()
    (H,W),K,(h,w) = args['size'],reached.shape[-1],args['images'].shape[-2:]
    constants = dict(CHANNELS=1, COLOURS=1, LAYERS=1, ALL=False, PICTURED=0, h=h, w=w, COMPOSITE=ds.composite, NEAREST=False, FLOATS=floats, ROWS=TILE[0], COLS=TILE[1], TILES=4)
    pointers = dict(quads='*i32', index='*i64', box='*i32', pose='*fp64', pictures='*u8', which='*i64', offset='*fp64', levels='*fp32', out='*fp32' if floats else '*u8')
    start,*rest = blocks(cuda._paint, pointers, constants)
    visit = max(rest)
    tiles = -(-H//TILE[0])*-(-W//TILE[1])
    # The longest block samples a digit; the blocks after the first and before or after it run once for each tile
    instructions = start*tiles/4 + (sum(rest) - visit)*tiles + visit*reached.sum(-1).mean().item()
    each = instructions/(H*W)
    written = 4 if floats else 1
    packed = 4*(h+3)*(w+3)*K/(reached.shape[1]*H*W) # Bytes of quads per pixel, written and read once
    for card,copy in COPY.items():
        clone = 2*written/copy
        yield f'| {name} | {card} | {32*each:.0f} | {each/INSTRUCTIONS/clone:.2f} | {(written + 2*packed)/copy/clone:.2f} | {min(1/max(each/INSTRUCTIONS/clone, (written + 2*packed)/copy/clone), 9):.2f} |'


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
        print('| batch | card | instructions per pixel | their time ÷ copy | bytes\' time ÷ copy | output ÷ copy, at most |\n|---|---|---|---|---|---|')
        canonical = MovingMNIST.preset('canonical', **source, seed=0)
        for name,ds,floats in (('affine, float32', default_dataset(source), True), ('affine, uint8', default_dataset(source), False), ('canonical, uint8', canonical, False)):
            for line in limits(name, ds, floats, sequences, pool): print(line)
