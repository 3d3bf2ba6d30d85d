"The motion 'collide' against a plain Python version, one sequence at a time, and against the laws that it keeps"
import itertools, math, pickle

import numpy as np
import pytest
import torch

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import ink_circles
from torch_moving_mnist.draw import draw_scene
from torch_moving_mnist.loops import collide_discs
from torch_moving_mnist.motion import check_motion, check_room
from torch_moving_mnist.rng import Philox
from torch_moving_mnist.scene import Scene, concatenate, select_frames

LEFT,RIGHT,TOP,BOTTOM = 1,2,4,8


# ---- Smallest circles

def scalar_circle(image):
    "The smallest of all circles through two or three points that holds all points"
    points = sorted({(x+i, y+j) for y,row in enumerate(image) for x,v in enumerate(row) if v for i in (-1,1) for j in (-1,1)})
    def through(p, q, r=None):
        if r is None: x,y = (p[0]+q[0])/2,(p[1]+q[1])/2
        else:
            d = 2*(p[0]*(q[1]-r[1]) + q[0]*(r[1]-p[1]) + r[0]*(p[1]-q[1]))
            if not d: return None
            a,b,c = (o[0]**2 + o[1]**2 for o in (p, q, r))
            x,y = (a*(q[1]-r[1]) + b*(r[1]-p[1]) + c*(p[1]-q[1]))/d,(a*(r[0]-q[0]) + b*(p[0]-r[0]) + c*(q[0]-p[0]))/d
        return math.dist((x,y), p),x,y
    candidates = filter(None, (through(*o) for n in (2,3) for o in itertools.combinations(points, n)))
    r,x,y = min(o for o in candidates if all(math.dist(o[1:], p)<=o[0] + 1e-9 for p in points))
    return x - (len(image[0])-1)/2,y - (len(image)-1)/2,r


@pytest.mark.parametrize('size', [(5,6),(1,7),(6,1),(4,4),(1,1)], ids=str)
def test_circles_equal_a_search(size):
    g = torch.Generator().manual_seed(0)
    images = (torch.rand(40, 1, *size, generator=g)<torch.linspace(.03, .5, 40).view(-1,1,1,1)).byte()*9
    images = images[images.flatten(1).any(1).bool()]
    assert len(images)>8 or size==(1,1)
    for im,circle in zip(images, ink_circles(images).tolist()): assert circle==pytest.approx(scalar_circle(im[0].tolist()), abs=1e-9)


def test_circles_hold_every_corner_and_touch_two(source):
    digits = MovingMNIST(**source, seed=0).digits.images[:3000]
    circles = ink_circles(digits)
    n,y,x = (digits[:,0]>0).nonzero(as_tuple=True)
    far = torch.zeros(len(digits), dtype=torch.float64)
    for i,j in itertools.product((-1,1), repeat=2):
        distance = torch.hypot(x+i-13.5-circles[n,0], y+j-13.5-circles[n,1])
        assert (distance<=circles[n,2] + 1e-9).all()
        far.scatter_reduce_(0, n, distance, 'amax')
    torch.testing.assert_close(far, circles[:,2], rtol=1e-12, atol=0)


def test_circles_of_colours_and_of_images_without_ink():
    images = torch.zeros(4,3,9,7, dtype=torch.uint8)
    images[0,2,4,3] = images[1,0,1,2] = images[1,1,1,4] = 1 # The ink of one is in the blue channel, that of the other in red and green
    circles = ink_circles(images)
    assert circles[0].tolist()==pytest.approx([0, 0, 2**.5]) and circles[1].tolist()==pytest.approx([0, -3, 5**.5])
    assert circles[2:].tolist()==[[0,0,3.5]]*2 # The circle that fits into the image
    assert torch.equal(ink_circles(images.flip(0).transpose(2,3).contiguous().transpose(2,3)), circles.flip(0))


# ---- Cases to check by hand

def moved(start, radius, T, size=(64,64)):
    "Positions `(K,T,2)`, walls `(K,T)`, collisions `(K,K,T)`"
    start,K = np.array([start], float),len(start)
    path,walls,met = np.empty((1,K,T,2)),np.zeros((1,K,T), np.uint8),np.zeros((1,K,K,T), np.uint8)
    memory = np.empty((K,5)),np.empty(K, np.int64),np.empty(K),np.empty(K, np.int64)
    collide_discs(start, np.array([radius], float), float(size[0]), float(size[1]), *memory, path, walls, met)
    return path[0],walls[0],met[0]


def test_equal_discs_exchange_velocities_head_on():
    path,walls,met = moved([(-6,1,2,0), (6,1,-1,0)], (3,3), 5) # They touch after two frames
    assert path[:,:,0].tolist()==[[-6,-4,-2,-3,-4], [6,5,4,6,8]] and (path[:,:,1]==1).all()
    assert met[0,1].tolist()==met[1,0].tolist()==[0,0,1,0,0] and not met[[0,1],[0,1]].any() and not walls.any()


def test_a_disc_at_rest_takes_over():
    path,_,met = moved([(-10,0,4,0), (0,0,0,0)], (2,2), 4) # Touch after 1.5 frames, at -4
    assert path[:,:,0].tolist()==[[-10,-6,-4,-4], [0,0,2,6]] and met[0,1].tolist()==[0,0,1,0]


def test_a_heavy_disc_hardly_slows_down():
    path,*_ = moved([(-10,0,4,0), (0,0,0,0)], (3,1), 5) # Mass 9 to 1: 4·8/10 and 4·18/10; touch after 1.5 frames
    assert np.allclose(path[:,:,0], [[-10,-6,-4+.5*3.2,-4+1.5*3.2,-4+2.5*3.2], [0,0,.5*7.2,1.5*7.2,2.5*7.2]], atol=1e-12)


def test_a_glancing_blow():
    "The line between the centres has the slope 3/4: of the velocity (5,0), (3.2,2.4) goes on to the other disc, and (1.8,-2.4) remains"
    path,_,met = moved([(-13,-3,5,0), (0,0,0,0)], (2.5,2.5), 5) # Touch after 1.8 frames, in (-4,-3)
    assert np.allclose(path[0,2:], [(-4 + 1.8*s, -3 - 2.4*s) for s in (.2,1.2,2.2)], atol=1e-12)
    assert np.allclose(path[1,2:], [(3.2*s, 2.4*s) for s in (.2,1.2,2.2)], atol=1e-12) and met[0,1].tolist()==[0,0,1,0,0]


def test_walls_turn_one_component():
    path,walls,met = moved([(0,0,4,-8)], (2,), 6, (20,36)) # The centre stays within ±8 and ±16
    assert path[0].tolist()==[[0,0],[4,-8],[8,-16],[4,-8],[0,0],[-4,8]] # A corner, exactly at frame 2
    assert walls[0].tolist()==[0,0,RIGHT+TOP,0,0,0] and not met.any()
    path,walls,_ = moved([(7,0,-30,0)], (2,), 2, (20,20)) # 15 to the left wall, 15 back
    assert path[0,1].tolist()==[7,0] and walls[0].tolist()==[0,LEFT]
    path,walls,_ = moved([(7,0,-40,0)], (2,), 2, (20,20))
    assert path[0,1].tolist()==[-1,0] and walls[0,1]==LEFT+RIGHT # 15 to the left wall, 16 to the right one, 9 back
    assert moved([(0,7,0,1.5)], (2,), 2, (20,20))[1].tolist()==[[0,BOTTOM]]


def test_a_row_of_discs_passes_the_blow_on():
    path,walls,met = moved([(-20,0,4,0), (-10,0,0,0), (-6,0,0,0), (-2,0,0,0)], (2,)*4, 4) # Newton's cradle: the last three touch
    assert path[:,3,0].tolist()==[-14,-10,-6,-2+4*1.5] and met[:,:,2].tolist()==[[0,1,0,0],[1,0,1,0],[0,1,0,1],[0,0,1,0]]


def test_discs_at_rest_and_empty_slots_do_nothing():
    path,walls,met = moved([(0,0,0,0), (1,1,9,9), (10,0,0,0)], (3,0,4), 3) # The second slot is empty
    assert (path[[0,2]]==path[[0,2],:1]).all() and not walls.any() and not met.any()


# ---- A scalar version

def scalar_start(tries, u, radii, W, H, speed):
    "Places of the filled slots, or where random places fail, one cell for each"
    def random_places(tries):
        places = {}
        for k,r in enumerate(radii):
            for a,b in tries[k] if r else ():
                p = (a-.5)*(W-2*r),(b-.5)*(H-2*r)
                if all(math.dist(p, q)>=r + radii[j] for j,q in places.items()):
                    places[k] = p
                    break
            if r and k not in places: return None
        return places
    places = next(filter(None, map(random_places, tries)), None)
    in_cells = places is None
    if in_cells:
        places,side = {},2*max(radii) + 1
        columns,rows = int(W/side),int(H/side)
        cells = list(range(columns*rows))
        for k,r in enumerate(radii):
            if not r: continue
            row,column = divmod(cells.pop(int(u[k][0]*len(cells))), columns)
            left,top = column*W/columns - W/2,row*H/rows - H/2
            places[k] = left + r + u[k][1]*(W/columns - 2*r),top + r + u[k][2]*(H/rows - 2*r)
    velocities = {k: [(speed[0] + (speed[1]-speed[0])*u[k][3])*f(2*math.pi*u[k][4]) for f in (math.cos, math.sin)] for k in places}
    return {k: list(p) for k,p in places.items()},velocities,in_cells


def scalar_collide(p, v, radii, T, W, H):
    "All discs move to the next event of any, again and again; nothing is remembered between events. Positions, walls, pairs that have met, and the number of such hits so far"
    frames,now,walls,met,hits = [],0.,{k: 0 for k in p},set(),0
    while True:
        events = [(float(len(frames)) - now, 2, None, None)]
        for k in p:
            for i,side in enumerate((W, H)):
                end = side/2 - radii[k]
                if v[k][i]>0: events.append(((end - p[k][i])/v[k][i], 0, k, i))
                if v[k][i]<0: events.append(((-end - p[k][i])/v[k][i], 0, k, i))
        for k,j in itertools.combinations(p, 2):
            d,w = [b-a for a,b in zip(p[k], p[j])],[b-a for a,b in zip(v[k], v[j])]
            a,b,c = w[0]**2 + w[1]**2,d[0]*w[0] + d[1]*w[1],d[0]**2 + d[1]**2 - (radii[k] + radii[j])**2
            if b<0 and b*b>a*c: events.append(((-b - math.sqrt(b*b - a*c))/a, 1, k, j))
        wait,kind,k,j = min(events, key=lambda o: o[:2])
        for i in p: p[i] = [x + u*wait for x,u in zip(p[i], v[i])]
        now += wait
        if kind==2:
            frames.append(({i: tuple(o) for i,o in p.items()}, walls, met, hits))
            walls,met = {i: 0 for i in p},set()
            if len(frames)==T: return frames
        elif kind==0:
            walls[k] |= ((LEFT,RIGHT),(TOP,BOTTOM))[j][v[k][j]>0]
            v[k][j] = -v[k][j]
        else:
            met.add((k,j))
            hits += 1 # A fast pair may meet twice between two frames
            n = [(b-a)/(radii[k] + radii[j]) for a,b in zip(p[k], p[j])]
            m,o = radii[k]**2,radii[j]**2
            along = sum((a-b)*c for a,b,c in zip(v[k], v[j], n))*2/(m+o)
            v[k],v[j] = [a - along*o*c for a,c in zip(v[k], n)],[a + along*m*c for a,c in zip(v[j], n)]


CASES = {'two': dict(canvas_size=(64,64), num_digits=[2]), 'three': dict(canvas_size=(64,64), num_digits=[1,3]), 'cells': dict(canvas_size=(60,62), num_digits=[4]),
         'one': dict(canvas_size=(40,31), num_digits=[1]), 'wide': dict(canvas_size=(40,150), num_digits=[4,2]), 'fast': dict(canvas_size=(64,90), num_digits=[3], motion_params=dict(speed=(20,30)))}


@pytest.mark.parametrize('case', CASES)
def test_equals_the_scalar_version(case):
    """A collision of two discs multiplies a difference between two paths by about the distance that a disc goes between collisions, divided by its radius; more if it
    is glancing: here by about five on average, and once by 500. So frames are compared until a sequence has had more than four collisions, where 1e-14 has grown to 1e-11"""
    B,T,kw,N = 150,40,CASES[case],30
    g = torch.Generator().manual_seed(1)
    circles = torch.cat([torch.rand(N, 2, generator=g, dtype=torch.float64)*6 - 3, torch.rand(N, 1, generator=g, dtype=torch.float64)*8 + 6], 1)
    scene = draw_scene(7, range(B), num_frames=T, num_images=N, digit_size=(28,28), motion='collide', circles=circles, **kw)
    (H,W),K,speed = kw['canvas_size'],max(kw['num_digits']),check_motion('collide', motion_params=kw.get('motion_params'))[1]['speed']
    rng,compared,cells = Philox(7, torch.arange(B), stream=1),0,0
    tries,u = (rng.uniform(*o).tolist() for o in ((8,K,8,2), (K,5)))
    for b in range(B):
        radii = [circles[i,2].item() if i>=0 else 0 for i in scene.digit[b].tolist()]
        p,v,in_cells = scalar_start(tries[b], u[b], radii, W, H, speed)
        cells += in_cells
        for t,(places,walls,met,hits) in enumerate(scalar_collide(p, v, radii, T, W, H)):
            if hits>4: break
            for k,place in places.items():
                assert (scene.translate[b,k,t] + circles[scene.digit[b,k],:2]).tolist()==pytest.approx(place, abs=1e-9)
                assert scene.bounces[b,k,t]==walls[k]
            assert {(i,j) for i,j in scene.collisions[b,:,:,t].nonzero().tolist() if i<j}==met
            compared += t>0
    assert compared>dict(fast=150).get(case, 900) and (cells>20)==(case=='cells')


# ---- Laws

def energy_and_momentum(ds, scene):
    "Of each step between two frames: energy `(B,T-1)`, momentum `(B,T-1,2)`, whether no disc hits anything `(B,T-1)`"
    filled = scene.digit>=0
    mass = ds.circles[scene.digit,2]**2*filled
    v = scene.translate.diff(dim=2)
    free = ((scene.bounces==0) & ~scene.collisions.any(2) | ~filled[...,None]).all(1)[:,1:]
    return (mass[...,None]*v.square().sum(-1)).sum(1),(mass[...,None,None]*v).sum(1),free


def test_ten_thousand_scenes_keep_the_laws(source):
    ds = MovingMNIST(**source, motion='collide', num_digits=[1,2,3], num_frames=30, seed=3, normalize=False, length=10_000)
    scene = ds.draw(indices=range(10_000))
    circles,filled = ds.circles[scene.digit],scene.digit>=0
    at,r = scene.translate + circles[:,:,None,:2],circles[...,2]
    distance = (at[:,:,None] - at[:,None]).norm(dim=-1) - (r[:,:,None] + r[:,None])[...,None]
    pair = filled[:,:,None] & filled[:,None] & ~torch.eye(3, dtype=torch.bool)
    assert distance[pair].min()>-1e-6 and distance[pair].min()<.01
    assert (at.abs().amax((2,3)) + r)[filled].max()<32 + 1e-6
    energy,momentum,free = energy_and_momentum(ds, scene)
    first = free.int().argmax(1, keepdim=True)
    assert free.any(1).float().mean()>.99 and (energy/energy.gather(1, first) - 1)[free].abs().max()<1e-9
    speed = (energy.gather(1, first)/(r**2*filled).sum(1, keepdim=True)).sqrt()[free.any(1)]
    assert 2<=speed.min() + 1e-9 and speed.max()<=5 + 1e-9
    group = ((scene.bounces>0) & filled[...,None]).any(1).cumsum(1)[:,:-1] # Steps with the same number of frames with wall hits before them
    ends = [momentum.new_full((10_000,31,2), -o*1e9).scatter_reduce(1, torch.where(free, group, 30)[...,None].expand_as(momentum), momentum*1., how)[:,:30]
            for o,how in ((1,'amax'), (-1,'amin'))]
    there = ends[0]>-1e9
    assert (ends[0] - ends[1])[there].max()<1e-9*momentum.abs().max() and there.sum()>60_000
    assert torch.equal(scene.collisions, scene.collisions.transpose(1,2)) and not scene.collisions[:,range(3),range(3)].any()
    assert not scene.collisions[~pair].any() and scene.collisions[...,1:].any((1,2)).float().mean()>.05
    assert not scene.collisions[...,0].any() and not scene.bounces[...,0].any()


def test_velocities_change_only_at_hits():
    ds = MovingMNIST(digits='fonts', motion='collide', num_digits=3, num_frames=40, seed=0, normalize=False)
    scene = ds.draw(indices=range(300))
    turned = (scene.translate.diff(n=2, dim=2).abs().amax(-1)>1e-9)
    hit = (scene.bounces>0) | scene.collisions.any(2)
    hit = hit[:,:,1:-1] | hit[:,:,2:] # In either of the two steps
    assert not (turned & ~hit).any() and (turned | ~hit).float().mean()>.99 # Some hits in one step cancel each other


def plus(side):
    "Images of thin lines, whose corners reach the edge of their disc"
    y,x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing='ij')
    return torch.stack([(x==y), (x==side//2) | (y==side//2), (x==0), (y==side-1) & (x>3), (x==2) & (y==5), (x+y)%7==0]).byte()[:,None]*255


@pytest.mark.parametrize('interpolation', ['bilinear','nearest'])
@pytest.mark.parametrize('kw', [{}, dict(digits='fonts', digit_size=(20,24), img_size=(70,101), num_digits=[3,4]), dict(digits=(plus(14).repeat(7,1,1,1), torch.arange(42)), num_digits=6, img_size=(70,75)),
                                dict(composite='over', num_digits=4)], ids=['digits','resized','lines','over'])
def test_rendered_digits_never_overlap(source, interpolation, kw):
    ds = MovingMNIST(**{**source, **dict(motion='collide', num_digits=3, num_frames=20, seed=1, normalize=False, interpolation=interpolation), **kw})
    scene = ds.draw(indices=range(300) if len(ds)>=300 else [i%len(ds) for i in range(len(ds))])
    truth = ds.truth(scene, ['overlap','masks','visibility','collisions'])
    K = scene.digit.shape[1]
    assert not truth['overlap'][:,~torch.eye(K, dtype=torch.bool)].any() and truth['collisions'].any() and torch.equal(truth['collisions'], scene.collisions)
    assert (truth['masks'].sum(1)<=1).all() and (truth['visibility'][scene.digit>=0]==1).all() # All of the ink is on the canvas, and nothing hides it


def test_the_rim_of_one_pixel_is_needed():
    "With discs around the ink itself, digits would overlap: the bar is not lower than it seems"
    ds = MovingMNIST(digits='fonts', motion='collide', num_digits=3, num_frames=20, seed=1, normalize=False)
    tight = ds.circles - torch.tensor([0,0,1.5])
    scene = draw_scene(1, range(300), [3], 20, len(ds.digits), (28,28), (64,64), 'collide', circles=tight)
    assert ds.truth(scene, 'overlap')['overlap'][:,~torch.eye(3, dtype=torch.bool)].any()


# ---- Settings

def fonts(**kw): return MovingMNIST(**{**dict(digits='fonts', motion='collide', num_digits=[1,2,3], num_frames=6, normalize=False, seed=0), **kw})


def test_sequences_do_not_depend_on_the_batch(monkeypatch):
    ds = fonts(num_frames=50)
    many = ds.draw(indices=range(500)) # Several chunks
    for i in (0,77,499):
        alone = ds.draw(indices=[i])
        for k in ('digit','translate','bounces','collisions'): assert torch.equal(getattr(alone, k)[0], getattr(many, k)[i]), k
    assert torch.equal(fonts(num_frames=7).draw(indices=range(50)).translate, many.translate[:50,:,:7])


def test_an_empty_slot_takes_no_part():
    model,p = check_motion('collide')
    digit = torch.tensor([[3,-1,5],[-1,2,-1]])
    def draw(circle): return model.draw(Philox(0, torch.arange(2)), 3, torch.arange(30).double(), canvas_size=(64,64), circle=circle, digit=digit, **p)
    a = torch.tensor([1.,-2,9]).double().expand(2,3,3)
    b = a.where(digit[...,None]>=0, torch.tensor([30.,30,400]).double())
    for k,o in draw(a).items():
        assert torch.equal(o, draw(b)[k]) and o.isfinite().all()
        if k!='translate': assert not o[digit<0].any()
    assert draw(a)['collisions'][0,0,2].any() and not draw(a)['collisions'][1].any()


@pytest.mark.parametrize('kw', [dict(num_digits=1), dict(num_digits=[1,4]), dict(img_size=(37,150), num_digits=4), dict(img_size=(200,31), num_digits=3), dict(digit_size=(9,20), num_digits=9), dict(num_frames=1), dict(num_frames=200),
                                dict(motion_params=dict(speed=(0,0))), dict(motion_params=dict(speed=(100,100))), dict(split='test', color='random'), dict(img_size=300, num_digits=64)], ids=str)
def test_settings(kw):
    ds = fonts(**kw)
    (H,W),scene = ds.canvas_size,ds.draw(indices=range(40))
    circles,filled = ds.circles[scene.digit],scene.digit>=0
    at,r = scene.translate + circles[:,:,None,:2],circles[...,2]
    assert ((at.abs().amax(2) + r[...,None])[filled]<=torch.tensor([W,H])/2 + 1e-6).all()
    distance = (at[:,:,None] - at[:,None]).norm(dim=-1) - (r[:,:,None] + r[:,None])[...,None]
    K = filled.shape[1]
    assert (distance[filled[:,:,None] & filled[:,None] & ~torch.eye(K, dtype=torch.bool)]>-1e-6).all()
    assert ds[3].shape[0]==ds.num_frames and torch.equal(pickle.loads(pickle.dumps(ds))[3], ds[3])
    if kw.get('motion_params')==dict(speed=(0,0)): assert (scene.translate==scene.translate[:,:,:1]).all()


def test_images_without_ink_take_part():
    images = torch.zeros(70,1,12,16, dtype=torch.uint8)
    images[::2,:,3:9,4:12] = 200
    ds = MovingMNIST(digits=images, motion='collide', num_digits=3, num_frames=30, seed=0, normalize=False)
    assert ds.circles[1].tolist()==[0,0,6] and ds.draw(indices=range(20)).collisions.any()
    black = MovingMNIST(digits=images*0, motion='collide', num_digits=3, num_frames=3, seed=0, normalize=False)
    assert not black[0].any() and (black.circles==torch.tensor([0,0,6])).all()


def test_speeds_are_drawn_from_the_range():
    ds = fonts(num_digits=1, num_frames=2, motion_params=dict(speed=(1,9)), img_size=400)
    scene = ds.draw(indices=range(2000))
    v = scene.translate.diff(dim=2)[:,0,0][(scene.bounces==0).all(-1)[:,0]]
    speed,turn = v.norm(dim=-1),torch.atan2(v[:,1], v[:,0])
    assert 1<=speed.min()<1.1 and 8.9<speed.max()<=9 and abs(speed.mean() - 5)<.25 and abs(speed.std() - 8/12**.5)<.15
    assert abs(turn.std() - 2*math.pi/12**.5)<.1


def test_more_digits_than_fit_are_refused():
    message = r"num_digits=5 with canvas_size=\(64, 64\); expected at most 4: motion='collide' needs a cell of 30.0 × 30.0 pixels"
    with pytest.raises(ValueError, match=message): fonts(num_digits=[1,5])
    with pytest.raises(ValueError, match=r'num_digits=1 with canvas_size=\(28, 28\); expected at most 0'): fonts(num_digits=1, img_size=28)
    with pytest.raises(ValueError, match=r'num_digits=3 with canvas_size=\(29, 64\); expected at most 2'): draw_scene(0, [0], [3], 2, 9, (28,28), (29,64), 'collide')
    ds = fonts(num_digits=4)
    with pytest.raises(ValueError, match='num_digits=5 .*expected at most 4'): ds.num_digits = [2,5]
    assert ds.num_digits==[4] and fonts(motion='bounce', num_digits=50)[0].shape==(6,1,64,64)
    assert check_room(torch.tensor([4,1]), torch.tensor([15.5,31.5]).double(), (64,64)).tolist()==[[2,2],[1,1]]
    with pytest.raises(ValueError, match='num_digits=4.*at most 1'): check_room(torch.tensor([4,1]), torch.tensor([15.6,15.6]).double(), (64,64))


def test_as_many_digits_as_fit_never_fail():
    side = 2*15*2 + 2 # Two cells of 2·14.5+1 and a little
    ds = fonts(num_digits=4, img_size=(60,side), num_frames=3)
    assert ds.draw(indices=range(2000)).translate.isfinite().all()


@pytest.mark.parametrize('speed,error,message', [((-1,2), ValueError, r'speed=\(-1, 2\); expected a range .* from 0 to 100'), ((0,101), ValueError, 'from 0 to 100'), ((3,2), ValueError, 'lo ≤ hi'), (3, TypeError, 'speed=3; expected a range'), (('a','b'), TypeError, 'speed=')], ids=str)
def test_wrong_speeds_are_refused(speed, error, message):
    with pytest.raises(error, match=message): fonts(motion_params=dict(speed=speed))


def test_other_motions_need_no_circles():
    assert fonts(motion='bounce').circles is None and fonts(motion='trajgru').circles is None and fonts().ink is None


# ---- The field `collisions` of a Scene

def test_scenes_keep_collisions(tmp_path):
    ds = fonts(num_frames=30, num_digits=3)
    scene = ds.draw(indices=range(8))
    scene.save(tmp_path/'a.npz')
    again = Scene.load(tmp_path/'a.npz')
    assert again.collisions.dtype==torch.bool and torch.equal(again.collisions, scene.collisions) and scene.collisions.any()
    assert torch.equal(scene[[5,2]].collisions, scene.collisions[[5,2]]) and torch.equal(concatenate([scene[:3], scene[3:]]).collisions, scene.collisions)
    assert torch.equal(select_frames(scene, torch.tensor([0,29])).collisions, scene.collisions[...,[0,29]])
    assert f'collisions {scene.collisions.sum().item()//2}' in repr(scene) and scene.to('meta').collisions.device.type=='meta'
    assert torch.equal(Scene(**vars(scene)).collisions, scene.collisions) and torch.equal(Scene(**{**vars(scene), 'collisions': scene.collisions.tolist()}).collisions, scene.collisions)
    assert fonts(motion='bounce').draw(1).collisions is None and 'collisions' not in repr(fonts(motion='bounce').draw(1))


@pytest.mark.parametrize('change,error,message', [(lambda o: o.long(), TypeError, r'collisions holds torch.int64; expected True and False, \(B,K,K,T\)'), (lambda o: o[:,:2], ValueError, 'collisions has shape'),
                                                  (lambda o: 'x', TypeError, "collisions='x'; expected True and False"), (lambda o: o.to('meta'), ValueError, 'several devices')], ids=['whole numbers','shape','text','device'])
def test_wrong_collisions_are_refused(change, error, message):
    scene = fonts().draw(2)
    with pytest.raises(error, match=message): Scene(**{**vars(scene), 'collisions': change(scene.collisions)})


def test_the_target_is_false_for_other_motions():
    for motion in ('affine','bounce'):
        found = fonts(motion=motion, targets='collisions').get_batch(4)[1]['collisions']
        assert found.dtype==torch.bool and found.shape==(4,3,3,6) and not found.any()
    ds = fonts(num_frames=30, targets=['collisions'])
    assert torch.equal(ds[3][1]['collisions'], ds.draw(indices=[3]).collisions[0])
    assert fonts(normalize='measured').stats[0][0]>0


# ---- Functions that ask for facts about the digits

def by_label(rng, num_digits, times, *, label, digit, circle, pace=1, **_):
    "A class is a speed, an image a turn, a radius a brightness"
    start = 9*rng.uniform(num_digits, 2)
    ones = torch.ones_like(times)
    return dict(translate=start[:,:,None] + pace*label[...,None,None]*times[:,None], angle=digit[...,None]*ones, gain=circle[...,2:]*ones/20)


def test_functions_get_what_they_name(source):
    ds = MovingMNIST(**source, motion=by_label, motion_params=dict(pace=2), num_digits=[1,3], num_frames=5, seed=2, normalize=False)
    scene = ds.draw(indices=range(30))
    u = Philox(2, torch.arange(30), stream=1).uniform(3, 2).tolist()
    for b,row in enumerate(scene.digit.tolist()):
        for k,i in enumerate(row):
            label = ds.digits.labels[i].item() if i>=0 else -1
            for t in range(5): assert scene.translate[b,k,t].tolist()==pytest.approx([9*o + 2*label*t for o in u[b][k]]) and scene.angle[b,k,t]==i
            if i>=0: assert scene.gain[b,k,0].item()==pytest.approx(ink_circles(ds.digits.images[[i]])[0,2].item()/20)
    assert (scene.digit<0).any() and torch.equal(ds.draw(indices=[7]).translate[0], scene.translate[7])


def test_nothing_is_computed_that_is_not_named():
    seen = []
    def look(rng, num_digits, times, **others):
        seen.append(others)
        return dict(translate=torch.zeros(2, num_digits, len(times), 2))
    ds = fonts(motion=look)
    assert seen[-1].keys()=={'num_frames','canvas_size','digit_size','ink'} and ds.ink is None and ds.circles is None
    def four(rng, num_digits, times, num_frames, canvas_size, digit_size, ink): return look(rng, num_digits, times)
    fonts(motion=four) # No **_, and none of the new names
    def changes(rng, num_digits, times, *, digit, label, circle, **_):
        for o in (digit, label, circle): o.fill_(3)
        return dict(translate=torch.zeros(*digit.shape, len(times), 2))
    ds = fonts(motion=changes)
    labels,circles = ds.digits.labels.clone(),ds.circles.clone()
    assert torch.equal(ds.draw(indices=[0,1]).digit, fonts(motion='bounce').draw(indices=[0,1]).digit)
    assert torch.equal(labels, ds.digits.labels) and torch.equal(circles, ds.circles)


def test_wrong_uses_of_the_names_are_refused():
    images = torch.ones(9,8,8, dtype=torch.uint8)
    with pytest.raises(ValueError, match='motion=by_label asks for label, but the digits have no labels'): MovingMNIST(digits=images, motion=by_label, normalize=False)
    with pytest.raises(ValueError, match="key of motion_params='label' is an argument that the library passes"): fonts(motion=by_label, motion_params=dict(label=3))
    with pytest.raises(ValueError, match="key of motion_params='num_frames' is an argument"): fonts(motion=by_label, motion_params=dict(num_frames=3))
    with pytest.raises(TypeError, match='cannot be called'): fonts(motion=lambda digit, num_digits, times, **_: {})
    def free(rng, num_digits, times, **kw): return dict(translate=torch.full((2,num_digits,len(times),2), kw['label']*1.))
    assert (fonts(motion=free, motion_params=dict(label=3)).draw(2).translate==3).all() # Not named, so the name is free


@pytest.mark.parametrize('value,message', [(lambda x: x.long(), 'returned collisions torch.int64; expected bool'), (lambda x: x[...,0], r'returned collisions \(2, 3, 3\); expected a tensor \(2, 3, 3, 6\)')], ids=['dtype','shape'])
def test_a_function_may_return_collisions(value, message):
    def bumps(change=lambda x: x):
        def f(rng, num_digits, times, **_):
            u = rng.uniform(num_digits)
            met = (u[:,:,None] + u[:,None]>1)[...,None].expand(-1,-1,-1,len(times))
            return dict(translate=torch.zeros(*u.shape, len(times), 2), collisions=change(met))
        return f
    scene = fonts(motion=bumps(), num_digits=3).draw(2)
    assert scene.collisions.shape==(2,3,3,6) and scene.collisions.any()
    with pytest.raises(ValueError, match=message): fonts(motion=bumps(value), num_digits=3)
