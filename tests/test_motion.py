"Motion models against plain Python versions, one digit and one frame at a time, with the same random words"
import copy, math, pickle, random, warnings

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.data import DataLoader

from torch_moving_mnist import motion as module
from torch_moving_mnist.affine import affine_matrix, affine_power, linear_part, to_pose
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.digits import ink_boxes
from torch_moving_mnist.draw import draw_scene
from torch_moving_mnist.motion import MOTIONS, affine_params, check_motion, velocity_params
from torch_moving_mnist.rng import Philox

SIZES = [((64,64),(28,28)), ((45,101),(28,28)), ((33,40),(7,10)), ((29,64),(28,28)), ((31,36),(28,32))]
WALLS = ['bounce','reflect','stochastic_bounce','subpixel_bounce']
ANY_TIME = ['affine','velocity','reflect','subpixel_bounce']
DEFAULT = dict(num_digits=[1,2,3], num_frames=12, num_images=50, digit_size=(28,28), canvas_size=(64,64))


class Given:
    "A substitute for Philox that returns the given words, for one sequence after another"
    def __init__(self, words): self.left = torch.tensor(words, dtype=torch.int64).reshape(1, -1)
    def words(self, *shape):
        n = math.prod(shape)
        out,self.left = self.left[:,:n],self.left[:,n:]
        out = torch.cat([out, out.new_zeros(1, n - out.shape[1])], 1) # Words beyond the given ones do not matter for the test
        return out.reshape(1, *shape)
    def uniform(self, *shape): return self.words(*shape).double()*2**-32


def word(share): return round(share*2**32)
def pick(i, n): return -(-i*2**32//n) # The first word for which `below(n, word)` is i


def drawn(name, rng, K, T, canvas, digit, times=None, **params):
    "Positions of the top-left corner, `(B,K,T,2)`, from `translate`, and the walls hit, `(B,K,T)`"
    model,p = check_motion(name, motion_params=params)
    t = torch.arange(T, dtype=torch.float64) if times is None else torch.tensor(times, dtype=torch.float64)
    out = model.draw(rng, K, t, num_frames=T, canvas_size=canvas, digit_size=digit, ink=None, **p)
    assert set(out)=={'translate','bounces'} and out['translate'].dtype==torch.float64 and out['bounces'].dtype==torch.uint8
    return out['translate'] + torch.tensor([(canvas[i]-1)/2 - (digit[i]-1)/2 for i in (1,0)], dtype=torch.float64), out['bounces']


def positions(*args, **kw): return drawn(*args, **kw)[0]


LEFT,RIGHT,TOP,BOTTOM = 1,2,4,8


# ---- Golden cases: expected positions for a given start and velocity

def test_bounce_by_hand():
    "Free range 40×40: from (.5,.92) to the right, .2 of the range or 8 pixels per frame; then down into the wall"
    rng = Given([word(.5), word(.92), 0])
    p = positions('bounce', rng, 1, 10, (50,50), (10,10), speed=.2)[0,0]
    # .7 .9 1 .8 .6 .4 .2, then 1e-16 instead of 0 by rounding: the wall is hit a frame later
    assert p[:,0].tolist()==[28, 36, 40, 32, 24, 16, 8, 0, 0, 8]
    assert p[:,1].tolist()==[36]*10                              # Truncated from 36.8
    p,walls = drawn('bounce', Given([word(.5), word(.5), 0]), 1, 8, (50,50), (10,10), speed=.25)
    assert p[0,0,:,0].tolist()==[30, 40, 30, 20, 10, 0, 10, 20] and walls[0,0].tolist()==[0,RIGHT,0,0,0,LEFT,0,0] # Exactly on a wall counts as a hit
    p,walls = drawn('bounce', Given([word(.5), word(.92), word(.25)]), 1, 4, (50,50), (10,10), speed=.2)
    assert p[0,0,:,1].tolist()==[40, 32, 24, 16] and walls[0,0].tolist()==[BOTTOM,0,0,0] # Hits the wall in the first frame


def test_reflect_by_hand():
    "Free range 40×20: .5 + .3t and .25 + 0t"
    p,walls = (o[0,0] for o in drawn('reflect', Given([word(.5), word(.25), 0]), 1, 8, (30,50), (10,10), speed=.3))
    assert walls.tolist()==[0, 0, RIGHT, 0, 0, LEFT, 0, 0]
    assert p[:,0].tolist()==[20, 32, 36, 24, 12, 0, 12, 24] # .5 .8 1.1→.9 1.4→.6 1.7→.3 2 2.3→.3 2.6→.6
    assert p[:,1].tolist()==[5]*8
    p = positions('reflect', Given([word(.5), word(.25), 0]), 1, 8, (30,50), (10,10), [1.5,-2,0], speed=.3)[0,0]
    assert p[:,0].tolist()==[38, 4, 20] # .95, -.1→.1, .5


def test_stochastic_bounce_by_hand():
    "Free range 10×10, from (8,3) with velocity (1,-2)"
    start,v = [pick(8,10), pick(3,10)], [pick(1+4,9), pick(-2+4,9)]
    def frame(x_free, y_free): return [pick(x_free+4,9), pick(y_free+4,9)] # The same word gives 1..4 if the coordinate itself hits a wall
    frames = [[0,0], [0,0], frame(-3,4), [0,0], [0,0]]
    p,walls = (o[0,0] for o in drawn('stochastic_bounce', Given(sum([start, v, *frames], [])), 1, 5, (20,20), (10,10)))
    assert walls.tolist()==[0, 0, RIGHT+TOP, 0, 0]
    # Frame 0: (8,3). Frame 1: (9,1). Frame 2 is at (10,-1): both hit, so (9,0); x draws from 1..4 with the word of -3 among -4..4, which is 1, to the left; y draws 4.
    assert p.tolist()==[[8,3], [9,1], [9,0], [8,4], [7,8]]
    frames = [[0,0], [0,0], [pick(3+4,9), pick(3,4)], [0,0]]
    p = positions('stochastic_bounce', Given(sum([[pick(4,10), pick(3,10)], v, *frames], [])), 1, 4, (20,20), (10,10))[0,0]
    # Only y hits: it draws the largest of 1..4, downwards, and x draws 3
    assert p.tolist()==[[4,3], [5,1], [6,0], [9,4]]


def test_subpixel_bounce_by_hand():
    "Free range 10×10, from (8,3) with velocity (4,-1): x hits after half a frame, y after three"
    start,v = [pick(8,11), pick(3,11)], [pick(4+4,9), pick(-1+4,9)]
    p,walls = (o[0,0] for o in drawn('subpixel_bounce', Given(start + v), 1, 6, (20,20), (10,10), stochastic=False))
    assert walls.tolist()==[0, RIGHT, 0, LEFT+TOP, 0, 0] # x and y are both 0 exactly at frame 3
    assert p.tolist()==[[8,3], [8,2], [4,1], [0,0], [4,1], [8,2]]
    p = positions('subpixel_bounce', Given(start + v), 1, 6, (20,20), (10,10), [.25,.5,-1], stochastic=False)[0,0]
    assert p.tolist()==[[9,3], [10,2], [4,4]] # 2.75→3, 2.5→2: halves round to even
    # Stochastic: x hits at .5 in (10,2.5), and draws 2, made -2, with 3 for y; y hits at 3 in (5,10), and draws -4, with x 1
    draws = [pick(2+4,9), pick(3+4,9), pick(1+4,9), pick(-4+4,9)]
    p,walls = (o[0,0] for o in drawn('subpixel_bounce', Given(start + v + draws), 1, 6, (20,20), (10,10)))
    assert walls.tolist()==[0, RIGHT, 0, BOTTOM, 0, 0]
    assert p.tolist()==[[8,3], [9,4], [7,7], [5,10], [6,6], [7,2]]


def test_subpixel_corner_is_one_hit():
    "From (8,8) with velocity (1,1) both coordinates hit at 2; one draw is used for both, and both turn inwards"
    p = positions('subpixel_bounce', Given([pick(8,11)]*2 + [pick(5,9)]*2 + [pick(7,9), pick(2,9)]), 1, 4, (20,20), (10,10))[0,0]
    assert p.tolist()==[[8,8], [9,9], [10,10], [7,8]]


def test_trajgru_by_hand():
    "A crop of 4×2 pixels (w×h), whose pivot is 2½ pixels right of and above the centre of the image"
    model,p = check_motion('trajgru', motion_params=dict(speed=(2,2), angle=(90,90), scale=(2,2), gain=(.5,.5), margin=10))
    ink = torch.tensor([[[1,2,5,8]]]) # Rows 1..2, columns 5..8 of 10×10
    rng = Given([0, word(.5), word(.25), 0, 0, 0, 0]) # Gain, x, y, direction right, rest fixed
    o = model.draw(rng, 1, torch.arange(6, dtype=torch.float64), num_frames=6, canvas_size=(42,44), digit_size=(10,10), ink=ink, **p)
    assert o['angle'][0,0].tolist()==[0,90,180,270,360,450]
    torch.testing.assert_close(o['scale'][0,0], torch.tensor([1,1/2,1/4,1/8,1/16,1/8], dtype=torch.float64))
    torch.testing.assert_close(o['gain'][0,0], torch.tensor([1,1/2,1/4,1/8,1/16,1/8], dtype=torch.float64))
    # The corner starts at (20,10), the pivot at (22,11), on a canvas whose centre is (21.5,20.5). Offset (2.5,-2.5), turned and scaled: (2.5,2.5)/2, (-2.5,2.5)/4, (-2.5,-2.5)/8
    torch.testing.assert_close(o['translate'][0,0,:4], torch.tensor([[-2,-7], [2.5-1.25,-9.5-1.25], [4.5+.625,-9.5-.625], [6.5+.3125,-9.5+.3125]], dtype=torch.float64))


def test_velocity_by_hand():
    "A position 8 pixels right of the centre; each frame rotates by a quarter turn, scales by 2, then moves 1 to the right"
    model,p = check_motion('velocity', dict(angle=(90,90), translate=((1,1),(0,0)), scale=(2,2), shear=(0,0)))
    rng = Given([word(.9), word(.5), 0, 0, 0, 0, 0])
    o = model.draw(rng, 1, torch.tensor([0.,1,2,3,-1], dtype=torch.float64), num_frames=3, canvas_size=(30,30), digit_size=(10,10), **p)
    expected = [[8,0], [1,16], [-31,2], [-3,-62], [0,-3.5]] # (x,y) → (1-2y, 2x)
    torch.testing.assert_close(o['translate'][0,0], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-6) # .9 is rounded to 2⁻³²
    torch.testing.assert_close(o['scale'][0,0], torch.tensor([1,2,4,8,.5], dtype=torch.float64))
    torch.testing.assert_close(o['stretch'][0,0], torch.ones(5, dtype=torch.float64))


# ---- Scalar versions, one digit and one frame at a time, with the same words

def scalar_bounce(w, T, room, speed):
    (x,y),theta = (w[i]*2**-32 for i in (0,1)), 2*math.pi*(w[2]*2**-32)
    c = torch.tensor([theta], dtype=torch.float64) # The library's sine may differ from Python's in the last bit, which is not tested here
    vx,vy = speed*c.cos().item(), speed*c.sin().item()
    out = []
    for _ in range(T):
        x += vx; y += vy
        hit = 0
        if x<=0: x = 0.; vx = -vx; hit += LEFT
        elif x>=1: x = 1.; vx = -vx; hit += RIGHT
        if y<=0: y = 0.; vy = -vy; hit += TOP
        elif y>=1: y = 1.; vy = -vy; hit += BOTTOM
        out.append((int(room[0]*x), int(room[1]*y), hit))
    return out


def scalar_reflect(w, T, room, speed):
    theta = torch.tensor([2*math.pi*(w[2]*2**-32)], dtype=torch.float64)
    v,out = (theta.cos().item(), theta.sin().item()), []
    near,step = [w[i]*2**-32 for i in (0,1)],[speed*o for o in v] # Advances frame by frame, only for the walls
    for t in range(T):
        p,hit = [(w[i]*2**-32 + speed*o*t) % 2 for i,o in enumerate(v)],0
        for i,(low,high) in enumerate(((LEFT,RIGHT), (TOP,BOTTOM))):
            if t: near[i] += step[i]
            if near[i]<=0 or near[i]>=1:
                hit += low if near[i]<=0 else high
                near[i],step[i] = (-near[i] if near[i]<=0 else 2-near[i]),-step[i]
        out.append((*(round(r*(q if q<=1 else 2-q)) for r,q in zip(room, p)), hit))
    return out


def scalar_stochastic(w, T, room, speed, rand=None):
    "`w` are rows of two words; alternatively `rand(lo, hi)` draws integers in lo..hi"
    if rand is None:
        def any_(t, i): return (w[t][i]*(2*speed+1) >> 32) - speed
        def some(t, i): return (w[t][i]*speed >> 32) + 1
        x,y = (w[0][i]*room[i] >> 32 for i in (0,1))
        dx,dy = any_(1,0), any_(1,1)
    else:
        def any_(t, i): return rand(-speed, speed)
        def some(t, i): return rand(1, speed)
        x,y,dx,dy = rand(0, room[0]-1), rand(0, room[1]-1), rand(-speed, speed), rand(-speed, speed)
    out = []
    for t in range(2, T+2):
        hit = 0
        if y<0: y = 0; dy = some(t,1); dx = any_(t,0); hit += TOP
        elif y>=room[1]: y = room[1]-1; dy = -some(t,1); dx = any_(t,0); hit += BOTTOM
        if x<0: x = 0; dx = some(t,0); dy = any_(t,1); hit += LEFT
        elif x>=room[0]: x = room[0]-1; dx = -some(t,0); dy = any_(t,1); hit += RIGHT
        out.append((x,y,hit))
        x += dx; y += dy
    return out


def scalar_subpixel(w, T, room, speed, stochastic, rand=None):
    "Exact positions before rounding; the step of a frame is split where it hits a wall"
    rows = iter(w or [])
    def pair(lo, hi):
        if rand: return [rand(a, b) for a,b in zip(lo, hi)]
        return [(o*(b-a+1) >> 32) + a for o,a,b in zip(next(rows), lo, hi)]
    def fresh(): return [v if r else 0 for v,r in zip(pair((-speed,-speed), (speed,speed)), room)]
    p = [float(o) for o in pair((0,0), room)]
    v,out,met = fresh(), [], set()
    for t in range(T):
        out.append([*p, sum(met)])
        rest,met = 1.,set()
        while True:
            waits = [(r-q)/u if u>0 else -q/u if u<0 else math.inf for q,u,r in zip(p, v, room)]
            first = min(waits)
            if first>=rest - 1e-9: break # A hit at the end of the step counts for the next step
            walls = [r if u>0 else 0 for u,r in zip(v, room)]
            hit = [o<=first + 1e-9 for o in waits]
            new = {(low,high)[u>0] for h,u,(low,high) in zip(hit, v, ((LEFT,RIGHT), (TOP,BOTTOM))) if h}
            # A hit exactly at a frame; the first frame has no frame before it
            if rest>1-1e-9 and first<1e-9: out[-1][2] = t and sum({o for o in (LEFT,RIGHT,TOP,BOTTOM) if out[-1][2] & o} | new)
            else: met |= new
            p = [float(wall) if h else q + u*first for q,u,wall,h in zip(p, v, walls, hit)]
            rest -= first
            new = fresh() if stochastic else [-u if h else u for u,h in zip(v, hit)]
            v = [(-abs(n) if wall else abs(n)) if h else n for n,wall,h in zip(new, walls, hit)]
        p = [q + u*rest for q,u in zip(p, v)]
    return out


def rows(rng, n, K): return rng.words(n, K, 2)


@pytest.mark.parametrize('canvas,digit', SIZES, ids=str)
@pytest.mark.parametrize('T', [1,20,61])
@pytest.mark.parametrize('name,params', [('bounce',{}), ('bounce',dict(speed=1)), ('reflect',{}), ('reflect',dict(speed=1)), ('stochastic_bounce',{}), ('stochastic_bounce',dict(speed=9))], ids=str)
def test_whole_pixel_models_equal_the_scalar_version(name, params, canvas, digit, T):
    B,K,room = 120,3,(canvas[1]-digit[1], canvas[0]-digit[0])
    ours,walls = drawn(name, Philox(7, torch.arange(B)), K, T, canvas, digit, **params)
    speed = check_motion(name, motion_params=params)[1]['speed']
    if name=='stochastic_bounce': words,rule = rows(Philox(7, torch.arange(B)), T+2, K).transpose(1,2), scalar_stochastic
    else: words,rule = Philox(7, torch.arange(B)).words(K, 3), dict(bounce=scalar_bounce, reflect=scalar_reflect)[name]
    theirs = torch.tensor([[rule(o, T, room, speed) for o in seq] for seq in words.tolist()], dtype=torch.float64)
    assert torch.equal(ours, theirs[...,:2]) and torch.equal(walls, theirs[...,2].byte())
    assert T==1 or walls.any()
    assert ours.min()>=0 and (ours<=torch.tensor(room)).all()


@pytest.mark.parametrize('canvas,digit', SIZES + [((28,64),(28,28)), ((28,28),(28,28))], ids=str)
@pytest.mark.parametrize('T', [1,25,100])
@pytest.mark.parametrize('stochastic,speed', [(True,4), (True,1), (True,11), (False,4), (False,11)])
def test_subpixel_bounce_equals_the_scalar_version(stochastic, speed, canvas, digit, T):
    B,K,room = 7,3,(canvas[1]-digit[1], canvas[0]-digit[0])
    ours,walls = drawn('subpixel_bounce', Philox(7, torch.arange(B)), K, T, canvas, digit, stochastic=stochastic, speed=speed)
    rng = Philox(7, torch.arange(B))
    words = torch.cat([rng.words(16, K, 2) for _ in range(2 + 3*T//2)], 1).transpose(1,2).tolist()
    theirs = torch.tensor([[scalar_subpixel(o, T, room, speed, stochastic) for o in seq] for seq in words], dtype=torch.float64)
    assert torch.equal(walls, theirs[...,2].byte())
    theirs = theirs[...,:2]
    frac = theirs % 1
    ties = (frac-.5).abs()<1e-9 # Halves round to even; after steps of thirds, the last bit decides whether a value is a half
    assert torch.equal(ours[~ties], theirs[~ties].round())
    assert ((ours[ties] - theirs[ties]).abs() - .5).abs().max()<1e-9 if ties.any() else True
    assert ties.double().mean()<.2


@pytest.mark.parametrize('canvas,digit', SIZES, ids=str)
@pytest.mark.parametrize('T', [1,20,43])
@pytest.mark.parametrize('margin', [0,3,10])
def test_trajgru_equals_the_scalar_version(canvas, digit, T, margin):
    B,K = 80,3
    g = torch.Generator().manual_seed(T)
    def pairs(n): return torch.stack([torch.randint(n, (B,K), generator=g), torch.randint(n, (B,K), generator=g)], -1).sort(-1).values
    ink = torch.cat([pairs(digit[0]), pairs(digit[1])], -1)
    model,p = check_motion('trajgru', motion_params=dict(margin=margin))
    o = model.draw(Philox(7, torch.arange(B)), K, torch.arange(T, dtype=torch.float64), num_frames=T, canvas_size=canvas, digit_size=digit, ink=ink, **p)
    u = Philox(7, torch.arange(B)).uniform(1 + 6*K).tolist()
    expected = {k: [] for k in ('x','y','angle','scale','gain','bounces')}
    for b in range(B):
        for k in range(K):
            m,(ux,uy,direction,pace,turn,s) = .6 + .4*u[b][0], u[b][1+6*k:7+6*k]
            r0,r1,c0,c1 = ink[b,k].tolist()
            w,h = c1-c0+1, r1-r0+1
            x,y = ux*(canvas[1]-w) + w/2, uy*(canvas[0]-h) + h/2
            vx,vy = 3.6*pace*math.cos(2*math.pi*direction), 3.6*pace*math.sin(2*math.pi*direction)
            turn,s = -30 + 60*turn, 1/1.1 + (1.1-1/1.1)*s
            angle,scale,gain = 0.,1.,1.
            for i in range(T):
                hit = 0
                if i:
                    e = 1 if i//5 % 2 else -1
                    angle += turn; scale *= s**e; gain *= m**-e
                    x += vx; y += vy
                    if x<margin: x = margin; vx = -vx; hit += LEFT
                    elif x>canvas[1]-margin: x = canvas[1]-margin; vx = -vx; hit += RIGHT
                    if y<margin: y = margin; vy = -vy; hit += TOP
                    elif y>canvas[0]-margin: y = canvas[0]-margin; vy = -vy; hit += BOTTOM
                for name,value in dict(x=x, y=y, angle=angle, scale=scale, gain=gain, bounces=hit).items(): expected[name].append(value)
    e = {k: torch.tensor(v, dtype=torch.float64).view(B,K,T) for k,v in expected.items()}
    for name in ('angle','scale','gain'): torch.testing.assert_close(o[name], e[name], rtol=1e-9, atol=1e-9)
    assert torch.equal(o['bounces'], e['bounces'].byte()) and (T<20 or o['bounces'].any())
    # The pose's matrix must map the pivot, (w/2, h/2) of the crop, to the scalar version's position; pixel centres are whole numbers
    matrix = affine_matrix(o['angle'], o['translate'], o['scale'], torch.zeros(B,K,T,2, dtype=torch.float64), digit, canvas)
    pivot = torch.stack([(ink[...,2]+ink[...,3]+1)/2, (ink[...,0]+ink[...,1]+1)/2, torch.ones(B,K)], -1).double()
    there = (matrix @ pivot[:,:,None,:,None])[...,:2,0]
    torch.testing.assert_close(there, torch.stack([e['x'],e['y']], -1), rtol=1e-9, atol=1e-9)


def scalar_product(a, b): return [[sum(a[i][k]*b[k][j] for k in range(3)) for j in range(3)] for i in range(3)]


@pytest.mark.parametrize('canvas,digit', SIZES[:3], ids=str)
@pytest.mark.parametrize('ranges', [{}, dict(angle=(-80,80)), dict(shear=(-40,40)), dict(angle=(0,0), scale=(1,1)), dict(angle=(0,0), shear=(0,0)), dict(angle=(0,0), shear=(0,0), scale=(1,1)), dict(scale=(1,1))], ids=str)
def test_velocity_equals_repeated_multiplication(ranges, canvas, digit, B=120, K=2, T=20):
    model,p = check_motion('velocity', ranges)
    o = model.draw(Philox(7, torch.arange(B)), K, torch.arange(T, dtype=torch.float64), num_frames=T, canvas_size=canvas, digit_size=digit, **p)
    ours = affine_matrix(o['angle'], o['translate'], o['scale'], o['shear'], digit, canvas, o['stretch'])
    u = Philox(7, torch.arange(B)).uniform(K, 7).tolist()
    theirs = []
    def shift(x, y): return [[1.,0,x],[0,1.,y],[0,0,1.]]
    for b in range(B):
        for k in range(K):
            place = [(u[b][k][i] - .5)*(canvas[1-i] - digit[1-i]) for i in (0,1)]
            a,x,y,s,q = (lo + (hi-lo)*r for (lo,hi),r in zip([p['angle'], *p['translate'], p['scale'], p['shear']], u[b][k][2:]))
            a,q = math.radians(a),math.radians(q)
            c,d = math.cos(a),math.sin(a)
            step = [[s*c, s*(-c*math.tan(q)-d), x], [s*d, s*(-d*math.tan(q)+c), y], [0,0,1.]]
            m = shift(*place)
            for _ in range(T):
                theirs.append(scalar_product(shift((canvas[1]-1)/2, (canvas[0]-1)/2), scalar_product(m, shift(-(digit[1]-1)/2, -(digit[0]-1)/2))))
                m = scalar_product(step, m)
    theirs = torch.tensor(theirs, dtype=torch.float64).view(B,K,T,3,3)
    size = theirs.abs().amax((-1,-2), keepdim=True)
    assert ((ours-theirs).abs()/size).max()<1e-9


# ---- Powers and poses of matrices

@settings(max_examples=300, deadline=None)
@given(st.floats(-85,85), st.floats(.5,2), st.floats(-45,45), st.floats(-9,9), st.floats(-9,9), st.floats(-6,6), st.floats(-6,6))
def test_powers_add_up(angle, scale, shear, x, y, s, t):
    f = lambda *o: torch.tensor(o, dtype=torch.float64)
    step = affine_matrix(f(angle)[0], f(x,y), f(scale)[0], f(shear,0), (1,1), (1,1))
    whole,parts = affine_power(step, f(s+t)[0]), affine_power(step, f(s)[0]) @ affine_power(step, f(t)[0])
    size = affine_power(step, f(s)[0]).abs().max()*affine_power(step, f(t)[0]).abs().max()
    assert (whole-parts).abs().max()<1e-7*size
    torch.testing.assert_close(affine_power(step, f(3)[0]), step @ step @ step, rtol=1e-8, atol=1e-8)


def test_powers_near_the_identity():
    "All cases in which eigenvalues approach each other or 1"
    for a in (0,1e-12,1e-7,1e-4,1e-2,1):
        for p in (0,1e-9,1e-4,3):
            for s in (1,1+1e-13,1-1e-8,1+1e-5,.999,1.1):
                step = affine_matrix(*(torch.tensor(o, dtype=torch.float64) for o in (float(a), [3.,-5], s, [float(p),0])), (1,1), (1,1))
                m = torch.eye(3, dtype=torch.float64)
                for t in range(30):
                    assert (affine_power(step, torch.tensor(float(t), dtype=torch.float64)) - m).abs().max()<1e-9*m.abs().max(), (a,p,s,t)
                    m = step @ m


def test_powers_never_overflow():
    scene = draw_scene(0, range(50), **{**DEFAULT, 'num_frames':20_000}, motion='velocity')
    assert all(getattr(scene, k).isfinite().all() for k in ('angle','translate','scale','shear','stretch','gain','bounces')) and scene.matrix.isfinite().all()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(-9,9), min_size=4, max_size=4))
def test_every_upright_matrix_has_one_pose(entries):
    m = torch.tensor(entries, dtype=torch.float64).view(2,2)
    if m.det()<1e-3: return
    pose = to_pose(m)
    assert pose['scale']>0 and pose['stretch']>0 and -180<=pose['angle']<=180 and pose['shear'][1]==0
    torch.testing.assert_close(linear_part(**pose), m, rtol=1e-7, atol=1e-7)
    again = to_pose(linear_part(**pose))
    for k in ('scale','stretch'): torch.testing.assert_close(again[k], pose[k], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('dtype,factor', [(torch.float32,1e-30), (torch.float32,1e30), (torch.float64,1e-250), (torch.float64,1e250)], ids=str)
def test_angle_and_shear_of_a_matrix_do_not_depend_on_its_size(dtype, factor):
    "Also if the squares of the entries overflow or underflow"
    m = torch.tensor([[-.6,.3],[.8,1.1]], dtype=dtype)
    one,other = to_pose(-m), to_pose(-m*factor, torch.tensor(factor, dtype=dtype))
    for k in ('angle','shear'): torch.testing.assert_close(other[k], one[k], rtol=1e-5, atol=1e-5)



def test_pose_of_a_pose():
    for angle in (-180.,-179.,-90.,0.,5.,90.,135.,180.):
        pose = dict(angle=torch.tensor(angle), scale=torch.tensor(2.), stretch=torch.tensor(1.5), shear=torch.tensor([20.,0]))
        back = to_pose(linear_part(**{k: o.double() for k,o in pose.items()}))
        assert abs((back['angle'] - angle + 180) % 360 - 180)<1e-4 and abs(back['stretch'] - 1.5)<1e-6 and abs(back['shear'][0] - 20)<1e-4


def test_a_stretch_of_one_changes_nothing():
    g = torch.Generator().manual_seed(0)
    r = lambda *s: torch.rand(*s, generator=g, dtype=torch.float64)*100 - 50
    pose = (r(500), r(500,2), r(500), r(500,2), (28,28), (64,65))
    assert torch.equal(affine_matrix(*pose), affine_matrix(*pose, torch.ones(500, dtype=torch.float64)))


# ---- Fingerprints. Tolerances are about four standard errors over sequences, because draws within a sequence may be correlated

def shares(x, *values): return [float((x==v).double().mean()) for v in values]


def test_bounce_fingerprint():
    "4.9% of coordinates at 0 and 3.1% at 36, by an independent simulation of a million; standard error here 0.02 percentage points"
    p = positions('bounce', Philox(1, torch.arange(50_000)), 2, 20, (64,64), (28,28))
    low,high = shares(p, 0, 36)
    assert abs(low-.049)<.001 and abs(high-.031)<.001


def test_reflect_fingerprint():
    "Each inner pixel 1/36 and each end 1/72, in every frame; standard error 0.0004 for 200,000 coordinates"
    p = positions('reflect', Philox(1, torch.arange(50_000)), 2, 20, (64,64), (28,28))
    for t in (0,7,19):
        for share,expected in zip(shares(p[:,:,t], 0, 1, 17, 35, 36), (1/72,1/36,1/36,1/36,1/72)): assert abs(share-expected)<.0016


def test_stochastic_bounce_fingerprint():
    "Frame 1 at 0: 15 of 9·36 pairs (start, velocity). Frames 0–19: scalar version with Python's random numbers, 20,000 digits"
    p = positions('stochastic_bounce', Philox(1, torch.arange(50_000)), 2, 20, (64,64), (28,28))
    for share in shares(p[:,:,1], 0, 35): assert abs(share - 15/(9*36))<.002 # Standard error .0005
    rng = random.Random(0)
    other = torch.tensor([scalar_stochastic(None, 20, (36,36), 4, rng.randint) for _ in range(20_000)])[...,:2]
    for a,b in zip(shares(p, 0, 17, 35), shares(other, 0, 17, 35)): assert abs(a-b)<.002 # Standard error .0004


def test_subpixel_bounce_fingerprint():
    "Frame 1 at 0: 5 of 9·37 pairs (start, velocity) if reflected. Stochastic: scalar version with Python's random numbers, 20,000 digits"
    p = positions('subpixel_bounce', Philox(1, torch.arange(50_000)), 2, 25, (64,64), (28,28), stochastic=False)
    for share in shares(p[:,:,1], 0, 36): assert abs(share - 5/(9*37))<.0012 # Standard error .0003
    p = positions('subpixel_bounce', Philox(1, torch.arange(50_000)), 2, 25, (64,64), (28,28))
    rng = random.Random(0)
    other = torch.tensor([scalar_subpixel(None, 25, (36,36), 4, True, rng.randint) for _ in range(20_000)], dtype=torch.float64)[...,:2].round()
    for a,b in zip(shares(p, 0, 17, 36), shares(other, 0, 17, 36)): assert abs(a-b)<.002
    assert shares(p, 0)[0]>.03 # Some digits slide along a wall


def test_trajgru_fingerprint():
    "Means of powers of uniform numbers, from their integrals"
    whole = torch.tensor([4,23,6,21]).expand(60_000,1,4)
    model,p = check_motion('trajgru')
    o = model.draw(Philox(1, torch.arange(60_000)), 1, torch.arange(11, dtype=torch.float64), num_frames=11, canvas_size=(64,64), digit_size=(28,28), ink=whole, **p)
    a,b = 1/1.1,1.1
    assert abs(o['gain'][...,4].mean() - (1-.6**5)/(5*.4))<.005      # m⁴; standard error .001
    assert abs(o['gain'][...,9].mean() - math.log(1/.6)/.4)<.005      # 1/m
    assert abs(o['scale'][...,4].mean() - (a**-3-b**-3)/(3*(b-a)))<.005  # s⁻⁴
    assert abs(o['angle'][...,10].std() - 600/12**.5)<2               # Uniform, ±300
    speed = (o['translate'][...,1,:] - o['translate'][...,0,:]).norm(dim=-1)
    assert speed.mean()>1 and (speed>3.6).any() # An image rotates about its ink, so its own centre may move faster
    corner = o['translate'][...,0,:] + 32 + torch.tensor([0,0]) - torch.tensor([8.,10])
    assert corner.min()>=0 and (corner.amax((0,1))<=torch.tensor([48,44])).all() and (corner.mean((0,1)) - torch.tensor([24.,22])).abs().max()<.25


def test_velocity_fingerprint():
    "Areas grow by the mean of s^2t; positions and the angles of one step are uniform"
    scene = draw_scene(1, range(60_000), **{**DEFAULT, 'num_digits':[1], 'num_frames':6}, motion='velocity')
    area = scene.matrix[...,:2,:2].det()
    for t in (1,5): assert abs(area[...,t].mean()/((1.2**(2*t+1)-.8**(2*t+1))/((2*t+1)*.4)) - 1)<.02
    assert abs(scene.translate[...,0,:].std() - 36/12**.5)<.1 and scene.translate[...,0,:].abs().max()<=18
    assert abs(scene.angle[...,1].std() - 8/12**.5)<.03 and (scene.stretch[...,0]==1).all()


# ---- Properties of all models

@pytest.mark.parametrize('name', MOTIONS)
@pytest.mark.parametrize('canvas,digit', SIZES, ids=str)
def test_sequences_are_the_same_in_every_batch(name, canvas, digit):
    number = [1] if name=='collide' and min(canvas)<2*min(digit) and max(canvas)<3*min(digit) else [1,3] # Discs need space side by side
    kw = dict(num_digits=number, num_frames=13, num_images=50, digit_size=digit, canvas_size=canvas, motion=name, **(dict(motion_params=dict(margin=3)) if name=='trajgru' else {}))
    many = draw_scene(5, range(67), **kw)
    for i in (0,13,66):
        alone = draw_scene(5, [i], **kw)
        for k in ('digit','bounces','angle','translate','scale','shear','stretch','gain'):
            assert torch.equal(getattr(many, k)[i], getattr(alone, k)[0]), k
            assert getattr(many, k).dtype==dict(digit=torch.int64, bounces=torch.uint8).get(k, torch.float64) and getattr(many, k).isfinite().all()


@pytest.mark.parametrize('name', [o for o in MOTIONS if o!='affine'])
@pytest.mark.parametrize('T', [1,2,7,40])
def test_longer_sequences_start_like_shorter_ones(name, T):
    short,long = (draw_scene(5, range(40), **{**DEFAULT, 'num_frames':n}, motion=name) for n in (T,200))
    for k in ('angle','translate','scale','shear','stretch','gain','bounces'): assert torch.equal(getattr(short, k), getattr(long, k)[:,:,:T]), k


@pytest.mark.parametrize('name', ANY_TIME)
def test_times_in_any_order(name):
    dense = draw_scene(5, range(20), **DEFAULT, motion=name)
    order = [7,0,11,3,3,10]
    some = draw_scene(5, range(20), **DEFAULT, motion=name, times=order)
    for k in ('angle','translate','scale','shear','stretch','gain'): assert torch.equal(getattr(some, k), getattr(dense, k)[:,:,order]), k
    for times in (range(12), torch.arange(12), torch.arange(12.)): assert torch.equal(draw_scene(5, range(20), **DEFAULT, motion=name, times=times).translate, dense.translate)
    assert len(draw_scene(5, [0], **DEFAULT, motion=name, times=[1e5]).angle[0,0])==1


def test_times_between_frames_lie_on_the_path():
    affine = draw_scene(5, range(20), **DEFAULT, times=[-1,0,.5,1,11,12,1e6])
    a = affine.angle
    torch.testing.assert_close(a[...,2], (a[...,1]+a[...,3])/2)
    torch.testing.assert_close(a[...,1] - a[...,0], a[...,5] - a[...,4])
    assert affine.scale.min()==0 and (affine.scale[...,1:5]>0).all()
    one = draw_scene(5, range(20), **{**DEFAULT, 'num_frames':1}, times=[0,7,-3])
    assert torch.equal(one.angle[...,1], one.angle[...,0]) and torch.equal(one.angle[...,2], one.angle[...,0])
    fine = draw_scene(5, range(20), **DEFAULT, motion='subpixel_bounce', times=torch.arange(0, 300, .01, dtype=torch.float64))
    assert fine.translate.diff(dim=2).abs().max()<=1 and fine.translate.abs().max()<=18
    fine = draw_scene(5, range(20), **DEFAULT, motion='reflect', times=torch.arange(-50, 50, .01, dtype=torch.float64))
    assert fine.translate.diff(dim=2).abs().max()<=1 and fine.translate.abs().max()<=18


def test_velocity_at_fractions_of_a_frame():
    scene = draw_scene(5, range(50), **DEFAULT, motion='velocity', times=[0,1/3,2/3,1,-1,2])
    start,third,two,one,back,double = scene.matrix.unbind(2)
    step = third @ start.inverse()
    torch.testing.assert_close(step @ third, two, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(step @ two, one, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one @ start.inverse() @ one, double, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(one @ start.inverse() @ back, start, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('name', [o for o in MOTIONS if o not in ANY_TIME])
def test_frame_by_frame_models_refuse_other_times(name):
    with pytest.raises(ValueError, match=rf"times=\[0\] with motion='{name}'.*'affine', 'velocity', 'reflect', 'subpixel_bounce'"): draw_scene(5, [0], **DEFAULT, motion=name, times=[0])


@pytest.mark.parametrize('times,error', [([],ValueError), ([[0,1]],ValueError), (3,ValueError), ([float('nan')],ValueError), ([math.inf],ValueError), ('ab',TypeError), (['a'],TypeError), ([None],TypeError)], ids=str)
def test_invalid_times_are_refused(times, error):
    with pytest.raises(error, match='times=.*expected a list of numbers from -1,048,576 to 1,048,576'): draw_scene(5, [0], **DEFAULT, times=times)


def test_stochastic_motions_refuse_negative_times():
    with pytest.raises(ValueError, match=r'times=.* with stochastic=True.*expected times from 0'): draw_scene(5, [0], **DEFAULT, motion='subpixel_bounce', times=[-1])


@pytest.mark.parametrize('name', MOTIONS)
def test_digits_as_large_as_the_canvas(name):
    kw = {**DEFAULT, 'canvas_size':(28,28), 'motion':name}
    if name=='stochastic_bounce':
        with pytest.raises(ValueError, match=r'canvas_size=\(28, 28\) with digit_size=.*at least one pixel larger'): draw_scene(5, [0], **kw)
        return
    if name=='collide':
        with pytest.raises(ValueError, match=r'num_digits=3 with canvas_size=\(28, 28\); expected at most 0'): draw_scene(5, range(9), **kw)
        return
    scene = draw_scene(5, range(30), **kw)
    assert scene.translate.isfinite().all()
    if name in WALLS: assert (scene.translate==0).all()


@pytest.mark.parametrize('name', WALLS)
def test_thousands_of_frames(name):
    scene = draw_scene(5, range(2), **{**DEFAULT, 'num_frames':5000}, motion=name)
    assert scene.translate.shape==(2,3,5000,2) and scene.translate.abs().max()<=18


# ---- Parameters

BAD = [
    ('bounce', dict(speed=-1), ValueError, 'speed=-1; expected a number from 0 to 1'), ('bounce', dict(speed='a'), TypeError, "speed='a'; expected a number"), ('bounce', dict(speed=True), TypeError, 'speed=True'),
    ('bounce', dict(speed=float('nan')), ValueError, 'speed=nan'), ('reflect', dict(speed=1.1), ValueError, 'speed=1.1'), ('bounce', dict(spead=.1), ValueError, "key of motion_params='spead'.*Did you mean 'speed'"),
    ('bounce', 5, TypeError, 'motion_params=5; expected a dict or SimpleNamespace with keys speed'), ('stochastic_bounce', dict(speed=0), ValueError, 'speed=0; expected a whole number, at least 1'),
    ('stochastic_bounce', dict(speed=2.5), TypeError, 'speed=2.5; expected a whole number'), ('subpixel_bounce', dict(stochastic=1), TypeError, 'stochastic=1; expected True or False'),
    ('trajgru', dict(speed=(-1,2)), ValueError, r'speed=\(-1, 2\); expected a range .* from 0'), ('trajgru', dict(scale=(0,1)), ValueError, r'scale=\(0, 1\).*from 0.1 to 10'), ('trajgru', dict(gain=.5), TypeError, 'gain=0.5; expected a range'),
    ('trajgru', dict(margin=-1), ValueError, 'margin=-1'), ('trajgru', dict(margin=33), ValueError, 'margin=33.* with canvas_size=.*expected at most 32'), ('trajgru', dict(angle=(5,4)), ValueError, 'angle'),
    ('affine', dict(angle=(0,1)), ValueError, "motion_params=.* does nothing for motion='affine'; expected its parameters in affine_params"), ('velocity', {}, ValueError, "motion_params={} does nothing for motion='velocity'"),
]


@pytest.mark.parametrize('name,params,error,message', BAD, ids=str)
def test_invalid_parameters_are_refused_at_construction(name, params, error, message):
    with pytest.raises(error, match=message): MovingMNIST(digits='fonts', normalize=False, motion=name, motion_params=params)


@pytest.mark.parametrize('ranges', [dict(angle=(-180,0)), dict(angle=(0,180)), dict(angle=(-400,400)), dict(angle=(-100,100), shear=(-70,70))], ids=str)
def test_steps_of_half_a_turn_or_more_are_refused(ranges):
    with pytest.raises(ValueError, match='half a turn or more'): MovingMNIST(digits='fonts', normalize=False, motion='velocity', affine_params=ranges)


def test_affine_params_apply_to_two_models():
    with pytest.raises(ValueError, match=r"affine_params=.* does nothing for motion='reflect'; expected its parameters in motion_params"): MovingMNIST(digits='fonts', motion='reflect', affine_params=dict(angle=(0,1)))
    for translate in (30, (-30,30), ((0,1),2), ((0,1),(0,1),(0,1))):
        with pytest.raises(TypeError, match=r'translate=.*; expected a pair of ranges \(\(lo, hi\), \(lo, hi\)\) for x and y'): check_motion('affine', dict(translate=translate))
    assert check_motion('velocity', affine_params)[1]==check_motion('velocity')[1]!=check_motion('affine')[1]
    assert check_motion('velocity', vars(affine_params))[1]['angle']==(-20,20)
    assert check_motion('velocity', dict(angle=(1,1)))[1]==dict(vars(velocity_params), angle=(1,1))
    assert check_motion('bounce', copy.copy(affine_params))[1]==dict(speed=.1)


# ---- Datasets

@pytest.mark.parametrize('name', MOTIONS)
def test_datasets_of_every_motion(fonts, name):
    ds = fonts(motion=name)
    assert ds[3].shape==(5,1,64,64) and ds[3].any() and torch.equal(ds.get_batch(indices=[1,3])[1], ds.get_batch(indices=[3])[0])
    assert f'motion: {name!r}' in repr(ds)
    for k,v in check_motion(name)[1].items(): assert f'{k} {v}' in repr(ds)
    assert torch.equal(pickle.loads(pickle.dumps(ds))[3], ds[3])
    if name in ANY_TIME: assert torch.equal(ds.render(ds.draw(indices=[3], times=[4,0]))[0], ds[3][[4,0]])
    else:
        with pytest.raises(ValueError, match='frame by frame'): ds.draw(2, times=[0])


def sway(rng, num_digits, times, *, canvas_size, width=9, **_):
    "Digits that oscillate horizontally"
    u = rng.uniform(num_digits, 2)
    x = width*(u[...,:1] + times/3).sin()
    return dict(translate=torch.stack([x, (u[...,1:] - .5).expand_as(x)*canvas_size[0]/2], -1))


def test_custom_motion_function(fonts):
    ds = fonts(motion=sway, motion_params=dict(width=4))
    assert 'motion: sway, width 4' in repr(ds) and ds.draw(5).translate[...,0].abs().max()<=4
    with pytest.raises(TypeError, match='widht|unexpected'): fonts(motion=lambda rng, num_digits, times, *, num_frames, canvas_size, digit_size, ink: {}, motion_params=dict(widht=3))
    batch = torch.cat(list(DataLoader(fonts(motion=sway, length=8), batch_size=4, num_workers=2, multiprocessing_context='forkserver')))
    assert torch.equal(batch, torch.stack([fonts(motion=sway, length=8)[i] for i in range(8)]))
    with pytest.raises(ValueError, match="affine_params=.* does nothing"): fonts(motion=sway, affine_params=dict(angle=(0,1)))


def zeros(num_digits, times, *more): return torch.zeros(2, num_digits, len(times), *more) # The check of a function draws two sequences


WRONG = [
    (lambda rng, n, t, **_: None, TypeError, 'returned None; expected a dict with translate'), (lambda rng, n, t, **_: dict(angle=zeros(n,t)), TypeError, 'expected a dict with translate'),
    (lambda rng, n, t, **_: dict(translate=zeros(n,t)), ValueError, r'translate \(2, 3, 5\); expected a tensor \(2, 3, 5, 2\)'), (lambda rng, n, t, **_: dict(translate=[1,2]), ValueError, r'translate \[1, 2\]'),
    (lambda rng, n, t, **_: dict(translate=zeros(n,t,2), angel=zeros(n,t)), ValueError, "angel.*Did you mean 'angle'"), (lambda rng, n, t, **_: dict(translate=zeros(n,t,2)/0), ValueError, 'translate with numbers that are not finite'),
    (lambda rng, n, t, **_: dict(translate=zeros(n,t,2), shear=zeros(n,t)), ValueError, r'shear \(2, 3, 5\)'), (lambda rng, n, t, **_: dict(translate=zeros(n,t,2), gain=zeros(n,t).long()[...,:2]), ValueError, 'gain'),
]


@pytest.mark.parametrize('function,error,message', WRONG, ids=[o[2] for o in WRONG])
def test_the_result_of_a_function_is_checked_at_construction(fonts, function, error, message):
    with pytest.raises(error, match=message): fonts(motion=function)


def test_missing_entries_of_a_functions_result_are_neutral():
    scene = draw_scene(0, [0,1], **DEFAULT, motion=lambda rng, n, t, **_: dict(translate=torch.ones(2, n, len(t), 2)))
    assert scene.translate.dtype==torch.float64
    for name,value in dict(translate=1, angle=0, scale=1, shear=0, stretch=1, gain=1).items(): assert (getattr(scene, name)==value).all()


def test_a_function_may_use_the_ink_boxes(fonts):
    seen = []
    def look(rng, num_digits, times, *, ink, **_):
        seen.append(ink)
        return dict(translate=torch.zeros(*ink.shape[:2], len(times), 2))
    ds = fonts(motion=look)
    scene = ds.draw(indices=range(6))
    there = scene.digit>=0
    assert torch.equal(seen[-1][there], ink_boxes(ds.digits.images)[scene.digit[there]])
    assert fonts(motion=sway).ink is None and fonts(motion='trajgru').ink is not None


def test_ink_boxes_equal_a_search():
    images = (torch.rand(200, 3, 9, 13, generator=torch.Generator().manual_seed(0))**40*255).byte()
    for im,box in zip(images, ink_boxes(images).tolist()):
        lit = [(r,c) for r in range(9) for c in range(13) if im[:,r,c].max()>0]
        rs,cs = zip(*lit) if lit else ((0,8),(0,12))
        assert box==[min(rs), max(rs), min(cs), max(cs)]


def test_trajgru_crops_start_on_the_canvas(fonts):
    "Frame 0 is not rotated: the whole crop is on the canvas, for every digit and every crop size"
    ds = fonts(motion='trajgru', num_digits=[1], num_frames=1)
    frames,scene = ds.render(ds.draw(indices=range(200))), ds.draw(indices=range(200))
    box = ds.ink[scene.digit[:,0]]
    corner = scene.matrix[:,0,0,:2,2] + box[:,[2,0]]
    assert corner.min()>=0 and (corner[:,0] + box[:,3]-box[:,2]<=63).all() and (corner[:,1] + box[:,1]-box[:,0]<=63).all()
    assert (frames.flatten(1).sum(1)>0).all()


def test_measured_statistics_include_every_part_of_a_pose(fonts):
    dim = fonts(motion='trajgru', motion_params=dict(gain=(.3,.3)), normalize='measured', num_frames=18).batch_tfms.transforms[1]
    bright = fonts(motion='trajgru', motion_params=dict(gain=(1,1)), normalize='measured', num_frames=18).batch_tfms.transforms[1]
    assert dim.mean[0]<.6*bright.mean[0]


def test_scene_methods_preserve_scenes_of_every_motion():
    scene = draw_scene(0, range(5), **DEFAULT, motion='velocity')
    assert torch.equal(scene[[3]].stretch, scene.stretch[[3]]) and 'stretch' in repr(scene) and 'gain' in repr(scene)
    assert scene.to('meta').stretch.device.type=='meta'
    assert list(module.MOTIONS)==['affine','velocity','bounce','reflect','stochastic_bounce','subpixel_bounce','trajgru','collide']


@pytest.mark.parametrize('shear', [(0,0), (2,2), (-3,3)])
@pytest.mark.parametrize('angle', [30, -30, 100, -4])
def test_velocity_angles_accumulate_over_turns(angle, shear):
    scene = draw_scene(0, range(20), [1], 200, 5, (28,28), (64,64), 'velocity', dict(angle=(angle,angle), translate=((0,0),(0,0)), scale=(1,1), shear=shear))
    step = scene.angle.diff(dim=2)
    assert (step*angle>0).all() and (step.abs()<180).all()
    if shear==(0,0): torch.testing.assert_close(scene.angle, (torch.arange(200.)*angle).double().expand_as(scene.angle))


def test_own_motions_that_need_gradients_are_refused():
    speed = torch.ones((), requires_grad=True)
    def learned(rng, num_digits, times, **_): return dict(translate=speed*rng.uniform(num_digits, len(times), 2))
    with pytest.raises(ValueError, match='motion=learned returned translate that requires a gradient'): MovingMNIST(digits='fonts', motion=learned, normalize=False)


def test_paths_are_the_same_however_many_segments_are_kept(fonts, monkeypatch):
    ds = fonts(motion='subpixel_bounce', motion_params=dict(speed=50), num_frames=60, seed=3)
    expected = ds.draw(indices=range(9)),ds.draw(indices=range(9), times=[7.3,0,2.5,100,3])
    monkeypatch.setattr(module, '_BLOCK', 7)
    for a,b in zip(expected, (ds.draw(indices=range(9)), ds.draw(indices=range(9), times=[7.3,0,2.5,100,3]))):
        assert torch.equal(a.translate, b.translate) and torch.equal(a.bounces, b.bounces)


def test_a_misspelt_parameter_of_an_own_motion_is_warned_of():
    def drift(rng, num_digits, times, *, speed=1, period=20, **rest): return dict(translate=speed*times[:,None]*rng.uniform(num_digits, 1, 2))
    make = lambda **params: MovingMNIST(digits='fonts', motion=drift, motion_params=params, num_frames=3, normalize=False, seed=0)
    with pytest.warns(UserWarning, match="motion_params has 'spead', which motion=drift does not name. Did you mean 'speed'?") as seen: make(spead=2)
    assert seen[0].filename==__file__
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        make(speed=2, other=1) # Names that resemble none may be meant for `**rest`
