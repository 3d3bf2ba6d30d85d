"Compare matrices with a product of elementary matrices, one pose at a time"
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from torch_moving_mnist.affine import affine_matrix, invert_affine, to_theta


def product(*ms):
    "Product of matrices given as nested lists, from left to right"
    out = [[float(i==j) for j in range(3)] for i in range(3)]
    for m in ms: out = [[sum(out[i][k]*m[k][j] for k in range(3)) for j in range(3)] for i in range(3)]
    return out


def shift(x, y): return [[1,0,x],[0,1,y],[0,0,1]]


def by_hand(angle, dx, dy, scale, p, q, digit, canvas):
    a,p,q = (math.radians(o) for o in (angle, p, q))
    rotate = [[math.cos(a),-math.sin(a),0],[math.sin(a),math.cos(a),0],[0,0,1]]
    shear_y = [[1,0,0],[-math.tan(q),1,0],[0,0,1]]
    shear_x = [[1,-math.tan(p),0],[0,1,0],[0,0,1]]
    grow = [[scale,0,0],[0,scale,0],[0,0,1]]
    to_origin = shift(-(digit[1]-1)/2, -(digit[0]-1)/2)
    to_canvas = shift((canvas[1]-1)/2 + dx, (canvas[0]-1)/2 + dy)
    return product(to_canvas, rotate, shear_y, shear_x, grow, to_origin)


pose = st.tuples(st.floats(-360,360), st.floats(-100,100), st.floats(-100,100), st.floats(.05,20), st.floats(-80,80), st.floats(-80,80))
size = st.tuples(st.integers(1,200), st.integers(1,200))


@settings(max_examples=300, deadline=None)
@given(pose, size, size)
def test_matrix_is_the_product_of_its_steps(pose, digit, canvas):
    angle,dx,dy,scale,p,q = (torch.tensor(o, dtype=torch.float64) for o in pose)
    m = affine_matrix(angle, torch.stack([dx,dy]), scale, torch.stack([p,q]), digit, canvas)
    expected = torch.tensor(by_hand(*pose, digit, canvas), dtype=torch.float64)
    torch.testing.assert_close(m, expected, rtol=1e-9, atol=1e-9*scale.item()*200)


@settings(max_examples=300, deadline=None)
@given(pose, size, size)
def test_inverse_maps_back(pose, digit, canvas):
    angle,dx,dy,scale,p,q = (torch.tensor(o, dtype=torch.float64) for o in pose)
    m = affine_matrix(angle, torch.stack([dx,dy]), scale, torch.stack([p,q]), digit, canvas)
    torch.testing.assert_close(invert_affine(m), torch.linalg.inv(m), rtol=1e-7, atol=1e-7)


def test_theta_maps_canvas_corners_to_digit_corners_if_the_digit_fills_the_canvas():
    zero,one = torch.zeros(()),torch.ones(())
    m = affine_matrix(zero, torch.zeros(2), one*3, torch.zeros(2), (10,20), (30,60))
    torch.testing.assert_close(to_theta(m, (10,20), (30,60)), torch.eye(3)[:2], rtol=0, atol=1e-6)


def test_any_batch_shape():
    def p(*s): return torch.rand(*s, dtype=torch.float64)
    m = affine_matrix(p(2,3,4), p(2,3,4,2), p(2,3,4)+.5, p(2,3,4,2), (28,28), (64,48))
    assert m.shape==(2,3,4,3,3)
    assert to_theta(m, (28,28), (64,48)).shape==(2,3,4,2,3)


@pytest.mark.parametrize('dtypes', [[torch.float32]*5, [torch.float64]*5, [torch.float16]*5, [torch.bfloat16]*5, [torch.float32]*3 + [torch.float64, torch.float32], [torch.int64]*5, [torch.int32]*2 + [torch.float64]*3])
def test_dtype_follows_torchs_type_promotion(dtypes):
    pose = [o.to(dtype) for o,dtype in zip((torch.tensor([30.,180,-7]), torch.tensor([[3.,4]]*3), torch.tensor([1.,2,1]), torch.tensor([[5.,0]]*3), torch.tensor([1.,1,2])), dtypes)]
    angle,translate,scale,shear,stretch = pose
    m = affine_matrix(angle, translate, scale, shear, (28,28), (64,48), stretch)
    some = angle*scale*stretch*translate[:,0]*shear[:,0]
    assert m.dtype==(some.dtype if some.is_floating_point() else torch.get_default_dtype())
    exact = affine_matrix(*(o.double() for o in pose[:4]), (28,28), (64,48), stretch.double())
    assert torch.equal(m, exact.to(m.dtype))
    if dtypes==[torch.float64]*5:
        for o in pose: o.requires_grad_()
        with_gradients = affine_matrix(angle, translate, scale, shear, (28,28), (64,48), stretch)
        torch.testing.assert_close(with_gradients, m, rtol=1e-12, atol=1e-12)
        with_gradients.sum().backward()
        assert all(o.grad.isfinite().all() for o in pose)


def test_reverse_and_forward_mode_give_equal_jacobians():
    pose = [torch.tensor(o, dtype=torch.float64) for o in ([30.,180,-7], [[3.,4]]*3, [1.,2,1], [[5.,3]]*3, [1.,1,2])]
    def matrix(*pose): return affine_matrix(*pose[:4], (28,28), (64,48), pose[4])
    places = tuple(range(5))
    forward,reverse = (mode(matrix, places)(*pose) for mode in (torch.func.jacfwd, torch.func.jacrev))
    torch.testing.assert_close(forward, reverse, rtol=1e-12, atol=1e-12)
    assert all(o.any() for o in forward)


@pytest.mark.parametrize('wrong', [dict(translate=(4,3)), dict(translate=(4,)), dict(shear=(4,1)), dict(shear=())])
def test_points_have_two_coordinates(wrong):
    pose = {**dict(angle=(4,), translate=(4,2), scale=(4,), shear=(4,2)), **wrong}
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} has shape .*expected"): affine_matrix(*(torch.ones(o) for o in pose.values()), (28,28), (64,64))
