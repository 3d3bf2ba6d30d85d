"""The Triton kernels against the reference: in Triton's interpreter on every machine, and on the GPU if there is one"""
import dataclasses, multiprocessing, os, subprocess, sys, textwrap
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import pytest
import torch
import torchvision.transforms as T
from test_colour import case as coloured_case
from test_paint import random_case
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import torch_moving_mnist.affine, torch_moving_mnist.draw, torch_moving_mnist.engine, torch_moving_mnist.motion, torch_moving_mnist.rng
from torch_moving_mnist import loops
from torch_moving_mnist.affine import affine_matrix
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.engine import COMPOSITES, INTERPOLATIONS
from torch_moving_mnist.engine.reference import expand_gain, render_reference
from torch_moving_mnist.rng import cached_tensor, philox
from torch_moving_mnist.truth import available_targets
from torch_moving_mnist.utils import to_device

cuda = pytest.importorskip('torch_moving_mnist.engine.cuda', reason='Triton comes with torch on Linux only', exc_type=ImportError)
loops_cuda = pytest.importorskip('torch_moving_mnist.loops_cuda', reason='Triton comes with torch on Linux only', exc_type=ImportError)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')


@pytest.fixture(scope='module', params=['cpu', pytest.param('cuda', marks=needs_cuda)])
def run(request):
    "`run(f, *args)` calls `f` on the GPU, or in a process where Triton interprets kernels on CPU tensors"
    if request.param=='cuda':
        yield lambda f, *args: to_device(f(*to_device(args, 'cuda')))
        return
    before = os.environ.get('TRITON_INTERPRET')
    os.environ['TRITON_INTERPRET'] = '1'
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        pool.submit(int).result()
        if before is None: del os.environ['TRITON_INTERPRET']
        else: os.environ['TRITON_INTERPRET'] = before
        yield lambda f, *args: pool.submit(f, *args).result()


def case(seed, B, K, T, C, digit, canvas, scale=1., spread=.6, whole=False):
    "The result of `random_case`, in the order of `paint`'s arguments"
    digits,index,matrix,size,gain = random_case(seed, B, K, T, C, digit, canvas, scale, spread, whole)
    return digits, index, matrix, expand_gain(gain, digits), size


def agree(ours, args, composite='max', interpolation='bilinear', whole=False):
    digits,index,matrix,gain,size = args
    theirs = render_reference(digits, index, matrix, size, gain, composite, interpolation)
    assert ours.shape==theirs.shape and ours.dtype==torch.uint8
    difference = (ours.int() - theirs.int()).abs()
    if interpolation=='bilinear' or whole: assert difference.max()<=1
    # Samples almost halfway between two pixels may round differently
    else: assert (difference>1).sum()<=digits.shape[1] + .001*difference.numel()
    return theirs


CASES = dict(usual=(1, 1, 3, 1, (28,28), (40,44)), odd=(1, 1, 2, 2, (9,14), (41,35)), single=(2, 1, 1, 1, (28,28), (28,28)), crowd=(4, 1, 5, 2, (12,9), (23,30)),
             tiny=(4, 1, 3, 2, (20,20), (30,32), .05), huge=(8, 1, 2, 1, (7,7), (20,33), 30., .8), outside=(13, 1, 3, 3, (16,16), (17,30), 1., 1.3),
             large=(1, 1, 2, 1, (39,70), (20,30), .5), many=(2, 1, 35, 1, (9,8), (12,30), .8, .9), whole=(8, 1, 3, 2, (10,11), (23,30), 1., .6, True))


def each_with_each(cases):
    "Every composite with every case; channels and interpolations take turns, and all four pairs come with every composite"
    kinds = [(C,o) for C in (1,3) for o in INTERPOLATIONS]
    return [(composite, *kinds[(i+j) % 4][::-1], name) for i,composite in enumerate(COMPOSITES) for j,name in enumerate(cases)]


@pytest.mark.parametrize('composite,interpolation,C,name', each_with_each(CASES))
def test_agrees_with_the_reference(run, composite, interpolation, C, name):
    seed,B,K,T,*rest = CASES[name]
    args = case(seed, B, K, T, C, *rest)
    agree(run(cuda.paint, *args, composite, interpolation), args, composite, interpolation, name=='whole')


COLOURS = [(True, None), (False, (2,1,40,50)), (False, (1,3,7,5)), (True, (3,3,33,33)), (True, (2,1,1,1))]


@pytest.mark.parametrize('composite,interpolation,C,kind', each_with_each(COLOURS), ids=str)
def test_colours_and_backdrops_agree_with_the_reference(run, composite, interpolation, C, kind):
    digits,index,matrix,size,gain,backdrop = coloured_case(5, 2, 2, 1, C, (12,9), (17,35), *kind)
    ours = run(cuda.paint, digits, index, matrix, expand_gain(gain, digits, backdrop), size, composite, interpolation, None, backdrop)
    theirs = render_reference(digits, index, matrix, size, gain, composite, interpolation, backdrop)
    difference = (ours.int() - theirs.int()).abs()
    assert ours.shape==theirs.shape and (difference.max()<=1 if interpolation=='bilinear' else (difference>1).sum()<=3 + .002*difference.numel())


@pytest.mark.parametrize('composite,interpolation', [(o, INTERPOLATIONS[i % 2]) for i,o in enumerate(COMPOSITES)])
def test_alpha_and_absent_digits_agree_with_the_reference(run, composite, interpolation):
    digits,index,matrix,size,gain = random_case(6, 1, 3, 2, 3, (9,7), (14,17), 1., .6, False)
    g = torch.Generator().manual_seed(0)
    alpha = torch.randint(256, (len(digits),1,9,7), dtype=torch.uint8, generator=g)
    digits = torch.cat([digits.minimum(alpha), alpha], 1) # Premultiplied
    present = torch.rand(matrix.shape[:3], generator=g)<.6
    ours = run(cuda.paint, digits, index, matrix, expand_gain(gain, digits), size, composite, interpolation, None, None, present)
    theirs = render_reference(digits, index, matrix, size, gain, composite, interpolation, None, present)
    difference = (ours.int() - theirs.int()).abs()
    assert difference.max()<=1 if interpolation=='bilinear' else (difference>1).sum()<=3 + .002*difference.numel()
    assert (theirs!=render_reference(digits, index, matrix, size, gain, composite, interpolation)).any() # Somebody is missing


@pytest.mark.parametrize('C', [1,3])
def test_the_cases_match_their_names(C):
    scenes = {name: case(seed, B, K, T, C, *rest) for name,(seed,B,K,T,*rest) in CASES.items()}
    frames = {name: render_reference(d, i, m, s, g) for name,(d,i,m,g,s) in scenes.items()}
    assert frames['tiny'].max()>0 and all(f.max()>100 for name,f in frames.items() if name!='tiny')
    assert (scenes['crowd'][1]<0).any() and any((g>1).any() for *_,g,_ in scenes.values())
    assert (frames['outside'].flatten(2).amax(2)==0).any()


@pytest.mark.parametrize('C', [1,3])
def test_floats_equal_normalised_bytes(run, C):
    args = case(0, 1, 2, 1, C, (28,28), (30,33))
    frames = run(cuda.paint, *args)
    for mean,std in (([.07522265625],[.17685937499999999]), ([.1,.2,.3][:C],[.5,.01,3.][:C])):
        expected = run(T.Compose([T.ConvertImageDtype(torch.float32), T.Normalize(mean, std)]), frames)
        assert torch.equal(run(cuda.paint, *args, 'max', 'bilinear', (mean,std)), expected)


@pytest.mark.parametrize('entry', [float('nan'), float('inf'), 0., 1e-300, 1e300, 1e9, -1e12])
@pytest.mark.parametrize('where', [(0,0), (0,1), (0,2), (1,1), (1,2)])
def test_degenerate_matrices_are_safe(run, entry, where):
    digits,index,matrix,gain,size = case(1, 1, 2, 2, 1, (9,9), (20,30), 1., .2)
    matrix[...,where[0],where[1]] = entry
    frames = run(cuda.paint, digits, index, matrix, gain, size)
    assert frames.shape==(1,2,1,20,30)
    if not matrix[...,:2,:].isfinite().all(): assert frames.max()==0


def test_a_singular_matrix_does_not_affect_other_digits(run):
    digits,index,matrix,gain,size = case(1, 2, 3, 2, 1, (9,9), (20,30), 1., .2)
    index = index.clamp(min=0)
    matrix[:,1,:,:2,:2] = torch.tensor([[1.,2],[2,4]], dtype=torch.float64)
    ours = run(cuda.paint, digits, index, matrix, gain, size)
    agree(ours, (digits,index,matrix,gain,size))
    assert torch.equal(ours, run(cuda.paint, digits, index[:,::2], matrix[:,::2], gain[:,::2], size)) and ours.max()>0


def paint_between_guards(args):
    "Call `paint` with guard memory around its result: the result, and whether the guards are unchanged"
    blocks,plain = [],torch.Tensor.new_empty
    def new_empty(self, *shape, dtype=None, **other):
        if other: return plain(self, *shape, dtype=dtype, **other) # A call of the interpreter itself
        n,dtype = torch.Size(shape).numel(),dtype or self.dtype
        raw = torch.full((n + 8192,), 77, dtype=dtype, device=self.device)
        blocks.append((raw, n))
        return raw[4096:4096+n].view(shape)
    torch.Tensor.new_empty = new_empty
    try: out = cuda.paint(*args)
    finally: torch.Tensor.new_empty = plain
    return out, len(blocks), all(bool((raw[:4096]==77).all() and (raw[4096+n:]==77).all()) for raw,n in blocks)


@pytest.mark.parametrize('stats', [None, ([.1],[.3])], ids=['bytes','floats'])
@pytest.mark.parametrize('canvas', [(9,9), (33,65), (32,32)], ids=str)
def test_nothing_is_written_outside_the_result(run, canvas, stats):
    args = *case(2, 1, 2, 1, 3, (9,7), canvas),'over','bilinear',stats
    out,blocks,untouched = run(paint_between_guards, args)
    assert blocks==4 and untouched
    assert torch.equal(out, run(cuda.paint, *args))


@pytest.mark.parametrize('composite,C', [('max',3), ('sum',1), ('over',1), ('opaque',1)])
def test_copied_and_sampled_digits(run, composite, C):
    "Digits shifted by whole pixels are copied: always, in all frames but one, or never; and digits that lie between the canvas's pixels"
    digits,index,matrix,gain,size = case(5, 1, 4, 34, C, (9,8), (12,33), 1., .9, True)
    matrix[:,:,:,:2,:2] = torch.eye(2)
    index = index.clamp(min=0)
    matrix[:,0,:,:2,2] += .3
    matrix[:,1,33,0,2] += .25
    matrix[:,2,:,:2,2] = torch.tensor([10,2])
    for t,(row,column),entry in ((5,(0,0),.5), (6,(0,1),1.), (7,(1,0),1.), (8,(1,1),.5), (9,(1,2),.5)): matrix[:,2,t,row,column] = entry
    matrix[:,3,::2,:2] = matrix[:,3,::2,:2]*.02 + torch.tensor([0,0,.3])
    assert len(digits)>=index.numel()
    out,_,untouched = run(paint_between_guards, (digits,index,matrix,gain,size,composite))
    assert untouched
    agree(out, (digits,index,matrix,gain,size), composite)


def paint_with(programs, *args):
    with mock.patch.object(cuda, 'PROGRAMS', programs): return cuda.paint(*args)


@pytest.mark.parametrize('stats', [None, ([.1], [.3])], ids=['bytes','floats'])
def test_a_program_paints_several_rows_of_tiles(run, stats):
    args = case(3, 2, 2, 1, 1, (12,9), (43,20))
    one_row = run(cuda.paint, *args, 'max', 'bilinear', stats)
    for programs in (1, 2*2, 3*2): # For two planes: all six rows of tiles, three of them, two
        assert torch.equal(run(paint_with, programs, *args, 'max', 'bilinear', stats), one_row)
    if stats is None: agree(one_row, args)


def packed(*args):
    "Which slots `prepare` packs, and which digits it marks as copied or not shown"
    plain = torch.Tensor.new_empty
    def marked(self, *shape, **other): return plain(self, *shape, **other).fill_(-1) # As float16, four times NaN
    with mock.patch.object(torch.Tensor, 'new_empty', marked): quads,_,pose = cuda.prepare(*args)
    return (quads!=-1).flatten(1).any(1),pose[...,6]


def test_only_sampled_digits_are_packed(run):
    digits,index,matrix,gain,size = case(1, 2, 3, 2, 1, (9,8), (20,30), 1., .3, True)
    index = torch.tensor([[0,1,2],[3,4,-1]])
    digits = digits[:1].repeat(6, 1, 1, 1)
    matrix[:] = torch.eye(3)
    matrix[...,:2,2] = torch.tensor([6,5])
    matrix[1,1,1,:2,2] += .3 # Sampled in one frame
    matrix[0,1,:,:2,2] += .3 # Absent
    matrix[0,2,:,:2] = 0     # Singular
    matrix[1,2,:,:2,2] += .3 # Empty
    present = torch.ones(2, 3, 2, dtype=torch.uint8)
    present[0,1] = 0
    slots,copied = run(packed, digits, index, matrix, gain, size, 'max', False, present)
    assert slots.tolist()==[False]*4 + [True, False]
    assert copied.transpose(1, 2).flatten(0, 1).tolist()==[[1,1]]*4 + [[1,0]] + [[1,1]]
    frames = run(cuda.paint, digits, index, matrix, gain, size, 'max', 'bilinear', None, None, present.bool())
    difference = frames.int() - render_reference(digits, index, matrix, size, gain, present=present.bool()).int()
    assert difference.abs().max()<=1


def test_indices_of_32_bits(run):
    digits,index,*rest = case(3, 1, 2, 1, 1, (12,9), (20,30))
    assert torch.equal(run(cuda.paint, digits, index.int(), *rest), run(cuda.paint, digits, index, *rest))


def test_unusual_input_layouts(run):
    args = digits,index,matrix,gain,size = case(3, 2, 3, 2, 1, (12,9), (30,40))
    expected = run(cuda.paint, *args)
    views = [digits.transpose(2,3).contiguous().transpose(2,3), index.T.contiguous().T, matrix.transpose(0,1).contiguous().transpose(0,1), gain.transpose(1,2).contiguous().transpose(1,2)]
    assert torch.equal(run(cuda.paint, *views, size), expected)
    assert (run(cuda.paint, digits, index, matrix.float(), gain.float(), size).int() - expected.int()).abs().max()<=1
    assert run(cuda.paint, digits, index[:0], matrix[:0], gain[:0], size).shape==(0,2,1,30,40)


KNOWN = [('00000000 00000000 00000000 00000000', '00000000 00000000', '6627e8d5 e169c58d bc57ac4c 9b00dbd8'),
         ('ffffffff ffffffff ffffffff ffffffff', 'ffffffff ffffffff', '408f276d 41c83b0e a20bc7c6 6d5451fd'),
         ('243f6a88 85a308d3 13198a2e 03707344', 'a4093822 299f31d0', 'd16cfe09 94fdcceb 5001e420 24126ea1')]


@pytest.mark.parametrize('counter,key,expected', KNOWN)
def test_published_words(run, counter, key, expected):
    (first,stream,low,high),key,expected = ([int(o, 16) for o in s.split()] for s in (counter, key, expected))
    assert run(loops_cuda.philox_words, tuple(key), torch.tensor([stream]), first, torch.tensor([low + (high << 32) if high<2**31 else low + ((high - 2**32) << 32)]), 4).tolist()==[expected]


@pytest.mark.parametrize('seed', [0, 1, 2**31, 2**32, 2**63, 2**64-1])
@pytest.mark.parametrize('n', [1, 4, 30])
def test_words_equal_those_of_torch(run, seed, n):
    index = torch.tensor([0, 5, 2**31, 2**39 + 1, 2**63-1] + list(range(60)))
    low,high,stream,key = index[:,None] & 0xFFFFFFFF, index[:,None] >> 32, torch.tensor([2**32-1]), (seed & 0xFFFFFFFF, seed >> 32)
    for first in (0, 2**32-8):
        blocks = torch.arange(first, first + -(-n//4))
        expected = torch.stack(torch.broadcast_tensors(*philox((blocks, stream, low, high), key)), -1).flatten(1)[:,:n]
        assert torch.equal(run(loops_cuda.philox_words, key, stream, first, index, n), expected)


@pytest.mark.parametrize('shape', [(), (1,), (0,3), (7,3,41)], ids=str)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_matrices_equal_those_of_the_cpu(run, shape, dtype):
    g = torch.Generator().manual_seed(0)
    angle,translate,scale,shear,stretch = (low + (high-low)*torch.rand((*shape, *rest), generator=g).to(dtype)
                                           for low,high,rest in ((-999,999,()), (-90,90,(2,)), (.1,3,()), (-60,60,(2,)), (.5,2,())))
    expected = affine_matrix(angle.double(), translate.double(), scale.double(), shear.double(), (28,21), (64,71), stretch.double())
    matrix = run(loops_cuda.pose_matrices, angle, translate, scale, shear, stretch, (10.,13.5,35.,31.5))
    assert matrix.dtype==torch.float64 and matrix.shape==(*shape,3,3) and torch.allclose(matrix, expected, rtol=0, atol=1e-10)
    views = [o.mT.contiguous().mT if o.dim()>1 else o for o in (angle, translate, scale, shear, stretch)]
    assert torch.equal(run(loops_cuda.pose_matrices, *views, (10.,13.5,35.,31.5)), matrix)


@pytest.mark.parametrize('B,K,S,T', [(3,2,1,20), (40,3,5,4), (1,1,3,1), (0,2,1,3)])
@pytest.mark.parametrize('free', [(36.,36.), (7.,0.), (-4.,3.)], ids=str)
def test_paths_between_walls_equal_those_of_the_cpu(run, B, K, S, T, free):
    g = torch.Generator().manual_seed(0)
    start,steps,free = torch.rand(B, K, 3, generator=g).double(),torch.rand(B, S, K, 2, generator=g).double()*2 - 1,torch.tensor(free, dtype=torch.float64)
    expected = torch.empty(B, K, T, 2, dtype=torch.float64),torch.empty(B, K, T, dtype=torch.uint8)
    loops.clamped_paths(*(o.numpy() for o in (start, steps, free, *expected)))
    for ours in (run(loops_cuda.clamped_paths, start, steps, free, T), torch_moving_mnist.motion._clamped_paths(start, steps, free, T)):
        assert all(torch.equal(a, b) and a.dtype==b.dtype for a,b in zip(ours, expected, strict=True))
    assert B*T<20 or expected[1].any()


COMPILE = textwrap.dedent('''
    import re
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from torch_moving_mnist import loops_cuda
    from torch_moving_mnist.engine import cuda

    def assembly(kernel, pointers, constants, aligned=()):
        names = kernel.arg_names
        kind = {**pointers, **{k: 'constexpr' for k in constants}}
        source = ASTSource(fn=kernel, signature={k: kind.get(k, 'i32') for k in names}, constexprs={(names.index(k),): v for k,v in constants.items()},
                           attrs={(names.index(k),): [['tt.divisibility', 16]] for k in aligned})
        return triton.compile(source, target=GPUTarget('cuda', 90, 32), options=dict(num_warps=1, num_stages=1, enable_fp_fusion=True)).asm

    prepared = dict(images='*u8', quads='*i64', index='*i64', box='*i32', pose='*fp64')
    for C,layers,composite,every in ((1,1,'max',True), (1,2,'opaque',False), (3,4,'opaque',True), (4,4,'over',False)):
        assembly(cuda._pack, dict(images='*u8', index='*i64', pose='*fp64', quads='*i64'), dict(C=C, h=28, w=21, CHANNELS=3, LAYERS=layers, COMPOSITE=composite, ALL=every, ROWS=8, COLS=32))
    for real,complete,nearest in (('fp32',True,False), ('fp64',False,True)):
        reals = dict(matrix='*'+real, gain='*'+real, pose='*fp64')
        assembly(cuda._prepare, dict(reals, images='*u8', index='*i64', present='*u8', box='*i32'), dict(C=3, h=28, w=28, CHANNELS=3, NEAREST=nearest, COMPLETE=complete, FRAMES=32, ROWS=8, COLS=32))
    assembly(loops_cuda._philox, dict(out='*i64', stream='*i64', low='*i64', high='*i64', seed='u64'), dict(BLOCK=128))
    for real in ('fp32','fp64'):
        pose = {k: '*'+real for k in ('angle','translate','scale','shear','stretch')}
        assembly(loops_cuda._pose_matrices, dict(pose, out='*fp64', u='fp32', v='fp32', x='fp32', y='fp32'), dict(BLOCK=128))
    floats = dict.fromkeys(('start','steps','free','translate'), '*fp64')
    assembly(loops_cuda._clamped_paths, dict(floats, bounces='*u8'), dict(NUMBERS=3, BLOCK=64))
    for composite in ('max', 'sum', 'over', 'opaque'):
        for nearest in (False, True):
            floats,layers,pictured = nearest!=(composite=='max'),dict(over=4, opaque=2).get(composite, 1),nearest or composite=='sum'
            C,channels = (4,3) if composite=='over' else (1,3 if nearest else 1)
            constants = dict(CHANNELS=channels, LAYERS=layers, ALL=nearest, MANY=nearest, PICTURED=min(C, 3)*pictured, C=C, h=28, w=28, COMPOSITE=composite, NEAREST=nearest, FLOATS=floats, ROWS=8, COLS=32)
            asm = assembly(cuda._paint, dict(prepared, pictures='*u8', which='*i64', offset='*fp64', levels='*fp32', out='*fp32' if floats else '*u8'), constants, (*prepared, 'levels', 'out', 'H', 'W'))
            print(floats, set(re.findall(r'st\\.global\\S*', asm['ptx'])), 'convert_layout' in asm['ttgir'])''')


def test_compiles_for_other_gpus():
    "The interpreter accepts code that the compiler rejects. Stores must have the largest width: 16 bytes per thread, or its 8 pixels"
    r = subprocess.run([sys.executable, '-c', COMPILE], capture_output=True, text=True)
    assert not r.returncode, r.stderr
    lines = r.stdout.splitlines()
    assert len(lines)==8 and set(lines)=={"True {'st.global.v4.b32'} False", "False {'st.global.v2.b32'} False"}, r.stdout


class Waits(TorchDispatchMode):
    "Record the operations for which the host would wait for a CUDA device"
    def __init__(self):
        super().__init__()
        self.found = []
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs,name = kwargs or {},func.overloadpacket.__name__
        devices = {o.device.type for o in args if isinstance(o, torch.Tensor)}
        if 'cuda' in devices and name in ('_local_scalar_dense','nonzero','masked_select','equal','_unique2','unique_dim'): self.found.append(name)
        out = func(*args, **kwargs)
        crosses = name in ('_to_copy','copy_') and devices | {out.device.type}>={'cpu','cuda'}
        if crosses and not (kwargs.get('non_blocking') or args[2:]==(True,)): self.found.append(name)
        return out


def forget():
    "Clear the caches, which would otherwise keep fake tensors"
    for cached in (cached_tensor, torch_moving_mnist.draw._frames): cached.cache_clear()


@pytest.fixture
def pretend(monkeypatch):
    "A dataset whose tensors are fake tensors on a CUDA device, and the list of kernel calls"
    calls = []
    def paint(images, index, matrix, gain, size, *how):
        calls.append(('paint', {o.device.type for o in (images, index, matrix, gain)}, tuple(matrix.shape), size, *how))
        return images.new_empty(len(matrix), matrix.shape[2], gain.shape[3], *size, dtype=torch.float32)
    def philox_words(key, stream, first, index, n):
        calls.append(('philox_words', {o.device.type for o in (stream, index)}, key, first, n))
        return index.new_empty(len(index), n)
    monkeypatch.setattr(cuda, 'paint', paint)
    def pose_matrices(angle, translate, scale, shear, stretch, centres):
        calls.append(('pose_matrices', {o.device.type for o in (angle, translate, scale, shear, stretch)}, tuple(angle.shape), centres))
        return angle.new_empty(*angle.shape, 3, 3)
    monkeypatch.setattr(loops_cuda, 'philox_words', philox_words)
    monkeypatch.setattr(loops_cuda, 'pose_matrices', pose_matrices)
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda self: self) # A fake tensor has no memory to pin
    ds = MovingMNIST(digits='fonts', num_digits=[1,3], num_frames=4, seed=7, normalize=(.1,.3), composite='over', interpolation='nearest')
    with FakeTensorMode(allow_non_fake_inputs=True):
        vars(ds).update(device=torch.device('cuda'), digits=dataclasses.replace(ds.digits, images=torch.empty(ds.digits.images.shape, dtype=torch.uint8, device='cuda')))
        forget()
        yield ds, calls
    forget()


def test_cuda_uses_the_kernels(pretend):
    ds,calls = pretend
    batch = ds.get_batch(8)
    assert (batch.device.type, batch.shape)==('cuda', (8,4,1,64,64))
    assert calls==[('philox_words', {'cuda'}, (7,0), 0, 4), ('philox_words', {'cuda'}, (7,0), 0, 30),
                   ('pose_matrices', {'cuda'}, (8,3,4), (13.5,13.5,31.5,31.5)),
                   ('paint', {'cuda'}, (8,3,4,3,3), (64,64), 'over', 'nearest', ([.1],[.3]), None, None)]


def test_cuda_without_triton_uses_the_reference(pretend, monkeypatch):
    ds,calls = pretend
    for module in (torch_moving_mnist.affine, torch_moving_mnist.engine, torch_moving_mnist.motion, torch_moving_mnist.rng): monkeypatch.setattr(module, 'has_triton', lambda: False)
    batch = ds.get_batch(8)
    assert (batch.device.type, batch.shape, calls)==('cuda', (8,4,1,64,64), [])


def test_no_operation_of_a_batch_waits_for_the_device(pretend):
    pretend[0].get_batch(3) # The first batch copies constants to the device
    with Waits() as seen: pretend[0].get_batch(3)
    assert seen.found==[]


def test_ground_truth_waits_for_the_device_only_for_visibility_full_boxes_and_captions(pretend):
    "Ink is counted, and its boxes are found, on canvases whose number depends on the Scene; captions are built on the host"
    ds = pretend[0]
    ds.targets = tuple(o for o in available_targets(ds.composite) if o not in ('visibility','full_boxes','caption','caption_syncdraw'))
    vars(ds).update(digits=dataclasses.replace(ds.digits, labels=torch.empty(len(ds.digits), dtype=torch.int64, device='cuda')))
    ds.get_batch(3)
    with Waits() as seen: frames,truth = ds.get_batch(3)
    assert seen.found==[] and set(truth)==set(ds.targets)
    assert {o.device.type for k,v in truth.items() for o in (v.values() if k=='pose' else [v])}=={'cuda'}


def test_waiting_operations_are_recognised(pretend):
    x = torch.ones(3, device='cuda')
    for f,name in ((x.sum().item, '_local_scalar_dense'), (x.cpu, '_to_copy'), (lambda: x.new_tensor([1.,2]), '_to_copy'), (lambda: x.copy_(torch.ones(3)), 'copy_'), (x.nonzero, 'nonzero')):
        with Waits() as seen:
            try: f()
            except (DataDependentOutputException, DynamicOutputShapeException): pass
        assert seen.found==[name], name


@needs_cuda
@pytest.mark.parametrize('composite', COMPOSITES)
def test_batches_on_cuda(composite):
    here,there = (MovingMNIST(digits='fonts', num_digits=[1,2,3], num_frames=5, seed=3, composite=composite, device=d) for d in ('cpu','cuda'))
    a,b = here.draw(9),there.draw(9)
    assert torch.equal(a.digit, b.digit.cpu()) and torch.allclose(a.matrix, b.matrix.cpu(), rtol=0, atol=1e-9)
    assert (here.render(a).int() - there.render(b).cpu().int()).abs().max()<=1
    assert torch.equal(there.get_batch(indices=range(9)), there.batch_tfms(there.render(there.draw(indices=range(9)))))


@needs_cuda
@pytest.mark.parametrize('composite', COMPOSITES)
def test_ground_truth_on_cuda(composite):
    names = available_targets(composite)
    here,there = (MovingMNIST(digits='fonts', num_digits=[1,2,3], num_frames=5, seed=3, composite=composite, targets=names, device=d).get_batch(indices=range(20))[1] for d in ('cpu','cuda'))
    assert all(here[o]==there[o] for o in ('caption','caption_syncdraw'))
    for name in names:
        for a,b in zip(*(o[name].values() if name=='pose' else [o[name]]*(not name.startswith('caption')) for o in (here, there))):
            # Levels at a threshold may fall on either side
            assert b.device.type=='cuda' and ((a.double() - b.cpu().double()).abs()>1e-2).double().mean()<.01, name


@needs_cuda
def test_colliding_discs_take_the_same_paths_on_cuda():
    here,there = (MovingMNIST(digits='fonts', motion='collide', num_digits=[1,3], num_frames=40, seed=3, device=d).draw(indices=range(50)) for d in ('cpu','cuda'))
    for k in ('digit','translate','bounces','collisions'): assert getattr(there, k).device.type=='cuda' and torch.equal(getattr(here, k), getattr(there, k).cpu()), k


@needs_cuda
def test_the_host_never_waits_for_cuda():
    ds = MovingMNIST(digits='fonts', num_digits=[1,2,3], num_frames=5, seed=3, device='cuda')
    expected = ds.get_batch(indices=range(7)) # Compiles the kernels and builds the table
    torch.cuda.set_sync_debug_mode('error')
    try: batches = [ds.get_batch(indices=range(7)), ds.get_batch(7)]
    finally: torch.cuda.set_sync_debug_mode('default')
    assert torch.equal(batches[0], expected)


@needs_cuda
def test_outputs_larger_than_32_bit_offsets():
    images = torch.full((1,1,28,28), 200, dtype=torch.uint8, device='cuda')
    matrix = torch.eye(3, dtype=torch.float64, device='cuda').expand(2**16+3, 1, 10, 3, 3)
    frames = cuda.paint(images, torch.zeros(len(matrix), 1, dtype=torch.int64, device='cuda'), matrix, matrix.new_ones(*matrix.shape[:3], 1), (64,64))
    assert frames.numel()>2**31 and (frames[-1]==frames[0]).all() and frames[-1,-1,0,27,27]==200 and frames[-1,-1,0,28,28]==0
