"The compiled renderer against the reference in every mode; its memory accesses, threads and processes"
import concurrent.futures, os, signal, textwrap, threading

import processes
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numba import njit
from torch.utils.data import DataLoader

from torch_moving_mnist.affine import affine_matrix
from torch_moving_mnist.engine import COMPOSITES, INTERPOLATIONS, parallel, render
from torch_moving_mnist.engine.parallel import parallel_for
from torch_moving_mnist.engine.reference import boxes_reference, render_reference
from torch_moving_mnist.engine.simd import fetch_add

finite = dict(allow_nan=False, allow_infinity=False)
scales = st.one_of(st.floats(.3, 3), st.floats(.02, .3), st.floats(3, 60))


def random_case(seed, B, K, T, C, digit, canvas, scale, spread, whole):
    "Digits, index, matrix and gain for one call of the renderer"
    g = torch.Generator().manual_seed(seed)
    def rand(*s): return torch.rand(*s, generator=g, dtype=torch.float64)
    digits = torch.randint(1, 256, (6,C,*digit), generator=g, dtype=torch.uint8)*(torch.rand(6,1,*digit, generator=g)<rand(6,1,1,1))
    index = torch.randint(-1, 6, (B,K), generator=g)
    angle,shear,size = rand(B,K,T)*720 - 360, rand(B,K,T,2)*120 - 60, scale*(.8 + .4*rand(B,K,T))
    translate = (rand(B,K,T,2) - .5)*2*spread*torch.tensor([canvas[1], canvas[0]]) + .01 + rand(B,K,T,2)/100 # No sample exactly between two pixels
    if whole:
        angle,shear,size = angle*0, shear*0, size*0 + 1
        offset = torch.tensor([(digit[1]-canvas[1])/2, (digit[0]-canvas[0])/2], dtype=torch.float64)
        translate = translate.round() + offset % 1
    return digits, index, affine_matrix(angle, translate, size, shear, digit, canvas), canvas, rand(B,K,T)*2.5


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('composite', COMPOSITES)
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), K=st.integers(1,10), T=st.integers(1,3), C=st.sampled_from([1,3]), digit=st.tuples(st.integers(1,32), st.integers(1,32)),
       extra=st.tuples(st.integers(0,50), st.integers(0,50)), scale=scales, spread=st.floats(0,1.2), whole=st.booleans())
def test_agrees_with_the_reference(composite, interpolation, seed, K, T, C, digit, extra, scale, spread, whole):
    args = random_case(seed, 3, K, T, C, digit, (digit[0]+extra[0], digit[1]+extra[1]), scale, spread, whole)
    ours,theirs = render(*args, composite, interpolation), render_reference(*args, composite, interpolation)
    difference = (ours.int() - theirs.int()).abs()
    if interpolation=='bilinear' or whole: assert difference.max()<=1
    else: assert (difference>1).sum()<=C + .001*difference.numel() # Samples almost halfway between two pixels may round differently


@pytest.mark.parametrize('composite', COMPOSITES)
@pytest.mark.parametrize('C', [1,3])
def test_floats_equal_normalised_bytes(composite, C):
    args = random_case(0, 8, 4, 5, C, (28,28), (50,71), 1., .5, False)
    frames = render(*args, composite)
    for mean,std in (([.07522265625],[.17685937499999999]), ([0.],[1.]), ([.1,.2,.3][:C],[.5,.01,3.][:C]), ([.43214983],[3.642636]), ([.1],[1e-12]), ([1e3],[1e6]), ([-1e3],[1e-12])):
        m,s = (torch.tensor(o, dtype=torch.float32)[:,None,None] for o in (mean, std))
        assert torch.equal(render(*args, composite, stats=(mean,std)), (frames.float()/255 - m)/s)


def test_batches_equal_the_transforms_exactly(make):
    for normalize in (True, False, (.3,.02), (.43214983,3.642636), (0.,1e-12), (1e3,1e6)):
        ds = make(normalize=normalize)
        assert torch.equal(ds.get_batch(indices=range(9)), ds.batch_tfms(ds.render(ds.draw(indices=range(9)))))


@pytest.mark.parametrize('scale', [1e8, 1e10, -1e10, 1e100, 1e200, -1e300])
@pytest.mark.parametrize('whole', [False, True])
def test_one_pixel_may_be_larger_than_the_canvas(scale, whole):
    digits,index,matrix,size,gain = random_case(1, 3, 3, 2, 1, (9,9), (20,30), 1., .2, whole)
    matrix[...,:2,:2] *= scale
    digits[:] = 200
    # The digit's corner, then its centre, on the canvas
    for middle in (matrix*1, torch.cat([torch.cat([matrix[...,:2,:2], -4*matrix[...,:2,:2].sum(-1, keepdim=True) + 10], -1), matrix[...,2:,:]], -2)):
        for composite in COMPOSITES:
            ours,theirs = render(digits, index, middle, size, gain, composite),render_reference(digits, index, middle, size, gain, composite)
            # The result is undefined if the determinant overflows
            assert scale>1e150 or scale<-1e150 or (ours.int() - theirs.int()).abs().max()<=1


@pytest.mark.parametrize('entry', [float('nan'), float('inf'), 0., 1e-300, 1e300, 1e9, -1e12])
@pytest.mark.parametrize('where', [(0,0), (0,1), (0,2), (1,1), (1,2)])
def test_degenerate_matrices_are_safe(entry, where):
    digits,index,matrix,size,gain = random_case(1, 2, 2, 2, 1, (9,9), (20,30), 1., .2, False)
    matrix[...,where[0],where[1]] = entry
    for composite in COMPOSITES: assert render(digits, index, matrix, size, gain, composite).shape==(2,2,1,20,30)


def test_no_access_outside_any_array():
    "Run the renderer as plain Python, which checks every access, on digits that cross every edge of the canvas"
    code = textwrap.dedent('''
        import sys
        sys.path.insert(0, sys.argv[1])
        import torch
        torch.set_num_threads(1)
        from test_paint import random_case
        from torch_moving_mnist.engine import COMPOSITES, INTERPOLATIONS, render
        for seed in range(12):
            for whole in (False, True):
                canvas = [(5,5), (40,23), (33,35)][seed % 3]
                scale = [1., .05, 30., 1e-5, 1e7, 1e200][seed % 6]
                args = random_case(seed, 3, 1 + seed % 5, 2, [1,3][seed % 2], [(5,5), (1,3), (4,2)][seed % 3], canvas, scale, 1., whole)
                for c in COMPOSITES:
                    for i in INTERPOLATIONS: render(*args, c, i, stats=[None, ([.1],[.3])][seed % 2])
        broken = torch.full((3,1,2,3,3), float('nan'), dtype=torch.float64)
        render(args[0], torch.zeros(3,1, dtype=torch.int64), broken, (64,64))
        print('done')''')
    r = processes.run(code, os.path.dirname(__file__), warn=['ignore'], env={'NUMBA_DISABLE_JIT': '1'})
    assert r.stdout=='done\n', r.stderr


def test_concurrent_threads_do_not_interfere(fonts):
    ds = fonts(num_frames=3)
    scenes = [ds.draw(indices=range(i, i+9)) for i in range(24)]
    expected = [ds.render(s) for s in scenes]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for _ in range(5): assert all(map(torch.equal, pool.map(ds.render, scenes), expected))


@pytest.mark.parametrize('method', ['fork','forkserver'])
def test_loader_after_the_parent_has_rendered(fonts, method):
    ds = fonts(length=16)
    expected = ds.get_batch(indices=range(16))*255
    got = torch.cat(list(DataLoader(ds, batch_size=4, num_workers=2, multiprocessing_context=method, timeout=120)))
    assert torch.equal(got.float(), expected)


FORK = textwrap.dedent('''
    import os, signal, sys, threading
    import torch
    from torch_moving_mnist.data import MovingMNIST
    torch.set_num_threads(2)
    ds = MovingMNIST(digits='fonts', num_frames=3, seed=0, normalize=False)
    large = torch.rand(2**22)
    def before(): # The parent has OpenMP threads, but has not rendered
        large.clone()
        pid = os.fork()
        if pid==0: signal.alarm(60), ds.get_batch(indices=range(9)), os._exit(0)
        print(os.waitpid(pid, 0)[1])
    before()
    expected = ds.get_batch(indices=range(9)),large.clone()
    def child():
        signal.alarm(60) # A child that waits for its parent's threads would wait forever
        same = torch.equal(ds.get_batch(indices=range(9)), expected[0]) and torch.equal(large.clone(), expected[1])
        os._exit(0 if same else 3)
    def fork():
        pid = os.fork()
        if pid==0: child()
        print(os.waitpid(pid, 0)[1])
    fork()
    thread = threading.Thread(target=lambda: (ds.get_batch(4), large.clone(), fork()))
    thread.start(), thread.join()
    assert torch.equal(ds.get_batch(indices=range(9)), expected[0])''')


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork')
def test_a_forked_child_has_its_own_threads():
    "The renderer's threads and torch's, which would otherwise wait for the parent's threads"
    r = processes.run(FORK, warn=['ignore'])
    assert (r.stdout, r.returncode)==('0\n0\n0\n', 0), r.stderr


@njit
def following(todo): return fetch_add(todo)


@pytest.mark.parametrize('team', [True, False])
@pytest.mark.parametrize('threads', [1,2,5])
def test_errors_of_any_thread_are_raised_and_every_sequence_is_rendered_once(team, threads, monkeypatch):
    if not team: monkeypatch.setattr(parallel, '_team', None)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        done,barrier = [],threading.Barrier(threads)
        def work(todo):
            barrier.wait(60) # All threads at the same time
            while (i := following(todo))<100: done.append(i)
        parallel_for(100, work)
        assert sorted(done)==list(range(100))
        def broken(todo):
            if threads==1 or threading.current_thread() is not threading.main_thread(): raise ArithmeticError('in a thread')
        with pytest.raises(ArithmeticError, match='in a thread'): parallel_for(100, broken)
    finally: torch.set_num_threads(before)


def test_openmp_and_pool_threads_render_the_same_frames(fonts, monkeypatch):
    ds = fonts(targets=['boxes','masks'])
    scene = ds.draw(indices=range(20))
    with_team,truth = ds.render(scene),ds.truth(scene)
    monkeypatch.setattr(parallel, '_team', None)
    assert torch.equal(ds.render(scene), with_team)
    for name,o in ds.truth(scene).items(): assert torch.equal(o, truth[name])


def test_memory_does_not_grow(fonts):
    resource = pytest.importorskip('resource')
    def pages():
        with open('/proc/self/statm') as f: return int(f.read().split()[1])*resource.getpagesize()
    if not os.path.exists('/proc/self/statm'): pytest.skip('no /proc to read memory from')
    ds = fonts(num_frames=2, img_size=32)
    for _ in range(300): ds.get_batch(8)
    before = pages()
    for _ in range(2000): ds.get_batch(8)
    assert pages()-before<8*2**20


def test_unusual_input_layouts():
    digits,index,matrix,size,gain = random_case(3, 4, 3, 5, 1, (12,9), (30,40), 1., .4, False)
    expected = render(digits, index, matrix, size, gain)
    views = [digits.transpose(2,3).contiguous().transpose(2,3), index.T.contiguous().T, matrix.flip(0).flip(0), gain.transpose(1,2).contiguous().transpose(1,2)]
    assert torch.equal(render(views[0], views[1], views[2], size, views[3]), expected)
    assert (render(digits, index, matrix.float(), size, gain.float()).int() - expected.int()).abs().max()<=1


@pytest.mark.parametrize('composite', COMPOSITES)
def test_boxes_end_at_the_edge_of_a_canvas_of_any_width(composite):
    digits,index,_,_,gain = random_case(0, 6, 2, 3, 1, (9,9), (12,60), 1., 0., False)
    for width in range(1, 50):
        matrix = affine_matrix(torch.rand(6,2,3).double()*360, torch.rand(6,2,3,2).double()*20, gain+1, torch.zeros(6,2,3,2).double(), (9,9), (12,width))
        boxes = torch.empty(6,2,3,4)
        render(digits, index, matrix, (12,width), gain, composite, boxes=boxes)
        expected = boxes_reference(digits, index, matrix, (12,width), gain[...,None], composite, 'bilinear')
        assert ((boxes-expected).abs()>0).sum()<=2 and boxes[...,2].max()<=width # Levels at the threshold may fall on either side


INTERRUPT = """if True:
    import os, signal, threading, time, torch
    from torch_moving_mnist.engine.parallel import parallel_for
    signal.signal(signal.SIGINT, signal.default_int_handler) # Also where the shell has told its background jobs to ignore interrupts
    torch.set_num_threads(2)
    def is_raised(delay):
        sent = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        try:
            sent.start()
            while sent.is_alive(): parallel_for(2, lambda next_index: None)
            time.sleep(1)
        except KeyboardInterrupt: return True
        finally: sent.join()
    print([is_raised(delay) for delay in torch.linspace(.0005, .01, 60).tolist()].count(True))"""


@pytest.mark.skipif(not hasattr(signal, 'raise_signal') or os.name!='posix', reason='signals of posix')
def test_an_interrupt_is_never_swallowed():
    "In a process of its own, which an interrupt at a wrong moment may end"
    run = processes.run(INTERRUPT)
    assert run.stdout.strip()=='60', run.stderr
