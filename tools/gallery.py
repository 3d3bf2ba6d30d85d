"One list of everything that the gallery shows. Each entry's code is what the page prints, and what makes its picture"
import ast, contextlib, io, os, tempfile, textwrap
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageSequence

from torch_moving_mnist import MovingMNIST
from torch_moving_mnist.digits import load_digits
from torch_moving_mnist.motion import MOTIONS
from torch_moving_mnist.presets import PRESETS
from torch_moving_mnist.truth import TARGETS

WIDTH = 48    # Of a line of code, so that it fits on a card
GLUE = '\0'   # Stands for a space at which no line ends
MNIST_ROOT = os.environ.get('MNIST_ROOT', '.')


def found(name):
    "Whether torchvision finds this set of digits without a download"
    try: return bool(load_digits(name, MNIST_ROOT, download=False))
    except RuntimeError: return False


MNIST = '' if found('mnist') else "digits='fonts', " # What the code of an entry adds where MNIST is missing


@dataclass(frozen=True)
class Entry:
    "One card of the gallery"
    kind: str # Registry: 'preset', 'motion', …
    name: str # Name in the registry
    text: str # What it shows, Markdown
    code: str # Python; what it displays is shown

    @property
    def title(self): return self.name if self.kind in ('preset','motion','source','corruption','target') else f'{self.kind}: {self.name}'

    @property
    def id(self): return f'{self.kind}-{self.name}'.replace('+', 'p').replace('_', '-').replace(' ', '-')


IMPORTS = dict(MovingMNIST='from torch_moving_mnist import MovingMNIST', animate='from torch_moving_mnist.utils import animate',
               viewer='from torch_moving_mnist.truth import viewer', torch='import torch', Image='from PIL import Image, ImageDraw',
               math='import math')


def entry(kind, name, text, code):
    "An entry whose code begins with the imports that it needs, and has short lines where the dataset is made"
    code = short_lines(code.strip())
    used = {o.id for o in ast.walk(ast.parse(code)) if isinstance(o, ast.Name)}
    def order(line): return line.startswith('from torch_moving'), line.startswith('from'), line
    return Entry(kind, name, text, '\n'.join([*sorted((line for k,line in IMPORTS.items() if k in used), key=order), '', code]))


def short_lines(code):
    "Code in which `ds = …` has its arguments on lines of at most WIDTH characters"
    node = next(o for o in ast.parse(code).body if isinstance(o, ast.Assign) and getattr(o.targets[0], 'id', '')=='ds')
    lines,call = code.split('\n'),node.value
    args = [ast.get_source_segment(code, o) for o in [*call.args, *call.keywords]]
    head = f'ds = {ast.get_source_segment(code, call.func)}('
    made = [head + ', '.join(args) + ')']
    if len(made[0])>WIDTH:
        rest = ', '.join(o.replace(' ', GLUE) for o in args) + ')'
        lines_of = textwrap.TextWrapper(WIDTH, '    ', '    ', break_long_words=False, break_on_hyphens=False)
        made = [head, *lines_of.wrap(rest)]
    return '\n'.join([*lines[:node.lineno-1], *(o.replace(GLUE, ' ') for o in made), *lines[node.end_lineno:]])


def sentence(s): return s[:1].upper() + s[1:].rstrip('.') + '.'


# ---- Presets

SKY = "sky = (torch.arange(32)*5 + 40).byte()[None,:,None].expand(3, 32, 32)\n"
PRESET_ARGS = {'mfmnist': "digits='shapes', ", 'mmnist-cifar': f"{MNIST}background=sky, "}
PRESET_NOTES = {'mfmnist': "Fashion-MNIST needs a download, so this example uses shapes. Leave out `digits=` to use Fashion-MNIST.",
                'mmnist-cifar': "It needs background pictures, such as those of CIFAR-10. This example uses a simple sky."}
if found('fashion'): PRESET_ARGS.pop('mfmnist'), PRESET_NOTES.pop('mfmnist')


def presets():
    for name,o in PRESETS.items():
        context = f' A model sees {o.context} of {o.settings["num_frames"]} frames.' if o.context else ''
        before = SKY if name=='mmnist-cifar' else ''
        code = f"{before}ds = MovingMNIST.preset({name!r}, {PRESET_ARGS.get(name, MNIST)}seed=0)\nanimate(ds[0])"
        yield entry('preset', name, ' '.join(filter(None, [sentence(o.source) + context, PRESET_NOTES.get(name)])), code)


# ---- Motion models

MOTION_ARGS = {'affine': "num_digits=3, ", 'velocity': "num_digits=3, ", 'collide': "num_digits=3, "}
OWN_MOTION = '''
def circle(rng, num_digits, times, *, period=20, **_):
    turn = 2*math.pi*(rng.uniform(num_digits, 1) + times/period)
    return dict(translate=15*torch.stack([turn.cos(), turn.sin()], -1))

'''


def motions():
    for name,o in MOTIONS.items():
        args = f"{MNIST}motion={name!r}, {MOTION_ARGS.get(name, 'num_digits=2, ')}"
        code = f"ds = MovingMNIST({args}num_frames=20, normalize=False, seed=4)\nanimate(ds[0])"
        yield entry('motion', name, sentence(o.draw.__doc__), code)
    code = f"{OWN_MOTION}ds = MovingMNIST({MNIST}motion=circle, num_digits=2, num_frames=20, normalize=False, seed=1)\nanimate(ds[0])"
    text = "A motion model can be your own function of random numbers and times. [More](../howto/own-motion.md)"
    yield entry('motion', 'your own function', text, code)


# ---- Where digits overlap, and how their images are sampled

COMPOSITE_TEXTS = dict(max='The brighter pixel is kept.', sum='Pixels are added, and clipped at white.',
                       over='Digits mix by their opacity: the alpha of the image or, without one, its grey level.',
                       opaque='A digit hides everything behind it wherever it has ink, its dark rim included.')
INTERPOLATION_TEXTS = dict(bilinear='Each pixel is a weighted mean of the four nearest ones of the digit image.',
                           nearest='Each pixel is a copy of the nearest one of the digit image.')


def composites():
    for name,text in COMPOSITE_TEXTS.items():
        code = (f"ds = MovingMNIST({MNIST}composite={name!r}, color=[(1,.5,.1), (.2,.6,1)],"
                " motion='bounce', num_digits=4, num_frames=20, normalize=False, seed=0)\nanimate(ds[0])")
        yield entry('composite', name, text, code)


def interpolations():
    for name,text in INTERPOLATION_TEXTS.items():
        code = (f"ds = MovingMNIST({MNIST}interpolation={name!r}, affine_params=dict(scale=(1,2)),"
                " num_digits=1, num_frames=20, normalize=False, seed=3)\nanimate(ds[0])")
        yield entry('interpolation', name, text, code)


# ---- Sources of images

SOURCE_TEXTS = {'mnist': 'Handwritten digits.', 'fashion': 'Fashion-MNIST: ten kinds of clothes.',
                'kmnist': 'KMNIST: ten cursive Japanese characters.',
                'emnist': 'EMNIST, its balanced split: handwritten letters and digits.',
                'qmnist': 'QMNIST: MNIST, with 50,000 more test images.',
                'mnist-binary': 'MNIST with levels above 1 made white.', 'fonts': "Digits from matplotlib's typefaces; no download.",
                'shapes': 'Squares, ellipses, hearts, triangles and stars; no download.'}
DOWNLOADED = [o for o in SOURCE_TEXTS if o not in ('fonts','shapes')]
OWN_IMAGES = {
    'tensor with alpha': ('Your own images: a uint8 tensor `(N,4,h,w)`, the fourth channel of which is alpha.', '''
ball = torch.zeros(7, 4, 28, 28, dtype=torch.uint8)
x = torch.linspace(-1, 1, 28)
y = x[:,None]
ball[:,0] = 255
light = 1 - (x + .4)**2 - (y + .4)**2
ball[:,1] = (200*light.clamp(0, 1)).byte()
ball[:,3] = 255*(x**2 + y**2 < 1)
ds = MovingMNIST(digits=ball, composite='over', motion='collide', num_frames=20, normalize=False, seed=0)
animate(ds[0])'''),
    'list of PIL images': ('A list of PIL images, of any sizes if you give `digit_size`.', '''
def house(color):
    im = Image.new('RGBA', (40,40))
    pen = ImageDraw.Draw(im)
    pen.polygon([(2,20), (20,2), (38,20)], fill='firebrick')
    pen.rectangle([8,20,32,38], fill=color)
    return im

colors = 'gold skyblue plum white tan pink khaki'
houses = [house(o) for o in colors.split()]
ds = MovingMNIST(digits=houses, digit_size=24, composite='over', num_frames=20, normalize=False, seed=0)
animate(ds[0])'''),
    'images with labels and names': ('A pair (images, labels), or a triple (images, labels, names); captions use the names.', '''
bars = torch.zeros(14, 1, 20, 20, dtype=torch.uint8)
bars[::2,:,8:12] = 255      # A horizontal bar
bars[1::2,:,:,8:12] = 255   # A vertical one
ds = MovingMNIST(digits=(bars, torch.arange(14) % 2, ['dash','bar']), motion='bounce', num_digits=2, num_frames=20,
                 normalize=False, seed=0, targets=['caption'])
viewer(*ds[0], zoom=3)''')}


def sources():
    for name,text in SOURCE_TEXTS.items():
        used,note = name,''
        if name in DOWNLOADED and not found(name):
            used = 'shapes' if name=='fashion' else 'fonts'
            note = f"# {name!r} needs a download; this example uses {used}\n"
            text += f' It must be downloaded; the film shows {used}.'
        code = (f"{note}ds = MovingMNIST(digits={used!r}, motion='bounce', num_digits=2, num_frames=20,"
                " normalize=False, seed=0)\nanimate(ds[0])")
        yield entry('source', name, text, code)
    for name,(text,code) in OWN_IMAGES.items(): yield entry('source', name, text, code)


# ---- Colours, backgrounds, foregrounds, lifetimes

STRIPES = '''
tiles = torch.zeros(3, 24, 24, dtype=torch.uint8)
tiles[0] = 90
tiles[2] = (torch.arange(24)*10)[:,None].byte()
tiles[1,:4] = 160
'''
FENCE = '''
fence = torch.zeros(4, 1, 26, dtype=torch.uint8)
bar = torch.tensor([200,140,70,255])   # With alpha
fence[:,:,8:15] = bar[:,None,None]
'''
FIT_TEXTS = dict(tile='Backgrounds that are smaller than the canvas, or drift past their edges, repeat.',
                 mirror='Copies and mirrored copies of the background alternate, without seams.',
                 resize='Backgrounds are first resized to the canvas, with bicubic interpolation.')
WORLD = {'color': [('one', 'One colour for all digits.', '', 'color=(1,.6,.1), '),
                   ('list', 'Each digit draws one of a list of colours.', '', 'color=[(1,.3,.3), (.3,1,.4)], '),
                   ('random', 'Any hue.', '', "color='random', ")],
         'background_fit': [(name, text, STRIPES, f"background=tiles, background_fit={name!r}, drift=(2,2), ")
                            for name,text in FIT_TEXTS.items()],
         'foreground': [('still', 'Pictures with alpha in front of everything hide what is behind them.', FENCE, 'foreground=fence, '),
                        ('drifting', 'With `foreground_drift`, they move.', FENCE, 'foreground=fence, foreground_drift=(2,2), ')],
         'lifetime': [('5 to 10 frames', 'Digits enter and leave.', '', 'lifetime=(5,10), ')]}


def world():
    for kind,rows in WORLD.items():
        for name,text,before,args in rows:
            more = "composite='over', color='random', " if kind in ('background_fit','foreground') else ''
            code = (f"{before}ds = MovingMNIST({MNIST}{args}{more}motion='bounce', num_digits=3, num_frames=20,"
                    " normalize=False, seed=0)\nanimate(ds[0])")
            yield entry(kind, name, text, code)


# ---- Damage

CORRUPTION_TEXTS = dict(noise='Normal numbers are added to each pixel.', missing='Frames are black at random.',
                        hole='A black square at a random place in each frame.', blur='A Gaussian blur.')
CORRUPTION_ARGS = dict(noise='std=.2', missing='probability=.3', hole='size=24', blur='sigma=1.5')
BESIDE = 'The undamaged frames are on the right.'
OWN_DAMAGE = '''
def upside_down(frames, rng):
    return frames.flip(-2)

'''


def corruptions():
    def code(name, params): return (f"ds = MovingMNIST.preset('canonical', {MNIST}corrupt={name}{params}, targets=['clean'], seed=0)\n"
                                    "frames,target = ds[0]\nanimate([frames, target['clean']])")
    for name,text in CORRUPTION_TEXTS.items():
        yield entry('corruption', name, f'{text} {BESIDE}', code(repr(name), f', corrupt_params=dict({CORRUPTION_ARGS[name]})'))
    text = f'A function of frames and random numbers. {BESIDE}'
    yield entry('corruption', 'your own function', text, OWN_DAMAGE + code('upside_down', ''))


# ---- Ground truth

@dataclass(frozen=True)
class Shown:
    "How a target is shown"
    how: str                     # Code that displays `frames` and `target`
    also: tuple = ()             # Other targets that are drawn with it
    args: str = "num_frames=10, composite='over', color='random', " # Settings
    preset: str = 'canonical'
    before: str = ''             # Code
    note: str = ''


VIEW = 'viewer(frames, target, zoom=3)'
GREY = 'num_frames=10, num_digits=3, '
OVER = GREY + "composite='over', "
BEHIND = 'num_frames=10, foreground=fence, foreground_drift=(2,2), '


def both(x): return f'animate([frames/255, {x}])'


def printed(x): return f'display(animate(frames), {x})'


SHOWN = {
    'labels': Shown(VIEW, ('boxes',)),
    'digit': Shown(printed("target['digit']")),
    'count': Shown(printed("target['count']"), args=GREY),
    'pose': Shown(VIEW, ('labels',), preset='affine', args="num_digits=2, ", note='The viewer draws its `translate` as a trail.'),
    'matrix': Shown(printed("target['matrix'][0,:3]"), preset='affine', args='num_digits=1, ',
                    note='The output shows the matrices of the first digit in the first three frames.'),
    'velocity': Shown(printed("target['velocity'][0]"), note='The output shows the velocity of the first digit.'),
    'bounces': Shown(printed("target['bounces']"), args='num_frames=20, '),
    'collisions': Shown(printed("target['collisions'][0,1]"), args="motion='collide', num_frames=20, ",
                        note='The output shows the collisions between the first two digits.'),
    'depth': Shown(printed("target['depth']"), args="num_frames=10, num_digits=3, composite='over', color='random', "),
    'boxes': Shown(VIEW), 'modal_boxes': Shown(VIEW),
    'full_boxes': Shown(VIEW, ('boxes',), preset='affine', args="num_digits=2, affine_params=dict(translate=((-60,60),(-60,60))), "),
    'masks': Shown(VIEW), 'modal_masks': Shown(VIEW), 'instance': Shown(VIEW),
    'segmentation': Shown(both("target['segmentation'][:,None]/10"), args=OVER),
    'visibility': Shown(printed("target['visibility']")),
    'overlap': Shown(printed("target['overlap'][0,1]"), note='The output shows the fraction of the first digit that the second one overlaps.'),
    'flow': Shown(VIEW), 'flow_valid': Shown(both("target['flow_valid'][:,None].float()").replace('frames/', 'frames[:-1]/'), args=OVER),
    'backward_flow': Shown(VIEW),
    'backward_flow_valid': Shown(both("target['backward_flow_valid'][:,None].float()").replace('frames/', 'frames[1:]/'), args=OVER),
    'tracks': Shown(VIEW), 'tracks_visible': Shown(VIEW, ('tracks',), note='Points that are hidden are hollow.'),
    'layers': Shown("animate(list(target['layers']/255))", args=OVER + "color='random', "),
    'cover': Shown("animate(list(target['cover']))", args=OVER),
    'backdrop': Shown(both("target['backdrop']/255"), args="num_frames=10, background=tiles, drift=(2,2), ", before=STRIPES),
    'occluder': Shown(both("target['occluder'].expand_as(frames)"), args=BEHIND, before=FENCE),
    'foreground': Shown(both("target['foreground']/255"), args=BEHIND, before=FENCE),
    'present': Shown(printed("target['present'].int()"), args="num_frames=10, lifetime=(3,6), "),
    'clean': Shown(both("target['clean']/255"), args="num_frames=10, corrupt='noise', "),
    'caption': Shown(VIEW), 'caption_syncdraw': Shown(VIEW)}


def targets():
    for name,o in TARGETS.items():
        if name not in SHOWN: continue # The test of the gallery names it
        shown = SHOWN[name]
        code = (f"{shown.before}ds = MovingMNIST.preset({shown.preset!r}, {MNIST}{shown.args}targets={[name, *shown.also]}, seed=0)\n"
                f"frames,target = ds[34]\n{shown.how}")
        yield entry('target', name, ' '.join(filter(None, [f'`{o.shape}`, {o.dtype}. {sentence(o.meaning)}', shown.note])), code)


# ---- All of it

PAGES = dict(presets=('Presets', 'The datasets of papers, by name.', [presets]), motions=('Motion models', 'How digits move.', [motions]),
             composites=('Overlaps', 'How overlapping digits are combined, and how digit images are sampled.', [composites, interpolations]),
             sources=('Images', 'What moves: digits, letters, clothes, shapes, or your own images.', [sources]),
             world=('World', 'Colours, backgrounds, foregrounds, and the frames in which digits are present.', [world]),
             corruptions=('Damage', 'Damage to the frames that a model sees: noise, missing frames, holes and blur.', [corruptions]),
             targets=('Ground truth', 'All targets that a dataset can return with its frames.', [targets]))


def entries(page=None):
    "Entries of one page of the gallery, or of all"
    return [o for k,(_,_,makers) in PAGES.items() if page in (None, k) for make in makers for o in make()]


FRONT = entry('front', 'digits', 'Nine sequences of one to three digits that move, turn and grow', f'''
ds = MovingMNIST({MNIST}num_frames=20, num_digits=[1,2,3], color='random', normalize=False, seed=42)
animate(ds[:9])''')
EXPLAINED = entry('front', 'viewer', 'A sequence with its ground truth', f'''
known = ['labels','boxes','modal_masks','flow','flow_valid','tracks',
         'tracks_visible','caption']
ds = MovingMNIST.preset('canonical', {MNIST}composite='over', seed=38, targets=known)
frames,target = ds[0]
viewer(frames, target)''')


def run(code):
    "What code displays, as a notebook would: arguments of `display`, and the value of the last line"
    shown = []
    names = dict(display=lambda *args: shown.extend(args), __name__='__main__')
    *body,last = ast.parse(code).body
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        home = os.getcwd()
        os.chdir(MNIST_ROOT if MNIST=='' else folder) # Where the code's `path`, which it leaves out, finds MNIST
        try:
            exec(compile(ast.Module(body, []), '<gallery>', 'exec'), names)
            value = eval(compile(ast.Expression(last.value), '<gallery>', 'eval'), names)
        finally: os.chdir(home)
    return [*shown, *([] if value is None else [value])]


def film_of(gif):
    "Frames of a GIF side by side in one picture, each pixel once; their number and the milliseconds of each"
    im = Image.open(io.BytesIO(gif))
    duration,frames = im.info['duration'],np.stack([np.asarray(o.convert('RGB')) for o in ImageSequence.Iterator(im)])
    zoom = next(z for z in (4,3,2,1) if np.array_equal(frames[:,::z,::z].repeat(z, 1).repeat(z, 2), frames))
    small = frames[:,::zoom,::zoom]
    strip = np.concatenate(list(small), 1)
    grey = (strip==strip[...,:1]).all()
    return Image.fromarray(strip[...,0] if grey else strip), len(frames), duration


def check_names():
    "Names in the registries that have no entry, and entries that are in no registry, as text"
    from torch_moving_mnist.corrupt import CORRUPTIONS
    from torch_moving_mnist.digits import _DRAWN, FAMILY, FITS
    from torch_moving_mnist.engine import COMPOSITES, INTERPOLATIONS
    registries = dict(preset=MovingMNIST.presets(), motion=MOTIONS, composite=COMPOSITES, interpolation=INTERPOLATIONS,
                      source=[*FAMILY, *_DRAWN],  background_fit=FITS, corruption=CORRUPTIONS, target=TARGETS)
    own = {('motion','your own function'), ('corruption','your own function'), *(('source', k) for k in OWN_IMAGES)}
    there = {(k, name) for k,names in registries.items() for name in names}
    shown = {(o.kind, o.name) for o in entries() if o.kind in registries} - own
    return [f'{kind} {name!r} has no entry' for kind,name in sorted(there - shown)] + [
        f'{kind} {name!r} is in no registry' for kind,name in sorted(shown - there)]
