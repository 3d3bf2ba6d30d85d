"""Train a next-frame predictor on canonical Moving MNIST, 10 frames in, 10 out: `python examples/next_frame.py --minutes 10`

Training sequences come from an endless seeded stream; the test set is fixed, and none of its digits occurs in training. Stop with Ctrl-C
and run the same command again to continue. The folder `--out` receives the checkpoint, `results.md`, `results.json` and `predictions.png`.
"""
import math
import signal
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from torch_moving_mnist import MovingMNIST
from torch_moving_mnist.metrics import evaluate
from training import parse, parser, read_checkpoint, write_checkpoint

T = 10 # Frames to see, and frames to predict

# Both models map frames (B,T,1,64,64) in [0,1] to logits of the next ones, of the same shape.

class Cell(nn.Module):
    "Convolutional LSTM cell (Shi and others 2015, arXiv 1506.04214), without peepholes"
    def __init__(self, inputs:int, hidden:int):
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 4*hidden, 3, padding=1)

    def forward(self, x:Tensor, h:Tensor, c:Tensor)->tuple[Tensor, Tensor]:
        i,f,o,g = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
        c = (f + 1).sigmoid()*c + i.sigmoid()*g.tanh() # A new cell remembers
        return o.sigmoid()*c.tanh(), c


class ConvLSTM(nn.Module):
    "Stacked cells on patches of 8×8 pixels; predicted frames are fed back"
    def __init__(self, hidden:int, blocks:int, patch:int=8):
        super().__init__()
        self.hidden,self.patch = hidden,patch
        self.encode = nn.Conv2d(patch**2, hidden, 1)
        self.cells = nn.ModuleList([Cell(hidden, hidden) for _ in range(blocks)])
        self.decode = nn.Conv2d(blocks*hidden, patch**2, 1)
        nn.init.constant_(self.decode.bias, -3) # Most pixels are black

    def forward(self, frames:Tensor)->Tensor:
        x = F.pixel_unshuffle(frames, self.patch)
        state = [(x.new_zeros(len(x), self.hidden, *x.shape[-2:]),)*2]*len(self.cells)
        logits = []
        for t in range(2*T-1):
            y = self.encode(x[:,t] if t<T else logits[-1].sigmoid())
            for l,cell in enumerate(self.cells):
                state[l] = cell(y, *state[l])
                y = state[l][0]
            if t>=T-1: logits.append(self.decode(torch.cat([h for h,_ in state], 1)))
        return F.pixel_shuffle(torch.stack(logits, 1), self.patch)


class Block(nn.Module):
    "ConvNeXt block: a depthwise 7×7 convolution, then two linear layers at each position"
    def __init__(self, hidden:int):
        super().__init__()
        self.spatial = nn.Conv2d(hidden, hidden, 7, padding=3, groups=hidden)
        self.pointwise = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 4*hidden), nn.GELU(), nn.Linear(4*hidden, hidden))
        nn.init.zeros_(self.pointwise[-1].weight) # At first, the block changes nothing

    def forward(self, x:Tensor)->Tensor: return x + self.pointwise(self.spatial(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SimVP(nn.Module):
    "Shape of SimVP (Gao and others 2022, arXiv 2206.05099): encoder, blocks over all frames as channels, decoder with a skip"
    def __init__(self, hidden:int, blocks:int, width:int=16):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, width, 4, 4), nn.SiLU())                                                # 16×16
        self.encode = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.SiLU())
        self.blocks = nn.Sequential(nn.Conv2d(T*width, hidden, 2, 2), *[Block(hidden) for _ in range(blocks)],          # 8×8
                                    nn.Conv2d(hidden, 4*T*width, 1), nn.PixelShuffle(2))
        self.decode = nn.Sequential(nn.Conv2d(2*width, 2*width, 3, padding=1), nn.SiLU())
        self.last = nn.Sequential(nn.Conv2d(2*width, 16, 3, padding=1), nn.PixelShuffle(4))
        nn.init.constant_(self.last[0].bias, -3) # Most pixels are black

    def forward(self, frames:Tensor)->Tensor:
        skip = self.first(frames.flatten(0, 1))
        x = self.blocks(self.encode(skip).unflatten(0, (-1, T)).flatten(1, 2)).unflatten(1, (T, -1)).flatten(0, 1)
        return self.last(self.decode(torch.cat([x, skip], 1))).unflatten(0, (-1, T))


MODELS = dict(convlstm=(ConvLSTM, dict(hidden=64, blocks=2, lr=2e-3)), simvp=(SimVP, dict(hidden=192, blocks=4, lr=2e-3)))

# OpenSTL's model zoo, 200 epochs of 10,000 sequences: parameters and MSE
PUBLISHED = {'ConvLSTM-S': ('15.0M', 29.80), 'PredRNN': ('23.8M', 23.97), 'PredRNN++': ('38.6M', 22.06), 'SimVP IncepU': ('58.0M', 32.15),
             'SimVP gSTA': ('46.8M', 26.69), 'TAU': ('44.7M', 24.60), 'SimVP ConvMixer': ('3.9M', 32.09)}


def parse_args(argv=None):
    p = parser(__doc__, 'next_frame', minutes=10, bs=8, lr=None, n_test=1000)
    p.add_argument('--model', choices=MODELS, default='simvp', help="network (default: %(default)s)")
    p.add_argument('--hidden', type=int, help="channels of the cells or blocks")
    p.add_argument('--blocks', type=int, help="number of cells or blocks")
    args = parse(p, argv)
    for name,value in MODELS[args.model][1].items():
        if getattr(args, name) is None: setattr(args, name, value)
    return args


def optimizers(model:nn.Module, lr:float)->dict[str, torch.optim.Optimizer]:
    "Muon for the matrices of linear layers, where PyTorch has it, and AdamW for all other weights"
    matrices = [o for o in model.parameters() if o.ndim==2 and hasattr(torch.optim, 'Muon')]
    others = [o for o in model.parameters() if all(o is not m for m in matrices)]
    opts = dict(adamw=torch.optim.AdamW([dict(params=others, initial_lr=lr)], betas=(.9, .99), weight_decay=.01))
    if matrices:
        opts['muon'] = torch.optim.Muon([dict(params=matrices, initial_lr=2*lr)], weight_decay=.01, adjust_lr_fn='match_rms_adamw')
    return opts


class Run:
    "A model in training, with everything that a checkpoint holds"
    def __init__(self, args, ds:MovingMNIST):
        torch.manual_seed(args.seed)
        make = MODELS[args.model][0]
        self.args,self.path = args, args.out/'checkpoint.pt'
        self.model = make(args.hidden, args.blocks).to(args.device, memory_format=torch.channels_last)
        self.mean = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(.99)) # Weights for testing
        self.opts = optimizers(self.model, args.lr)
        self.batches = ds.batches(bs=args.bs)
        self.seconds = self.waited = 0.
        self.seen = 0
        names = 'model','hidden','blocks','bs','lr','seed'
        self.settings = dict(ds=ds.fingerprint, **{o: getattr(args, o) for o in names})

    @property
    def parts(self): return dict(model=self.model, mean=self.mean, batches=self.batches, **self.opts)

    def save(self):
        state = {k: o.state_dict() for k,o in self.parts.items()}
        random = dict(cpu=torch.get_rng_state(), cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])
        about = dict(settings=self.settings, seconds=self.seconds, waited=self.waited, seen=self.seen, random=random)
        write_checkpoint(self.path, {**about, **state})

    def load(self):
        if not self.path.exists(): return print(f"new run in {self.args.out}")
        state = read_checkpoint(self.path, self.settings)
        for k,o in self.parts.items(): o.load_state_dict(state[k])
        self.seconds,self.waited,self.seen = (state[k] for k in ('seconds','waited','seen'))
        torch.set_rng_state(state['random']['cpu'])
        if torch.cuda.is_available(): torch.cuda.set_rng_state_all(state['random']['cuda'])
        print(f"resumed {self.path}: {self.seconds/60:.2f} of {self.args.minutes:g} minutes, {self.seen:,} sequences, "
              f"next sequence of the stream {self.batches.state_dict()['sequences']:,}")

    def logits(self, model:nn.Module, frames:Tensor)->Tensor:
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self.args.bf16): return model(frames).float()

    def step(self, frames:Tensor)->Tensor:
        "One step at the learning rate of this moment: linear warm-up, then a cosine to 0"
        x = min(self.seconds/60/self.args.minutes, 1)
        rate = max(x, .001)/.1 if x<.1 else (1 + math.cos(math.pi*(x-.1)/.9))/2
        loss = F.mse_loss(self.logits(self.model, frames[:,:T]).sigmoid(), frames[:,T:])
        self.model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.)
        for opt in self.opts.values():
            for group in opt.param_groups: group['lr'] = rate*group['initial_lr']
            opt.step()
        self.mean.update_parameters(self.model)
        return loss.detach()

    def train(self)->bool:
        "Train until the time is used up; False if a signal has stopped it"
        stopped = []
        handlers = {s: signal.signal(s, lambda *_: stopped.append(1)) for s in (signal.SIGINT, signal.SIGTERM)}
        saved = reported = self.seconds
        while not stopped and self.seconds<60*self.args.minutes:
            start = time.perf_counter()
            frames = next(self.batches)
            self.waited += time.perf_counter() - start
            loss = self.step(frames.to(self.args.device))
            if self.seconds>=reported:
                print(f"{self.seconds/60:6.2f} min  {self.seen:9,} sequences  loss {loss:.4f}", flush=True)
                reported = self.seconds + 30
            self.seconds += time.perf_counter() - start
            self.seen += len(frames)
            if self.seconds>saved+30: self.save(); saved = self.seconds
        self.save()
        self.batches.close()
        for s,o in handlers.items(): signal.signal(s, o)
        return not stopped

    def predict(self, frames:Tensor)->Tensor:
        "Frames (B,T,1,64,64) in [0,1] that follow these"
        with torch.no_grad(): return self.logits(self.mean, frames.to(self.args.device)).sigmoid()


def device_name(device:str)->str:
    return torch.cuda.get_device_name(device) if device!='cpu' else f'CPU, threads: {torch.get_num_threads()}'


def write_results(run:Run, result, ds:MovingMNIST):
    "The table beside the published figures, as markdown"
    args,rows = run.args,[]
    parameters = f'{sum(o.numel() for o in run.model.parameters())/1e6:.2f}M'
    budget = f'{run.seconds/60:.1f} min, {device_name(args.device)}'
    rows.append((f'**{args.model}, this run**', parameters, f'{run.seen:,}', budget, result['prediction']['mse']))
    rows += [(f'baseline: {k}', '', '', '', result[k]['mse']) for k in result if k!='prediction']
    comparable = args.digits=='mnist'
    if comparable: rows += [(f'{k} (OpenSTL)', size, '2,000,000', '200 epochs', mse) for k,(size,mse) in PUBLISHED.items()]
    lines = ['| model | parameters | training sequences | training | MSE |', '|---|---|---|---|---|']
    lines += [f'| {" | ".join(o[:-1])} | {o[-1]:.2f} |' for o in rows]
    text = f"""# Next-frame prediction on Moving MNIST

10 frames in, 10 out, preset 'canonical', digits {args.digits!r}. MSE is summed over the pixels of a frame, and averaged over frames and
{args.n_test:,} test sequences (fingerprint `{ds.fingerprint}`).

{chr(10).join(lines)}

This run is scored once, at its end, but the default settings of the script were chosen by short runs that were scored on digits of the
test split.
""" + comparable*"""
OpenSTL's figures are from another test set, the published file of 10,000 sequences, and from its best epoch on that set. The budgets
differ by orders of magnitude.
""" + """
![Frames seen, truth and predictions](predictions.png)
"""
    (args.out/'results.md').write_text(text, encoding='utf-8')


def draw_predictions(run:Run, ds:MovingMNIST, n:int=3):
    "Frames seen, truth and prediction of the first test sequences"
    import matplotlib.pyplot as plt
    frames = ds.get_batch(indices=range(n)).cpu()
    rows = torch.stack([frames[:,:T], frames[:,T:], run.predict(frames[:,:T]).cpu()], 1) # (n,3,T,1,64,64)
    picture = F.pad(rows.squeeze(3), (1,1,1,1), value=.4).permute(0, 1, 3, 2, 4).reshape(n*3*66, T*66)
    ax = plt.figure(figsize=(T, n*3 + .5), layout='constrained').add_subplot()
    ax.imshow(picture, cmap='gray', vmin=0, vmax=1)
    ax.set_xticks([33 + 66*t for t in range(T)], [str(t+1) for t in range(T)])
    ax.set_yticks([33 + 66*r for r in range(3*n)], ['seen','truth','predicted']*n)
    ax.set_xlabel('frame, or horizon')
    ax.tick_params(length=0)
    ax.figure.savefig(run.args.out/'predictions.png', dpi=100, bbox_inches='tight')


def main(argv=None):
    args = parse_args(argv)
    def dataset(split, **settings):
        return MovingMNIST.preset('canonical', args.path, split=split, digits=args.digits, device=args.device, **settings)
    run = Run(args, dataset('train', seed=args.seed, length=2**40))
    test = dataset('test', seed=1, length=10_000)
    test.get_batch(indices=[0]) # A new installation compiles its loops now, before the time counts
    run.load()
    if not run.train(): return print(f"stopped after {run.seconds/60:.2f} minutes; run the same command again to continue")
    print(f"{run.seen:,} sequences in {run.seconds/60:.1f} minutes, {run.seen/run.seconds:.1f} per second; "
          f"{run.waited/run.seconds:.2%} of the time spent waiting for data")
    result = evaluate(run.predict, test, n=args.n_test, bs=50)
    print(result)
    result.save(args.out/'results.json')
    write_results(run, result, test)
    draw_predictions(run, test)
    print(f"MSE {result['prediction']['mse']:.2f} on {args.n_test:,} test sequences ({test.fingerprint}); results in {args.out}")


if __name__=='__main__': main()
