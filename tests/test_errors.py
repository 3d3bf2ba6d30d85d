"Invalid arguments are refused with an error that gives the parameter, its value and what was expected"
import functools
import math
import re

import numpy as np
import pytest
import torch
import torchvision.transforms as T

from torch_moving_mnist.data import _CHECKS, MovingMNIST
from torch_moving_mnist.utils import animate

NAN = float('nan')

BAD = [
    ('path', 3, TypeError), ('path', None, TypeError),
    ('affine_params', 5, TypeError), ('affine_params', [1,2], TypeError), ('affine_params', dict(angel=(0,1)), ValueError), ('affine_params', {3: (0,1)}, TypeError),
    ('num_digits', 0, ValueError), ('num_digits', -1, ValueError), ('num_digits', [], ValueError), ('num_digits', [1,0], ValueError), ('num_digits', 2.5, TypeError),
    ('num_digits', '3', TypeError), ('num_digits', [True], TypeError), ('num_digits', None, TypeError), ('num_digits', 10**6, ValueError), ('num_digits', NAN, TypeError),
    ('num_frames', 0, ValueError), ('num_frames', -3, ValueError), ('num_frames', 4., TypeError), ('num_frames', None, TypeError), ('num_frames', [4], TypeError),
    ('num_frames', 10**12, ValueError), ('num_frames', True, TypeError),
    ('img_size', 27, ValueError), ('img_size', 0, ValueError), ('img_size', -64, ValueError), ('img_size', (64,20), ValueError), ('img_size', (64,), ValueError),
    ('img_size', (64,64,3), ValueError), ('img_size', 64., TypeError), ('img_size', '64', TypeError), ('img_size', None, TypeError), ('img_size', 10**9, ValueError),
    ('img_size', [], ValueError), ('img_size', torch.tensor([64,64]), TypeError),
    ('concat', 1, TypeError), ('concat', None, TypeError), ('concat', 'no', TypeError),
    ('normalize', 'mesured', ValueError), ('normalize', None, TypeError), ('normalize', (.1,), TypeError), ('normalize', (.1,0.), ValueError), ('normalize', (.1,-1), ValueError),
    ('normalize', (NAN,.3), ValueError), ('normalize', ([.1,.1],[.3,.3]), ValueError), ('normalize', ([.1],[.3,.3]), ValueError), ('normalize', .5, TypeError), ('normalize', ([],[]), ValueError),
    ('normalize', (math.inf,.3), ValueError), ('normalize', ('a','b'), TypeError),
    ('normalize', ('1','2'), TypeError), ('normalize', {1:2, 3:4}, TypeError), ('normalize', np.array([.1,0.]), ValueError), ('path', 'a\0b', ValueError), ('path', b'a', TypeError),
    ('digits', 'minst', ValueError), ('digits', None, TypeError), ('digits', 3, TypeError), ('digits', torch.zeros(7,28,28), TypeError), ('digits', np.zeros((0,28,28), np.uint8), ValueError),
    ('split', 'val', ValueError), ('split', 0, TypeError), ('split', None, TypeError), ('split', '', ValueError),
    ('motion', 'jump', ValueError), ('motion', None, TypeError), ('motion', 3, TypeError),
    ('composite', 'add', ValueError), ('composite', None, TypeError), ('interpolation', 'cubic', ValueError), ('interpolation', 2, TypeError),
    ('seed', -1, ValueError), ('seed', 2**64, ValueError), ('seed', 1.5, TypeError), ('seed', 'a', TypeError), ('seed', True, TypeError), ('seed', NAN, TypeError),
    ('length', 0, ValueError), ('length', -1, ValueError), ('length', 2.5, TypeError), ('length', 2**63, ValueError), ('length', '5', TypeError),
    ('transform', 3, TypeError), ('where', 'all', TypeError), ('color', 'red', TypeError), ('color', (1,2,0), ValueError), ('drift', (0,3), ValueError), ('targets', ['box'], ValueError), ('targets', ['cover'], ValueError),
    ('motion_params', {}, ValueError), ('device', 'meta', ValueError), ('device', 'gpu', ValueError), ('device', 'cuda:99', ValueError), ('device', None, ValueError), ('device', 3.5, ValueError),
    ('download', 'yes', TypeError), ('download', None, TypeError),
]


@pytest.mark.parametrize('name,value,error', BAD, ids=lambda o: None)
def test_constructor(name, value, error):
    with pytest.raises(error) as e: MovingMNIST(**{'digits': 'fonts', 'normalize': False, name: value})
    assert type(e.value) is error
    message = str(e.value)
    assert re.search(rf'\b{name}\b', message), message
    assert 'expected' in message or 'smaller than' in message or 'cannot be used' in message, message
    shown = repr(value) if not isinstance(value, (list, tuple, dict, torch.Tensor, np.ndarray)) else ''
    assert shown in message, message


RANGES = [
    ('angle', (20,-20)), ('angle', (NAN,1)), ('angle', (0,math.inf)), ('scale', (0,1)), ('scale', (-1,1)), ('scale', (1.3,.8)), ('shear', (-90,0)), ('shear', (0,90)), ('shear', (5,4)),
    ('angle', (-1.7e308,1.7e308)), ('translate', ((5,-5),(0,1))), ('translate', ((0,1),(NAN,NAN))),
]


@pytest.mark.parametrize('key,value', RANGES, ids=str)
def test_invalid_ranges_are_refused(key, value):
    with pytest.raises(ValueError, match=rf'{key}.*expected a range \(lo, hi\) of numbers'): MovingMNIST(digits='fonts', affine_params={key: value})


@pytest.mark.parametrize('key', ['angle','translate','scale','shear'])
@pytest.mark.parametrize('value', [5, None, 'ab', '12', ('1','2'), {1:2, 3:4}, (1,), (1,2,3), [], ('a','b'), (None,1)], ids=str)
def test_ranges_of_the_wrong_form_are_refused(key, value):
    with pytest.raises(TypeError, match=rf'{key}.*expected'): MovingMNIST(digits='fonts', affine_params={key: value})


@pytest.fixture(scope='module')
def ds(): return MovingMNIST(digits='fonts', normalize=False, seed=0, length=10)


@pytest.mark.parametrize('name,value,error', [o for o in BAD if o[0] in _CHECKS], ids=lambda o: None)
def test_settings_are_checked_when_they_are_set(ds, name, value, error):
    before = getattr(ds, name)
    with pytest.raises(error, match=re.escape(name) + '.*expected'): setattr(ds, name, value)
    assert getattr(ds, name) is before


@pytest.mark.parametrize('name', ['img_size','normalize','split','path','digits','motion','device','canvas_size','channels'])
def test_settings_fixed_at_construction_cannot_be_changed(ds, name):
    with pytest.raises(AttributeError, match=f'{name} cannot be changed after construction'): setattr(ds, name, 64)


def test_a_subclass_may_define_attributes_that_the_dataset_does_not_have():
    class Mine(MovingMNIST):
        def __init__(self, path, **kw):
            super().__init__(digits='fonts', normalize=False, **kw)
            self.path = path
    assert Mine('here').path=='here'
    with pytest.raises(AttributeError, match='digits cannot be changed after construction'): Mine('here').digits = 'mnist'


def test_changed_settings_equal_those_of_a_new_dataset():
    one,settings = MovingMNIST(digits='fonts', normalize=False), dict(num_frames=6, num_digits=2, seed=3, color=(1,0,0), composite='over', affine_params=dict(angle=(0,90)), targets=['boxes'], length=50)
    for name,o in settings.items(): setattr(one, name, o)
    other = MovingMNIST(digits='fonts', normalize=False, **settings)
    assert one.recipe==other.recipe and len(one)==50
    for a,b in zip(one.get_batch(5), other.get_batch(5)): assert torch.equal(a, b) if torch.is_tensor(a) else torch.equal(a['boxes'], b['boxes'])


@pytest.mark.parametrize('bs,error', [(0,ValueError), (-1,ValueError), (2.,TypeError), ('8',TypeError), (None,TypeError), (True,TypeError), (10**12,ValueError), ([4],TypeError)], ids=str)
@pytest.mark.parametrize('method', ['get_batch','draw'])
def test_batch_size(ds, method, bs, error):
    with pytest.raises(error, match=r'bs=.*expected a whole number, at least 1'): getattr(ds, method)(bs)
    with pytest.raises(error, match=r'bs=.*expected a whole number, at least 1'): getattr(ds, method)(bs, indices=[1])


@pytest.mark.parametrize('indices,error', [([],ValueError), ([10],IndexError), ([-11],IndexError), ([0,99],IndexError), ([1.5],TypeError), ([True],TypeError), ([True,3],TypeError), ('ab',TypeError), (['a'],TypeError),
    (3,ValueError), ([[0,1]],ValueError), ([None],TypeError), ([NAN],TypeError), ([2**70],TypeError), (torch.zeros(2),TypeError), ({1:2},TypeError)], ids=str)
def test_indices(ds, indices, error):
    for call in (ds.get_batch, ds.draw):
        with pytest.raises(error, match=r'ind(ex|ices).*expected'): call(indices=indices)


@pytest.mark.parametrize('i,error', [(10,IndexError), (-11,IndexError), (1.,TypeError), ('a',TypeError), (None,TypeError), ((1,2),TypeError), (True,TypeError), (2**70,IndexError),
    (torch.tensor(1.),TypeError), (torch.tensor(True),TypeError), (np.float64(1),TypeError)], ids=repr)
def test_index(ds, i, error):
    with pytest.raises(error, match=r'index.*expected'): ds[i]


def test_custom_motions():
    def narrow(rng, num_digits, times): return dict(translate=torch.zeros(len(rng.index), num_digits, len(times), 2))
    def single(rng, num_digits, times, **_): return dict(translate=torch.zeros(1, num_digits, len(times), 2))
    @functools.wraps(narrow)
    def wide(*args, **_): return narrow(*args)
    assert MovingMNIST(digits='fonts', normalize=False, motion=wide)[0].shape==(4,1,64,64)
    with pytest.raises(TypeError, match="motion_params=.1.; expected a dict"): MovingMNIST(digits='fonts', motion=wide, motion_params=[1])
    with pytest.raises(TypeError, match="motion=narrow cannot be called: .*expected a function of"): MovingMNIST(digits='fonts', motion=narrow)
    with pytest.raises(ValueError, match=r'motion=single returned translate \(1, 3, 4, 2\); expected a tensor \(2, 3, 4, 2\)'): MovingMNIST(digits='fonts', motion=single)


def test_render(ds):
    with pytest.raises(TypeError, match='scene is a Tensor; expected a Scene'): ds.render(torch.zeros(3))
    other = MovingMNIST(digits=torch.zeros(7,20,20, dtype=torch.uint8), normalize=False).draw(1)
    with pytest.raises(ValueError, match=r'scene has digits of \(20, 20\) pixels; expected \(28, 28\)'): ds.render(other)


@pytest.mark.parametrize('mean,std', [([.1,.5,.9],[.2]*3), ([.1,.2],[.3,.4]), ([.1],[.3]*3), ([],[])], ids=str)
@pytest.mark.parametrize('color', [None, 'random'])
def test_transforms_that_do_not_match_the_channels(mean, std, color):
    "Torchvision's own transforms also fail if the numbers of values and channels differ"
    ds = MovingMNIST(digits='fonts', normalize=False, seed=0, color=color)
    channels = 1 if color is None else 3
    fits = {len(mean),len(std)}<={1,channels}
    ds.batch_tfms = T.Compose([T.ConvertImageDtype(torch.float32), T.Normalize(mean, std)])
    if fits: return torch.testing.assert_close(ds.get_batch(indices=[0]), ds.batch_tfms(ds.render(ds.draw(indices=[0]))), rtol=0, atol=0)
    with pytest.raises((ValueError, RuntimeError)): ds.batch_tfms(ds.render(ds.draw(indices=[0])))
    with pytest.raises(ValueError, match=r'stats=.*expected \(mean, std\)'): ds.get_batch(1)
    with pytest.raises(ValueError, match=r'stats=.*expected \(mean, std\)'): ds.render(ds.draw(1), (mean, std))


@pytest.mark.parametrize('mean,std', [(.1,.3), (torch.tensor([.1]),torch.tensor([.3])), (torch.tensor(.1),.3), ((.1,),(-.3,)), (torch.tensor([.1]).bfloat16(),torch.tensor([.3]).bfloat16()), (torch.tensor([.1], requires_grad=True),.3), (torch.zeros(1,64,64),torch.ones(1,64,64)*.3), ([[.1]],[[.3]]), ([torch.tensor(.1)],[.3])], ids=str)
def test_normalize_accepts_numbers_of_every_type(mean, std):
    ds = MovingMNIST(digits='fonts', normalize=False, seed=0)
    ds.batch_tfms = T.Compose([T.ConvertImageDtype(torch.float32), T.Normalize(mean, std)])
    torch.testing.assert_close(ds.get_batch(indices=[0,1]), ds.batch_tfms(ds.render(ds.draw(indices=[0,1]))), rtol=0, atol=0)


def test_zero_std_is_refused_as_in_torchvision(ds):
    for std in (0., 1e-50):
        with pytest.raises(ValueError, match='std from 1e-12'): ds.render(ds.draw(indices=[0]), ([.1],[std]))
    for stats in (5, {}):
        with pytest.raises(TypeError, match=f'stats={stats}; expected'): ds.render(ds.draw(indices=[0]), stats)


def test_a_refused_call_does_not_advance_the_stream(ds):
    with pytest.raises(ValueError): ds.get_batch(0)
    first = ds.get_batch(1)
    assert torch.equal(first, ds.get_batch(indices=[0]))


def test_statistics_of_black_digits_are_refused():
    with pytest.raises(ValueError, match="normalize='measured' found only level 0 in channel 0"): MovingMNIST(digits=torch.zeros(7,28,28, dtype=torch.uint8), normalize='measured')


def test_nothing_is_loaded_before_the_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match='num_frames'): MovingMNIST(tmp_path/'nowhere', num_frames=0)
    with pytest.raises(TypeError, match='download'): MovingMNIST(tmp_path/'nowhere', download=1)
    assert not (tmp_path/'nowhere').exists()


def test_statistics_of_constant_channels_are_refused(fonts):
    with pytest.raises(ValueError, match="found only level 0 in channel 1 .* normalize=\\(mean, std\\)"): fonts(color=(1,0,0), normalize='measured')
    white = torch.full((64,64), 255, dtype=torch.uint8)
    with pytest.raises(ValueError, match="found only level 255 in channel 0"): fonts(background=white, normalize='measured')


@pytest.mark.parametrize('f', [lambda ds: ds[10**300], lambda ds: ds.get_batch(indices=[10**18]), lambda ds: MovingMNIST(num_frames=10**5000), lambda ds: MovingMNIST(img_size=(5, torch.tensor(28.))),
                               lambda ds: ds.draw(1, times=['x'*500]), lambda ds: MovingMNIST(color=[(9,9,9)]*500), lambda ds: MovingMNIST(digits='fonts', targets=['x'*500]), lambda ds: MovingMNIST(motion='x'*500)])
def test_messages_show_values_in_one_short_line(ds, f):
    with pytest.raises((TypeError, ValueError, IndexError)) as error: f(ds)
    shown = re.split('; expected|is out of range', str(error.value))[0]
    assert '\n' not in str(error.value) and len(shown)<130, shown


@pytest.mark.parametrize('fps', ['10', np.array('x'), np.array([10.]), int, True, None, 1j])
def test_what_is_no_number_is_refused(fps):
    with pytest.raises(TypeError, match='fps=.*expected a number from 0.1 to 50'): animate(torch.zeros(2,8,8), fps=fps)


def test_statistics_of_bytes_are_warned_of():
    with pytest.warns(UserWarning, match=r'normalize=\(33.3, 78.5\) has a mean above 1') as seen: MovingMNIST(digits='fonts', normalize=(33.3,78.5))
    assert seen[0].filename==__file__
