"Random numbers and motion against plain Python versions, one number and one digit at a time"
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from torch_moving_mnist.draw import draw_scene
from torch_moving_mnist.motion import check_affine_params
from torch_moving_mnist.rng import Philox, below, philox

word = st.integers(0, 2**32-1)


def scalar_philox(counter, key):
    "Philox4x32-10 with Python integers"
    c,k = list(counter),list(key)
    for _ in range(10):
        left,right = c[0]*0xD2511F53, c[2]*0xCD9E8D57
        c = [(right >> 32) ^ c[1] ^ k[0], right % 2**32, (left >> 32) ^ c[3] ^ k[1], left % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


@settings(max_examples=500, deadline=None)
@given(st.tuples(word, word, word, word), st.tuples(word, word))
def test_philox_equals_integer_arithmetic(counter, key):
    assert [int(o) for o in philox([torch.tensor(o) for o in counter], key)]==scalar_philox(counter, key)


def scalar_words(seed, stream, index, n):
    "The first n words of a sequence's stream"
    blocks = [scalar_philox((b, stream, index % 2**32, index >> 32), (seed % 2**32, seed >> 32)) for b in range(-(-n//4))]
    return [w for block in blocks for w in block][:n]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**64-1), stream=st.integers(0, 20), index=st.integers(0, 2**63-1), n=st.integers(1, 23))
def test_streams_are_blocks_of_the_counter(seed, stream, index, n):
    rng = Philox(seed, torch.tensor([index, 3]), stream)
    assert rng.words(n)[0].tolist()==scalar_words(seed, stream, index, n)


def scalar_scene(seed, index, split, num_digits, T, num_images, ranges):
    "`draw_scene` in plain Python"
    choice,path = (scalar_words(seed, 2*split + i, index, 4*(2 + 10*len(num_digits) + 10*max(num_digits))) for i in range(2))
    K = max(num_digits)
    count = num_digits[choice[0]*len(num_digits) >> 32]
    digit = [(choice[1+k]*num_images >> 32) if k<count else -1 for k in range(K)]
    names = [ranges['angle'], *ranges['translate'], ranges['scale'], ranges['shear']]
    poses = []
    for k in range(K):
        ends = [[lo + (hi-lo)*path[10*k + 5*e + i]*2**-32 for i,(lo,hi) in enumerate(names)] for e in range(2)]
        poses.append([[a + (b-a)*t/max(T-1, 1) for a,b in zip(*ends)] for t in range(T)])
    return digit,poses


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**64-1), index=st.integers(0, 2**63-1), split=st.integers(0, 2), T=st.integers(1, 12),
       num_digits=st.lists(st.integers(1, 5), min_size=1, max_size=4), num_images=st.integers(1, 60_000))
def test_affine_scenes_equal_the_scalar_version(seed, index, split, T, num_digits, num_images):
    ranges = check_affine_params(dict(angle=(-35,10), translate=((-3,20),(-7,7))))
    scene = draw_scene(seed, [index], num_digits, T, num_images, (28,28), (64,64), params=ranges, split=split)
    digit,poses = scalar_scene(seed, index, split, num_digits, T, num_images, ranges)
    assert scene.digit[0].tolist()==digit
    ours = torch.stack([scene.angle, scene.translate[...,0], scene.translate[...,1], scene.scale, scene.shear[...,0]], -1)[0]
    torch.testing.assert_close(ours, torch.tensor(poses, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    assert (scene.shear[...,1]==0).all() and (scene.gain==1).all()


def test_digits_do_not_depend_on_the_motion():
    many = dict(num_digits=[1,2,3], num_images=1000, digit_size=(28,28), canvas_size=(64,64))
    a = draw_scene(5, range(50), num_frames=4, **many)
    b = draw_scene(5, range(50), num_frames=30, params=dict(angle=(0,1)), **many)
    assert torch.equal(a.digit, b.digit)


def test_uniform_numbers_are_uniform_and_independent():
    u = Philox(11, torch.arange(20_000)).uniform(6)
    assert 0<=u.min() and u.max()<1
    for x in u.T:
        distance = (x.sort().values - (torch.arange(len(x)) + .5)/len(x)).abs().max()
        assert distance<1.95/math.sqrt(len(x)) # Kolmogorov-Smirnov test, p = 0.001
    assert (torch.corrcoef(u.T) - torch.eye(6)).abs().max()<4/math.sqrt(len(u))
    after = torch.corrcoef(torch.stack([u[:-1,0], u[1:,0]])) # Between consecutive sequences
    assert after[0,1].abs()<4/math.sqrt(len(u))


@pytest.mark.parametrize('n', [1, 2, 7, 10, 60_000])
def test_integers_cover_their_range_evenly(n):
    x = below(n, Philox(1, torch.arange(1000)).words(100)).flatten()
    assert 0<=x.min() and x.max()<n
    expected = len(x)/min(n, 10)
    counts = (x*min(n, 10)//n).bincount(minlength=min(n, 10)).double()
    chi2 = ((counts - expected)**2/expected).sum()
    assert chi2<40 # Far beyond p = 0.001 with nine degrees of freedom


def test_scene_parts():
    scene = draw_scene(0, range(5), [1,2], 3, 10, (28,28), (64,64))
    assert [len(scene), len(scene[1:3]), len(scene[2]), len(scene[torch.tensor([4,0])])]==[5,2,1,2]
    assert torch.equal(scene[[3,1]].angle, scene.angle[[3,1]]) and len(list(scene))==5
    assert len(scene[scene.digit[:,1]>=0]) == (scene.digit[:,1]>=0).sum()
    assert scene.matrix.shape==(5,2,3,3,3) and scene.matrix.dtype==torch.float64
    with pytest.raises(AttributeError): scene.angle = None
    assert '5 sequences' in repr(scene) and repr(scene[:0])


def test_mps_scenes_hold_no_float64():
    scene = draw_scene(0, range(5), [1,2], 3, 10, (28,28), (64,64))
    moved = []
    keep = torch.Tensor.to
    def to(self, device, dtype): moved.append((str(device), dtype)); return keep(self, dtype)
    torch.Tensor.to = to
    try: scene.to('mps')
    finally: torch.Tensor.to = keep
    assert moved[0]==('mps', torch.int64) and set(moved[1:])=={('mps', torch.float32), ('mps', torch.uint8)}
