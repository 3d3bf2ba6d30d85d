"Plots: every shape and value range is shown on the right axes with the right values"
import collections, io, os

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from torch_moving_mnist.utils import GIF, animate, atomic_path, save_gif, set_seed, show_image, show_images, to_device


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close('all')


def shown(ax): return np.asarray(ax.images[0].get_array())


STEP = torch.arange(16, dtype=torch.uint8).view(4,4)*17


@pytest.mark.parametrize('im', [
    STEP, STEP[None], STEP.numpy(), STEP[...,None], STEP.float()/255, (STEP.float()/255 - .075)/.177, STEP.double()*3 - 100, STEP.int()*1000, (STEP.float()/255).half(),
    (STEP.float()/255).bfloat16(), (STEP.float()/255).requires_grad_(), STEP.tolist()], ids=lambda o: f'{type(o).__name__} {getattr(o, "dtype", "")} {np.shape(o)}' if not getattr(o, 'requires_grad', False) else 'grad')
def test_every_layout_and_range_gives_the_same_image(im):
    np.testing.assert_allclose(shown(show_image(im)), STEP.numpy()/255, atol=.01)


def test_colour_is_scaled_too():
    red = torch.stack([STEP, STEP//2, STEP//4])
    for im in (red, red.permute(1,2,0), (red/255. - .2)/.3): np.testing.assert_allclose(shown(show_image(im)), red.permute(1,2,0).numpy()/255, atol=.01)


def test_dark_bytes_stay_dark_and_frames_have_one_range():
    assert shown(show_image(STEP//4)).max()<.26
    video = torch.stack([STEP.float()*.1, STEP.float()]) - 3
    axs = show_images(video)
    assert shown(axs[0,0]).max()<.2 and shown(axs[0,1]).max()==1


def test_constant_and_broken_images():
    assert (shown(show_image(torch.full((4,4), -.42)))==0).all()
    assert (shown(show_image(torch.full((4,4), float('nan'))))==0).all()
    assert shown(show_image(torch.tensor([[0,float('inf')],[1,2.]]))).max()==1
    assert shown(show_image(torch.tensor([[True,False]]))).tolist()==[[1,0]]


@pytest.mark.parametrize('ims,kw,grid,used', [
    (torch.zeros(10,1,8,8), {}, (1,10), 10), (torch.zeros(10,8,8), {}, (1,10), 10), (torch.zeros(8,8), {}, (1,1), 1), (torch.zeros(3,8,8), {}, (1,1), 1), (torch.zeros(10,3,8,8), {}, (1,10), 10),
    ([torch.zeros(1,8,8)]*7, dict(nrows=2), (2,4), 7), ([torch.zeros(1,8,8)]*7, dict(ncols=3), (3,3), 7), ([torch.zeros(1,8,8)]*2, dict(nrows=2, ncols=3), (2,3), 2),
    (torch.zeros(4,10,1,8,8), {}, (4,10), 40), (torch.zeros(4,10,1,8,8), dict(ncols=20), (2,20), 40), (np.zeros((5,8,8)), {}, (1,5), 5), (np.zeros((5,8,8,3)), {}, (1,5), 5),
    ((torch.zeros(8,8) for _ in range(3)), {}, (1,3), 3)], ids=lambda o: str(o) if isinstance(o, (dict, tuple, int)) else type(o).__name__)
def test_grids(ims, kw, grid, used):
    axs = show_images(ims, **kw)
    assert axs.shape==grid
    assert [bool(ax.images) for ax in axs.flat]==[True]*used + [False]*(grid[0]*grid[1]-used)
    assert not any(ax.axison for ax in axs.flat)


def test_titles_axes_and_keywords():
    axs = show_images(torch.zeros(2,8,8), titles=[1,'b'], figsize=(3,2), cmap='viridis')
    assert [ax.get_title() for ax in axs.flat]==['1','b'] and axs[0,0].images[0].get_cmap().name=='viridis'
    ax = plt.subplots()[1]
    assert show_image(STEP, ax=ax, title='x') is ax and ax.get_title()=='x'


@pytest.mark.parametrize('shape,kw', [((10,64,64), dict(figsize=(20,10))), ((4,3,64,32), dict(figsize=(3,2))), ((6,20,40), dict(nrows=3, figsize=(1,9))),
    ((2,5,8,8), {}), ((5,64,64), dict(titles='abcde', figsize=(12,1)))])
def test_figures_have_no_margins(shape, kw):
    "Images fill the figure, apart from narrow gaps and the titles, and the figure is not larger than asked"
    axs = show_images(torch.rand(shape), **kw)
    figure = axs[0,0].figure
    size,gap = figure.get_size_inches(), .0501
    if 'figsize' in kw: assert (size<=np.add(kw['figsize'], 1e-6)).all() and (size>=np.subtract(kw['figsize'], 1e-6)).any()
    figure.canvas.draw()
    boxes = np.array([[ax.get_window_extent().get_points()/figure.dpi for ax in row] for row in axs]) # (rows, columns, corner, xy)
    title = .3*('titles' in kw)
    assert (boxes[:,0,0,0]<=gap).all() and (boxes[:,-1,1,0]>=size[0]-gap).all() and (boxes[-1,:,0,1]<=gap).all() and (boxes[0,:,1,1]>=size[1]-gap-title).all()
    assert (boxes[:,1:,0,0] - boxes[:,:-1,1,0]<=gap).all() and (boxes[:-1,:,0,1] - boxes[1:,:,1,1]<=gap+title).all()
    w,h = (boxes[...,1,:] - boxes[...,0,:]).reshape(-1, 2).T
    assert np.allclose(h/w, shape[-2]/shape[-1]) # So that nothing is left around an image in its cell


@pytest.mark.parametrize('figsize', [(0,2), (3,-1), 10, (1,2,3), (float('nan'),1), 'ab', np.ones((2,2)), dict(a=1, b=2)])
def test_figures_of_no_size_are_refused(figsize):
    with pytest.raises(ValueError, match='figsize'): show_images(torch.rand(2,8,8), figsize=figsize)
    with pytest.raises(ValueError, match='figsize'): show_image(torch.rand(8,8), figsize=figsize)


def test_tiny_figures_keep_their_size():
    assert max(show_images(torch.rand(10,8,8), figsize=(.1,.1))[0,0].figure.get_size_inches())==pytest.approx(.1)


@pytest.mark.parametrize('titles', [['frame 0\nsecond line\nthird']*6, ['a long title, number 0']*6, ['a','b\nc','','d','e','f']])
def test_titles_stay_inside_the_figure_and_apart(titles):
    axs = show_images(torch.rand(6,8,8), nrows=2, titles=titles)
    figure = axs[0,0].figure
    figure.canvas.draw()
    boxes = [ax.title.get_window_extent() for ax in axs.flat if ax.get_title()]
    assert all(b.y1<=figure.bbox.y1 + 1 and b.x0>=-9 and b.x1<=figure.bbox.x1 + 9 for b in boxes) # Type has no exact width
    images = [ax.get_window_extent() for ax in axs.flat]
    assert not [1 for b in boxes for im in images if b.overlaps(im)]
    assert not [1 for i,a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]


@pytest.mark.parametrize('n,nrows,figsize', [(20,10,(6,3)), (40,4,(20,1)), (5,1,[3,1])])
def test_titles_leave_half_of_a_small_figure_to_the_images(n, nrows, figsize):
    axs = show_images(torch.rand(n,64,64), nrows=nrows, titles=range(n), figsize=figsize)
    size = axs[0,0].figure.get_size_inches()
    assert (size<=np.add(figsize, 1e-6)).all() and size.max()>.3
    assert axs[0,0].get_position(original=True).height*size[1]>=.4*figsize[1]/nrows


def test_titles_of_given_axes_fit_too():
    ax = plt.figure().subfigures(1, 2)[0].subplots(1, 4)[0]
    assert show_image(STEP, ax=ax, title='a rather long title').title.get_fontsize()==5
    assert show_image(STEP, ax=ax, title='b').title.get_fontsize()==12


def test_images_of_several_shapes_have_room():
    axs = show_images([torch.rand(200,20), torch.rand(20,200), torch.rand(64,64)])
    assert min(ax.get_position(original=True).width*ax.figure.get_figwidth() for ax in axs.flat)>1.2


def test_showing_changes_nothing():
    video = torch.randn(3,1,8,8)
    before = video.clone()
    show_images(video), animate(video)
    assert torch.equal(video, before)


@pytest.mark.parametrize('call,match', [
    (lambda: show_images([]), 'ims is empty'), (lambda: show_images(torch.zeros(0,8,8)), 'ims is empty'), (lambda: show_images(torch.zeros(3)), r'shape \(3,\)'),
    (lambda: show_images(torch.zeros(2,2,8,8,8,8)[0,0,0,0,0]), 'shape'), (lambda: show_image(torch.zeros(5,8,8)), r'im has shape \(5, 8, 8\)'),
    (lambda: show_images(torch.zeros(2,8,8), nrows=0), 'nrows=0'), (lambda: show_images(torch.zeros(2,8,8), titles=['a']), 'titles has 1 entries'),
    (lambda: animate(torch.zeros(2,8,8), fps=0), 'fps=0'), (lambda: animate(torch.zeros(2,8,8), fps=100), 'fps=100'), (lambda: animate(torch.zeros(2,8,8), zoom=0), 'zoom=0'),
    (lambda: animate([]), 'frames is empty'), (lambda: animate([torch.zeros(4,4), torch.zeros(5,5)]), 'frames differ in shape'), (lambda: animate(torch.zeros(2,8,8), fps=.01), 'fps=0.01'), (lambda: set_seed(-1), 'seed=-1'), (lambda: set_seed(2**32), 'seed=4294967296')], ids=lambda o: None)
def test_invalid_arguments_are_refused(call, match):
    with pytest.raises(ValueError, match=match): call()


@pytest.mark.parametrize('ims', ['abc', dict(a=STEP), 5, None, [STEP, 'abc']], ids=str)
def test_values_that_are_not_images_are_refused(ims):
    with pytest.raises(TypeError, match='(?s)ims=.*expected images'): show_images(ims)


def test_bytes_next_to_floats():
    axs = show_images([STEP, STEP.float()/255])
    for ax in axs.flat: np.testing.assert_allclose(shown(ax), STEP.numpy()/255, atol=1e-6)


def test_videos_fill_rows():
    video = torch.zeros(4,1,8,8)
    for ims in ([video]*3, torch.stack([video]*3), torch.stack([video]*3)[:,:,0]): assert show_images(ims).shape==(3,4)


@pytest.mark.parametrize('fps,ms', [(10,100), (40,20), (15,70), (12,80), (8,120), (50,20), (.5,2000)])
def test_gif_speed_is_the_nearest_possible(fps, ms): assert frames_of(animate(torch.stack([STEP, STEP.T]), fps=fps))[1]['duration']==ms


def frames_of(gif):
    im = Image.open(io.BytesIO(gif))
    out = []
    for i in range(im.n_frames):
        im.seek(i)
        out.append(np.asarray(im.convert('L')))
    return out,im.info


@pytest.mark.parametrize('form', [lambda v: v, lambda v: v[:,0], list, lambda v: (v.float()/255 - .1)/.3, lambda v: v.expand(-1,3,-1,-1)], ids=['TCHW','THW','list','normalised','colour'])
def test_animations_show_each_frame(form):
    video = torch.stack([STEP.roll(i, 1) for i in range(4)])[:,None]
    gif = animate(form(video), fps=10, zoom=3)
    got,info = frames_of(gif)
    assert len(got)==4 and info['duration']==100 and info['loop']==0 and got[0].shape==(12,12)
    for a,b in zip(got, video[:,0]): np.testing.assert_allclose(a[1::3,1::3], b, atol=3)


def test_three_grey_frames_are_three_frames():
    assert len(frames_of(animate(torch.stack([STEP, STEP.T, STEP.flip(0)])))[0])==3


def test_many_videos_play_side_by_side():
    got,_ = frames_of(animate(torch.randint(256, (5,3,1,8,8), dtype=torch.uint8), zoom=1))
    assert len(got)==3 and got[0].shape==(17,26)
    assert frames_of(animate([torch.zeros(3,1,8,8)]*4, zoom=1))[0][0].shape==(17,17)


def test_gifs_play_in_notebooks(tmp_path):
    gif = animate(torch.zeros(2,8,8))
    assert isinstance(gif, GIF) and gif._repr_html_().startswith('<img src="data:image/gif;base64,R0lGOD')
    save_gif(torch.zeros(2,8,8), tmp_path/'new'/'a.gif')
    assert (tmp_path/'new'/'a.gif').read_bytes()==gif and os.listdir(tmp_path/'new')==['a.gif']


def test_a_file_appears_only_when_complete(tmp_path):
    with atomic_path(tmp_path/'a.txt') as tmp:
        with open(tmp, 'w') as f: f.write('new')
        assert not (tmp_path/'a.txt').exists()
    assert os.listdir(tmp_path)==['a.txt'] and (tmp_path/'a.txt').read_text()=='new'


def test_a_failed_write_keeps_the_old_file(tmp_path):
    (tmp_path/'a.txt').write_text('old')
    with pytest.raises(OSError):
        with atomic_path(tmp_path/'a.txt') as tmp:
            with open(tmp, 'w') as f: f.write('half')
            raise OSError
    assert os.listdir(tmp_path)==['a.txt'] and (tmp_path/'a.txt').read_text()=='old'


def test_to_device_keeps_the_nesting():
    Pair = collections.namedtuple('Pair', 'a b')
    nest = dict(x=[torch.zeros(1), 'word', None], y=Pair(torch.zeros(2), (torch.zeros(3),)), z=collections.defaultdict(list, k=torch.zeros(4)), o=collections.OrderedDict(k=torch.zeros(5)), n=collections.Counter(a=2))
    moved = to_device(nest, 'meta')
    tensors = [moved['x'][0], moved['y'].a, moved['y'].b[0], moved['z']['k'], moved['o']['k']]
    assert all(t.device.type=='meta' for t in tensors) and [len(t) for t in tensors]==[1,2,3,4,5]
    assert moved['x'][1:]==['word',None] and type(moved['y']) is Pair and type(moved['z']) is collections.defaultdict and moved['z']['new']==[]
    assert nest['x'][0].device.type=='cpu' and moved['n']==collections.Counter(a=2)


@pytest.mark.parametrize('name', ['a.mp4','a','a.gif.png'])
def test_save_gif_refuses_other_suffixes(tmp_path, name):
    with pytest.raises(ValueError, match='path=.*ends in .gif'): save_gif(np.zeros((2,4,4)), tmp_path/name)
    assert not list(tmp_path.iterdir())


def test_rounding_errors_are_clipped_and_not_stretched():
    from torch_moving_mnist.utils import to_unit
    assert to_unit([np.array([[-1e-6,.5,1+1e-6]])])[0].tolist()==[[0,.5,1]]


@pytest.mark.parametrize('channels', [1,3])
def test_every_frame_of_a_gif_is_kept(tmp_path, channels):
    g = torch.Generator().manual_seed(0)
    a,b = (torch.randint(0, 2, (channels,6,5), generator=g)*1. for _ in range(2))
    video = torch.stack([a,a,b,b,b,a,torch.zeros_like(a),torch.zeros_like(a)])
    save_gif(video, tmp_path/'a.gif', zoom=1)
    with Image.open(tmp_path/'a.gif') as im:
        assert im.n_frames==8 and im.info['duration']==100
        shown = np.stack([np.asarray((im.seek(i), im.convert('RGB'))[1]) for i in range(8)])
    expected = (video.numpy()*255).astype(np.uint8).transpose(0,2,3,1)
    assert (shown==(expected if channels==3 else expected.repeat(3, -1))).all()
