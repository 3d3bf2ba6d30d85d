"The viewer's page: what it holds, read in Python, and what it shows and does, in headless Chromium where that is installed"
import base64, html, importlib.resources, json, re, zlib

import numpy as np
import pytest
from browsers import chromium
import torch
from matplotlib.colors import to_hex, to_rgb
from torchvision.transforms import v2

from torch_moving_mnist import truth
from torch_moving_mnist.truth import as_sample, viewer
from torch_moving_mnist.viewer import Viewer, fill, pack

TEMPLATE = importlib.resources.files('torch_moving_mnist').joinpath('viewer.html').read_text(encoding='utf-8')
TARGETS = ['labels','boxes','modal_boxes','modal_masks','masks','instance','flow','flow_valid','backward_flow','caption','pose','visibility']
NAMES = ['</script><b>zero', *'abcdefghi']


def unpack(packed):
    "The array that `pack` packed; NaN for hundredths that are nowhere"
    raw = zlib.decompress(base64.b64decode(packed['data']))
    if packed['kind']=='bits': return np.unpackbits(np.frombuffer(raw, np.uint8), count=int(np.prod(packed['shape']))).reshape(packed['shape'])>0
    if packed['kind']=='bytes': return np.frombuffer(raw, np.uint8).reshape(packed['shape'])
    x = np.frombuffer(raw, '<i4').reshape(packed['shape'])
    return np.where(x==-2**31, np.nan, x/100)


def read(page):
    "Data in a page, and its overlays by name, with arrays unpacked"
    data = json.loads(re.search('<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    overlays = {o['name']: {k: unpack(v) if isinstance(v, dict) else v for k,v in o.items()} for o in data['overlays']}
    return data, unpack(data['frames']), overlays


def with_points(target, T, K=3, N=4):
    "Ground truth with boxes that leave the canvas, and with tracks of which some points are hidden"
    g = torch.Generator().manual_seed(0)
    full = torch.rand(K, T, 4, generator=g)*30 - 15
    full[...,2:] = full[...,:2] + 28
    tracks = 10 + 40*torch.rand(K, N, T, 2, generator=g)
    return {**target, 'full_boxes': full.flatten(0,1), 'tracks': tracks, 'tracks_visible': torch.rand(K, N, T, generator=g)<.5, 'caption_syncdraw': 'digit 3 <i>moves</i>'}


@pytest.fixture
def sequence(fonts):
    "Frames and all that can be drawn, of a sequence of 5 frames with 3 digits"
    ds = fonts(num_digits=3, targets=TARGETS, motion='bounce')
    frames,target = ds[1]
    return frames, with_points(target, 5)


# ---- What a page holds

def test_frames_and_masks_in_the_page_are_equal(sequence):
    frames,target = sequence
    data,video,overlays = read(viewer(frames, target).page)
    assert np.array_equal(video, frames[:,0].numpy()) and (data['fps'],data['zoom'])==(10,4)
    for name in 'modal_masks','masks': assert np.array_equal(overlays[name]['masks'], target[name].numpy())
    instance = read(viewer(frames, {'instance': target['instance']}).page)[2]['instance']['masks']
    assert np.array_equal(instance, target['modal_masks'].numpy()[:len(instance)]) and len(instance)==target['instance'].max()


def test_positions_in_the_page_are_right_to_a_hundredth(sequence):
    frames,target = sequence
    overlays = read(viewer(frames, target).page)[2]
    for name in 'boxes','modal_boxes','full_boxes':
        x = target[name].reshape(3, 5, 4).numpy()
        there = (x[...,2]>x[...,0]) & (x[...,3]>x[...,1])
        assert np.array_equal(np.isnan(overlays[name]['boxes']).all(-1), ~there) and there.any()
        assert np.abs(overlays[name]['boxes'] - x)[there].max()<=.00501
    assert np.abs(overlays['tracks']['points'] - target['tracks'].numpy() - .5).max()<=.00501
    assert np.array_equal(overlays['tracks']['visible'], target['tracks_visible'].numpy())
    for name,one in ('flow',target['flow']),('backward_flow',target['backward_flow']):
        arrows = overlays[name]['arrows'][:-1] if name=='flow' else overlays[name]['arrows'][1:]
        assert np.isnan(overlays[name]['arrows'][-1 if name=='flow' else 0]).all()
        found = {(t, *o) for t in range(4) for o in arrows[t].round(2).tolist() if o[0]==o[0]}
        valid = target.get(f'{name}_valid')
        expected = {(t, x+.5, y+.5, *(round(float(v)*100)/100 for v in one[t,:,y,x])) for t in range(4) for y in range(2,64,5) for x in range(2,64,5)
                    if one[t,:,y,x].any() and (valid is None or valid[t,y,x])}
        assert len(found)==len(expected)>0
        assert np.abs(np.array(sorted(found)) - np.array(sorted(expected))).max()<=.0101


@pytest.mark.parametrize('entry', ['boxes','full_boxes','tracks','pose'])
def test_trails_follow_what_is_there(sequence, entry):
    frames,target = sequence
    trail = read(viewer(frames, {entry: target[entry]}).page)[2]['trails']['points']
    for k in range(3):
        for t in range(5):
            if entry=='pose': x = target['pose']['translate'][k,t] + 32
            elif entry=='tracks': x = target['tracks'][k,:,t].mean(0) + .5
            else:
                left,top,right,bottom = target[entry].reshape(3,5,4)[k,t].tolist()
                x = torch.tensor([left+right, top+bottom])/2 if right>left else torch.tensor([torch.nan]*2)
            assert np.allclose(trail[k,t], x, atol=.0051, equal_nan=True)


def test_empty_slots_are_nowhere(fonts):
    ds = fonts(num_digits=[1,3], targets=['labels','pose'])
    frames,target = next(o for o in (ds[i] for i in range(20)) if (o[1]['labels']<0).any())
    overlays = read(viewer(frames, target).page)[2]
    empty = target['labels'].numpy()<0
    assert np.array_equal(np.isnan(overlays['trails']['points']).all((1,2)), empty) and [not o for o in overlays['labels']['texts']]==empty.tolist()
    assert np.isnan(read(viewer(frames, {'digit': target['labels'], 'tracks': torch.ones(3,2,5,2)}).page)[2]['trails']['points']).all((1,2)).tolist()==empty.tolist()


def test_overlays_are_those_that_the_target_has(sequence):
    frames,target = sequence
    def on(target): return {k: o['on'] for k,o in read(viewer(frames, target).page)[2].items()}
    assert on({})=={} and on({'visibility': 3, 'anything': object()})=={}
    assert on({'flow': target['flow']})=={'flow': True}
    assert on({'labels': target['labels']})=={} # Nothing says where they are
    assert on({'labels': target['labels'], 'tracks': target['tracks']})=={'trails': True, 'tracks': True, 'labels': True}
    assert on(target)=={'modal_masks': True, 'masks': False, 'flow': False, 'backward_flow': False, 'trails': True, 'boxes': True,
                        'modal_boxes': False, 'full_boxes': False, 'tracks': False, 'labels': True, 'caption': True, 'caption_syncdraw': False}


def test_frames_of_any_kind_look_as_show_truth_shows_them(fonts):
    frames = fonts()[0]
    def video(x): return read(viewer(x, {}).page)[1]
    expected = frames[:,0].numpy()
    for same in frames/255., list(frames), frames.numpy(), frames[:,0,:,:,None].numpy(), frames.double()/255, list(frames[:,0].numpy()), frames.bfloat16()/255:
        assert np.abs(video(same).astype(int) - expected).max()<=(isinstance(same, torch.Tensor) and same.dtype==torch.bfloat16)
    assert np.array_equal(video(frames.float()*7 - 3), expected)
    color = torch.arange(2*3*4*5, dtype=torch.uint8).reshape(2,3,4,5)
    assert np.array_equal(video(color), color.permute(0,2,3,1).numpy())


def test_ground_truth_of_any_kind(sequence):
    frames,target = sequence
    page = viewer(frames, target).page
    tensors = {k: o for k,o in target.items() if isinstance(o, torch.Tensor)}
    rest = {k: o for k,o in target.items() if k not in tensors}
    assert viewer(frames, {**rest, **{k: np.asarray(o) for k,o in tensors.items()}}).page==page
    assert viewer(frames, {**rest, **{k: o.double() if o.is_floating_point() else o for k,o in tensors.items()}}).page==page
    assert viewer(frames, {**rest, **{k: o.byte() if o.dtype==torch.bool else o for k,o in tensors.items()}}).page==page
    half = read(viewer(frames, {'boxes': target['boxes'].as_subclass(torch.Tensor).bfloat16().requires_grad_()}).page)[2]['boxes']['boxes']
    assert np.nanmax(np.abs(half - target['boxes'].reshape(3,5,4).numpy()))<.3
    try:
        torch.set_default_device('meta')
        assert viewer(frames, target).page==page
    finally: torch.set_default_device(None)


def test_numbers_that_are_not_finite_are_nowhere(fonts):
    tracks = torch.tensor([[[[torch.nan,1], [torch.inf,1], [1e30,-1e30], [2,3], [4,5]]]])
    points = read(viewer(fonts()[0], {'tracks': tracks}).page)[2]['tracks']['points'][0,0]
    assert np.isnan(points[:2,0]).all() and points[2].tolist()==[1e6,-1e6] and points[3:].tolist()==[[2.5,3.5],[4.5,5.5]]


def test_pack_is_exact_where_it_can_be():
    g = np.random.default_rng(0)
    for x in g.random((3,5,7))<.5, g.integers(0, 256, (2,9), np.uint8), np.zeros((0,4)), np.zeros((0,3), bool), g.integers(-10**5, 10**5, (4,4))/100:
        assert np.array_equal(unpack(json.loads(json.dumps(pack(x)))), x)


def test_sizes(fonts):
    ds = fonts(num_digits=3, num_frames=20, motion='bounce', targets=TARGETS)
    frames,target = ds[0]
    assert len(viewer(frames, {}).page.encode())<60_000
    assert len(viewer(frames, with_points(target, 20, N=32)).page.encode())<300_000


def test_text_cannot_leave_its_place(sequence):
    frames,target = sequence
    evil = '</script><b>"{{data}}" & <!--<script>'
    target = {**target, 'caption': evil, 'labels': torch.tensor([0,1,0])}
    page = viewer(frames, target, names=NAMES).page
    assert page.count('</script>')==TEMPLATE.count('</script>') and '<b>' not in page and page.count('<!--')==TEMPLATE.count('<!--')
    overlays = read(page)[2]
    assert overlays['caption']['text']==evil and overlays['labels']['texts']==[NAMES[0],'a',NAMES[0]]
    assert fill('<b>"&', {}).count('&lt;b&gt;&quot;&amp;')==3


def test_structure_of_the_page(sequence):
    page = viewer(*sequence).page
    assert page.startswith('<!doctype html>\n<html lang="en">') and '<title>5 frames of 64 × 64 pixels</title>' in page
    assert not re.search(r'https?:|\bsrc=|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|innerHTML|eval\(', page)
    assert '{{' not in page and "default-src 'none'" in page
    ids = re.findall(r'\bid="(\w+)"', page)
    assert len(set(ids))==len(ids) and set(re.findall(r'for="(\w+)"', page))<=set(ids) and set(re.findall(r"\$\('(\w+)'\)", page))<=set(ids)
    assert '<title>1 frame of 64 × 64 pixels</title>' in viewer(sequence[0][:1], {}).page


def test_colours_are_those_of_the_plots():
    colors = re.findall('#[0-9a-f]{6}', re.search(r'COLORS = \[(.*?)\]', TEMPLATE)[1])
    assert colors==[to_hex(f'C{k}') for k in range(10)]


def test_a_notebook_gets_a_frame_of_its_own(sequence):
    shown = viewer(*sequence)
    assert isinstance(shown, Viewer) and re.fullmatch(r'Viewer of 5 frames of 64 × 64 pixels, [\d,]+ bytes', repr(shown))
    one = re.fullmatch(r'<iframe srcdoc="([^"]*)" title="([^"]*)" sandbox="allow-scripts" style="[^"<]*"></iframe>', shown._repr_html_())
    assert html.unescape(one[1])==shown.page and one[2]==shown.title


def test_save(sequence, tmp_path):
    shown = viewer(*sequence)
    for name in 'a.html','new/b.HTML': # A new folder is created
        shown.save(tmp_path/name)
        assert (tmp_path/name).read_text(encoding='utf-8')==shown.page
    for bad in 'a.txt',tmp_path,5,None,'\0.html':
        with pytest.raises(ValueError, match='path=.*expected'): shown.save(bad)
    (tmp_path/'folder.html').mkdir()
    with pytest.raises(ValueError, match='is a folder'): shown.save(tmp_path/'folder.html')
    assert sorted(o.name for o in tmp_path.iterdir())==['a.html','folder.html','new']


def test_what_is_not_one_sequence_is_refused(fonts, sequence):
    frames,target = sequence
    batch,many = fonts(targets=[o for o in TARGETS if o!='pose']).get_batch(2)
    for name in TARGETS[:9]:
        with pytest.raises(ValueError, match=rf"target\['{name}'\] has shape .* expected ground truth of one sequence of 5 frames of 64×64 pixels"): viewer(batch[0], {name: many[name]})
    with pytest.raises(ValueError, match=r'frames has shape \(2, 5, 1, 64, 64\)'): viewer(batch, many)
    for name in 'boxes','full_boxes','tracks','tracks_visible','masks','modal_masks','instance','flow','flow_valid','backward_flow':
        with pytest.raises(ValueError, match=rf"target\['{name}'\] has shape .*of 3 frames"): viewer(frames[:3], {name: target[name][:14] if name in ('boxes','full_boxes') else target[name]})
    for name in 'masks','modal_masks','instance','flow','flow_valid','backward_flow':
        with pytest.raises(ValueError, match=rf"target\['{name}'\] has shape .*of 32×64 pixels"): viewer(frames[:,:,:32], {name: target[name]})
    with pytest.raises(ValueError, match=r"target\['translate'\] has shape"): viewer(frames[:3], {'pose': target['pose']})
    for name in 'tracks','labels':
        with pytest.raises(ValueError, match=rf"target\['{name}'\] has 2 entries; expected 3, one for each digit"): viewer(frames, {**target, name: target[name][:2]})


@pytest.mark.parametrize('change,error,message', [
    (dict(frames=[]), ValueError, 'frames is empty'), (dict(frames='video'), TypeError, 'expected images'), (dict(frames=torch.zeros(2,1,0,4)), ValueError, 'frames|ims|im has shape'),
    (dict(frames=[torch.zeros(1,4,4), torch.zeros(1,4,5)]), ValueError, r'frames differ in shape: \[\(4, 4\), \(4, 5\)\]; expected images of one shape'),
    (dict(target=None), TypeError, 'target=None; expected a dict of ground truth'), (dict(target={'boxes': 3}), TypeError, r"target\['boxes'\]=3; expected a tensor or an array"),
    (dict(target={'tracks': torch.zeros(1,1,5,2, device='meta')}), TypeError, r"target\['tracks'\]=.*with data"),
    (dict(target={'caption': ['One.','Two.']}), TypeError, r"target\['caption'\]=\['One.', 'Two.'\]; expected the sentence of one sequence"),
    (dict(names='ab'), TypeError, "names='ab'; expected a list of words"), (dict(names=['a']), ValueError, r"names=\['a'\]; expected a word for each class, at least"),
    (dict(fps=0), ValueError, 'fps=0; expected a number from 0.1 to 50'), (dict(fps='fast'), TypeError, "fps='fast'"), (dict(zoom=33), ValueError, 'zoom=33; expected a whole number'),
    (dict(zoom=1.5), TypeError, 'zoom=1.5'), (dict(frames=torch.zeros(1,1,4,1024), target={}, zoom=32), ValueError, 'zoom=32 makes the canvas 32,768 pixels wide or high; expected at most 16,384')])
def test_wrong_arguments_are_refused_by_name(sequence, change, error, message):
    arguments = {**dict(zip(('frames','target'), sequence)), **change}
    with pytest.raises(error, match=message): viewer(arguments.pop('frames'), arguments.pop('target'), **arguments)


def test_transformed_samples_and_batches(fonts):
    ds = fonts(num_digits=2, targets=['labels','boxes','modal_masks'])
    frames,target = v2.Compose([v2.RandomHorizontalFlip(1), v2.Resize((96,96))])(*ds[3])
    overlays = read(viewer(frames, target).page)[2]
    assert np.array_equal(overlays['modal_masks']['masks'], target['modal_masks'].numpy()) and overlays['modal_masks']['masks'].shape[2:]==(96,96)
    batch,many = ds.get_batch(3)
    assert read(viewer(batch[1], as_sample(many, 1, (64,64))).page)[2].keys()==overlays.keys()
    assert truth.viewer is viewer and 'viewer' in truth.__all__


# ---- In a browser, on a system that asks for reduced motion


@pytest.fixture(scope='module')
def browser():
    with chromium('--force-prefers-reduced-motion') as browser: yield browser


@pytest.fixture
def visit(browser, tmp_path):
    "A function that saves HTML, opens it, and returns the page once its viewers have started. In the end there must be no message and no request but for the file"
    opened = []

    def visit(text, motion='null', size=(1000,900), **kw):
        path = tmp_path/f'page{len(opened)}.html'
        path.write_text(text, encoding='utf-8')
        context = browser.new_context(reduced_motion=motion, viewport=dict(width=size[0], height=size[1]), **kw)
        page,messages,requests = context.new_page(),[],[]
        page.on('console', lambda o: messages.append(o.text))
        page.on('pageerror', lambda o: messages.append(str(o)))
        page.on('request', lambda o: requests.append(o.url))
        page.goto(path.as_uri())
        for frame in page.frames if '<iframe' in text else [page.main_frame]:
            if frame.parent_frame or '<iframe' not in text: frame.wait_for_selector('#frame[aria-valuetext]')
        opened.append((context, messages, requests, path.as_uri()))
        return page
    yield visit
    for context,messages,requests,url in opened:
        context.close()
        assert not messages and {o for o in requests if o!='about:srcdoc' and not o.startswith('data:')}=={url}


def canvas(page):
    "The picture, `(H,W,3)` uint8"
    size,values = page.evaluate('''() => {
        const shown = document.getElementById('picture'), copy = new OffscreenCanvas(shown.width, shown.height).getContext('2d', {willReadFrequently: true});
        copy.drawImage(shown, 0, 0);
        let text = '';
        for (const o of copy.getImageData(0, 0, shown.width, shown.height).data) text += String.fromCharCode(o);
        return [[shown.height, shown.width], btoa(text)];
    }''')
    rgba = np.frombuffer(base64.b64decode(values), np.uint8).reshape(*size, 4)
    assert (rgba[...,3]==255).all()
    return rgba[...,:3]


def switch_off(page):
    for box in page.locator('#overlays input').all(): box.uncheck()


def now(page): return int(page.locator('#frame').input_value())


def said(page): return page.locator('#status').text_content()


def enlarged(image, zoom): return np.broadcast_to((image if image.ndim==3 else image[...,None]), (*image.shape[:2], 3)).repeat(zoom, 0).repeat(zoom, 1)


@pytest.mark.parametrize('zoom', [1,3])
def test_pixels_on_the_canvas_are_those_of_the_frames(visit, sequence, zoom):
    frames,target = sequence
    page = visit(viewer(frames, target, zoom=zoom).page)
    switch_off(page)
    for t in range(5):
        assert now(page)==t and np.array_equal(canvas(page), enlarged(frames[t,0].numpy(), zoom))
        page.keyboard.press('ArrowRight')


def test_pixels_of_colour_frames(visit):
    frames = torch.randint(256, (2,3,6,9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(canvas(visit(viewer(frames, {}, zoom=2).page)), enlarged(frames[0].permute(1,2,0).numpy(), 2))


def test_masks_tint_the_pixels_of_their_slots(visit, sequence):
    frames,target = sequence
    page = visit(viewer(frames, target, zoom=1).page)
    switch_off(page)
    for name in 'modal_masks','masks':
        page.get_by_label(name.replace('_', ' '), exact=True).check()
        expected = enlarged(frames[0,0].numpy(), 1).astype(float)
        for k in range(3): expected = np.where(target[name][k,0].numpy()[...,None], .45*expected + .55*255*np.array(to_rgb(f'C{k}')), expected)
        assert np.abs(canvas(page) - expected).max()<=1
        page.get_by_label(name.replace('_', ' '), exact=True).uncheck()


def test_each_check_box_changes_the_canvas_where_it_should(visit, sequence):
    frames,target = sequence
    overlays = read(viewer(frames, target).page)[2]
    page = visit(viewer(frames, target, zoom=4).page)
    page.keyboard.press('ArrowRight') # Frame 1 has forward and backward flow, and trails of two points
    switch_off(page)
    plain = canvas(page)
    y,x = (np.mgrid[:256,:256] + .5)/4 # Pixel edges of the frame
    def near(points, distance):
        found,reach = np.zeros((256,256), bool), int(4*distance) + 2
        for px,py in points:
            at = tuple(slice(max(int(4*o)-reach, 0), max(int(4*o)+reach, 0)) for o in (py,px))
            found[at] |= np.hypot(x[at]-px, y[at]-py)<=distance
        return found
    def inside(box, grow): return (x>=box[0]-grow) & (x<=box[2]+grow) & (y>=box[1]-grow) & (y<=box[3]+grow)
    def line(a, b): return [(a[0] + s*(b[0]-a[0]), a[1] + s*(b[1]-a[1])) for s in np.linspace(0, 1, 30)]
    allowed = {o: np.any([inside(box, 1) & ~inside(box, -1) for box in overlays[o]['boxes'][:,1]], 0) for o in ('boxes','modal_boxes','full_boxes')}
    allowed |= {o: target[o][:,1].any(0).numpy().repeat(4, 0).repeat(4, 1) for o in ('modal_masks','masks')}
    allowed |= {o: near([p for a in overlays[o]['arrows'][1] if a[0]==a[0] for p in line(a[:2], a[:2]+a[2:])], 2) for o in ('flow','backward_flow')}
    allowed['trails'] = near([p for path in overlays['trails']['points'] for p in line(*path[:2])], 1.5)
    allowed['tracks'] = near(overlays['tracks']['points'][:,:,1].reshape(-1, 2), 1.5)
    allowed['labels'] = np.any([inside((px, max(py,3)-3, px+4, max(py,3)+1), 1.5) for px,py in overlays['labels']['points'][:,1]], 0)
    for name,where in allowed.items():
        box = page.get_by_label(name.replace('_', ' '), exact=True)
        box.check()
        changed = (canvas(page)!=plain).any(-1)
        assert changed.sum()>20 and not changed[~where].any(), name
        box.uncheck()
        assert np.array_equal(canvas(page), plain)
    for name in 'caption','caption_syncdraw':
        text = page.locator('#texts').get_by_text(target[name], exact=True)
        assert not text.is_visible()
        page.get_by_label(name.replace('_', ' '), exact=True).check()
        assert text.is_visible()


def test_visible_points_are_filled_and_hidden_ones_hollow(visit):
    tracks = torch.tensor([[[[5.,5]], [[15.,5]]]])
    shown = canvas(visit(viewer(torch.zeros(1,1,12,22), {'tracks': tracks, 'tracks_visible': torch.tensor([[[True],[False]]])}, zoom=8).page))
    assert (shown[44,44]==np.round(np.array(to_rgb('C0'))*255)).all() and not shown[44,124].any() and shown[44,128].any()


def test_boxes_are_drawn_in_the_colour_of_their_slot(visit):
    boxes = torch.tensor([[2.,2,10,8], [12.,3,20,9], [0.,0,0,0]])
    shown = canvas(visit(viewer(torch.zeros(1,1,12,24), {'boxes': boxes}, zoom=8).page))
    for k,(left,top) in enumerate([(2,5), (12,6)]): assert (shown[8*top,8*left]==np.round(np.array(to_rgb(f'C{k}'))*255)).all()
    assert not shown[:10,:10].any() # Where the box without area would be


def test_keys_step_and_the_live_region_speaks(visit, sequence):
    page = visit(viewer(*sequence).page)
    assert now(page)==0 and said(page)==''
    for key,frame in dict(ArrowRight=1, End=4, ArrowLeft=3, Home=0).items():
        page.keyboard.press(key)
        assert now(page)==frame and said(page)==f'Frame {frame} of 0 to 4' and page.locator('#count').text_content()==f'{frame} / 4'
        assert page.locator('canvas').get_attribute('aria-label').startswith(f'Frame {frame} of 0 to 4; ')
    page.keyboard.press('ArrowLeft')
    assert now(page)==0
    for name,frame in dict(Next=1, Last=4, Back=3, First=0).items():
        page.get_by_role('button', name=name, exact=True).click()
        assert now(page)==frame and said(page)==f'Frame {frame} of 0 to 4'
    page.keyboard.press('Control+End')
    assert now(page)==0
    page.get_by_label('Frame', exact=True).press('End') # The slider's own key
    assert now(page)==4 and page.locator('#frame').get_attribute('aria-valuetext')=='Frame 4 of 0 to 4'
    page.locator('#frame').press('ArrowLeft')
    assert now(page)==3
    page.get_by_label('Speed').focus()
    page.keyboard.press('ArrowRight')
    assert now(page)==3 # The list of speeds keeps the key
    box = page.get_by_label('trails')
    box.press(' ')
    assert not box.is_checked() and page.locator('#play').text_content()=='Play'
    box.press('ArrowLeft')
    assert now(page)==2


def test_keys_do_not_scroll_the_page(visit, sequence):
    page = visit(viewer(*sequence).page, size=(380,300))
    for key in 'End',' ',' ':
        page.keyboard.press(key)
        page.wait_for_timeout(150)
        assert page.evaluate('scrollY')==0
    page.keyboard.press('PageDown') # Which the viewer leaves to the page
    for _ in range(50): # The page's policy forbids the scripts in strings with which Playwright would wait
        if not page.evaluate('scrollY'): page.wait_for_timeout(100)
    assert page.evaluate('scrollY')>0


def test_space_plays_and_the_live_region_is_silent(visit, sequence):
    page = visit(viewer(*sequence, fps=20).page)
    page.keyboard.press(' ')
    assert page.get_by_role('button', name='Pause').is_visible()
    seen = page.evaluate('''() => new Promise(done => {
        const seen = [], count = document.getElementById('count');
        new MutationObserver(() => { if (seen.push(parseInt(count.textContent)) == 8) done(seen); }).observe(count, {childList: true});
    })''')
    assert all(b==(a+1)%5 for a,b in zip(seen, seen[1:])) and said(page)=='' # It starts again after the last frame
    page.keyboard.press(' ')
    stopped = now(page)
    assert said(page)==f'Frame {stopped} of 0 to 4'
    page.wait_for_timeout(200)
    assert now(page)==stopped and page.get_by_role('button', name='Play', exact=True).is_visible()
    page.get_by_role('button', name='Play', exact=True).press(' ') # A button keeps the key: pressed once, not twice
    assert page.get_by_role('button', name='Pause').is_visible()
    page.keyboard.press('ArrowRight')
    assert page.get_by_role('button', name='Play', exact=True).is_visible()


def test_speed_and_reduced_motion(visit, sequence):
    slow = visit(viewer(*sequence, fps=.1).page, motion='no-preference')
    assert slow.get_by_role('button', name='Pause').is_visible() and now(slow)==0 # It plays by itself, a frame in 10 seconds
    still = visit(viewer(*sequence, fps=50).page)
    still.wait_for_timeout(200)
    assert now(still)==0 and still.locator('#play').text_content()=='Play'
    def delays(page): # What the page asks of its timer
        page.evaluate('() => { window.delays = []; const set = window.setInterval; window.setInterval = (f, delay) => { window.delays.push(delay); return set(f, delay); }; }')
        for speed in '¼×','4×':
            page.get_by_label('Speed').select_option(speed)
        return page.evaluate('() => window.delays')
    assert delays(slow)==[40_000,2500] and delays(still)==[]
    one = visit(viewer(sequence[0][:1], {}).page, motion='no-preference')
    assert one.locator('#play').text_content()=='Play' # A single frame has nothing to play


def test_two_viewers_in_a_page_are_independent(visit, sequence):
    frames,target = sequence
    both = [viewer(frames, target, zoom=1), viewer(frames.flip(-1), {}, zoom=2)]
    page = visit('<!doctype html><title>Two</title><style>* { display: none } html, body, iframe { display: block }</style>' + ''.join(o._repr_html_() for o in both))
    one,two = page.frames[1:]
    one.locator('#next').click()
    page.keyboard.press('ArrowRight')
    assert (now(one), now(two), said(two))==(2,0,'')
    assert np.array_equal(canvas(two), enlarged(frames[0,0].flip(-1).numpy(), 2))
    switch_off(one)
    two.locator('#last').click()
    assert (now(one), now(two))==(2,4) and np.array_equal(canvas(one), enlarged(frames[2,0].numpy(), 1))


def test_text_is_shown_as_text(visit, sequence):
    frames,target = sequence
    evil = '</script><b id="evil">bold</b><img src="http://localhost/x">'
    page = visit(viewer(frames, {**target, 'caption': evil, 'labels': torch.tensor([0,1,0])}, names=NAMES).page)
    assert page.locator('#texts').get_by_text(evil, exact=True).is_visible() and not page.locator('#evil, img').count()
    assert '</script><b>zero at ' in page.locator('canvas').get_attribute('aria-label')


@pytest.mark.parametrize('width', [320,380,1000])
@pytest.mark.parametrize('scheme', ['light','dark'])
def test_nothing_is_cut_off_and_every_control_has_a_name(visit, sequence, width, scheme):
    page = visit(viewer(*sequence, zoom=8).page, size=(width,900), color_scheme=scheme)
    assert page.evaluate('document.documentElement.scrollWidth')<=width
    for control in page.locator('button, input, select').all():
        box = control.bounding_box()
        assert 0<=box['x'] and box['x']+box['width']<=width and box['height']>=17
        assert page.evaluate('e => e.labels && e.labels.length ? e.labels[0].textContent : e.textContent', control.element_handle()).strip()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")!='rgb(255, 255, 255)'
    assert dark==(scheme=='dark')


def test_the_focus_is_visible_and_reaches_every_control(visit, sequence):
    page = visit(viewer(*sequence).page)
    reached = []
    for _ in range(page.locator('button, input, select').count()):
        page.keyboard.press('Tab')
        name,width = page.evaluate("() => { const e = document.activeElement; return [e.id || e.name, getComputedStyle(e).outlineWidth]; }")
        assert width=='3px'
        reached.append(name)
    assert reached==['first','back','play','next','last','frame','speed', *read(viewer(*sequence).page)[2]]
