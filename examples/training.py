"What the examples that train have in common: arguments, and a training that you can stop"
import argparse
import math
import os
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from torch_moving_mnist import MovingMNIST


def parser(doc:str, out:str, minutes:float, bs:int, lr:float|None, n_test:int, what:str='sequences')->argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--minutes', type=float, default=minutes, help="training time in all, evaluation not included (default: %(default)s)")
    p.add_argument('--bs', type=int, default=bs, help=f"{what} in a batch (default: %(default)s)")
    p.add_argument('--lr', type=float, default=lr, help="highest learning rate (default: %(default)s)")
    p.add_argument('--device', default='cpu', help="'cpu' or 'cuda' (default: %(default)s)")
    p.add_argument('--bf16', action=argparse.BooleanOptionalAction, default=None, help="bfloat16 (default: where the hardware has it)")
    p.add_argument('--path', default=os.environ.get('MNIST_ROOT', '.'), help="folder of MNIST (default: $MNIST_ROOT, or .)")
    p.add_argument('--digits', default='mnist', help="digit images, such as 'fonts', which needs no download (default: %(default)s)")
    p.add_argument('--out', type=Path, default=Path(out), help="folder for checkpoint, results and picture (default: %(default)s)")
    p.add_argument('--n-test', type=int, default=n_test, help=f"test {what} (default: %(default)s)")
    p.add_argument('--seed', type=int, default=0, help="of the weights and the training stream (default: %(default)s)")
    return p


def parse(p:argparse.ArgumentParser, argv=None)->argparse.Namespace:
    "Arguments, checked before anything is trained; the folder for results is there"
    args = p.parse_args(argv)
    if args.minutes<=0: p.error(f"--minutes {args.minutes:g}; expected more than 0")
    if not 1<=args.n_test<=10_000: p.error(f"--n-test {args.n_test}; expected 1 to 10000")
    if args.out.exists() and not args.out.is_dir(): p.error(f"--out {args.out} is a file; expected a folder")
    args.out.mkdir(parents=True, exist_ok=True)
    if args.bf16 is None: args.bf16 = has_bf16(args.device)
    return args


def has_bf16(device:str)->bool:
    if device!='cpu': return torch.cuda.is_bf16_supported(including_emulation=False)
    known = getattr(torch.cpu, 'get_capabilities', dict)()
    return bool(known.get('avx512_bf16') or known.get('amx_bf16'))


def read_checkpoint(path:Path, settings:dict)->dict:
    "A checkpoint of a training with the same settings"
    try: state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as e: raise SystemExit(f"{path} cannot be read: {e}. Remove it, or choose another --out") from None
    if (old := state['settings'])!=settings: raise SystemExit(f"{path} has the settings {old}; expected {settings}. Choose another --out")
    return state


def write_checkpoint(path:Path, state:dict):
    "Write beside the old one, then replace that"
    torch.save(state, new := path.with_suffix('.tmp'))
    os.replace(new, path)


class Training:
    "Training with AdamW on an endless stream, with a checkpoint every 30 seconds"
    def __init__(self, args, ds:MovingMNIST, model:nn.Module, loss_of, what:str='sequences'):
        self.args,self.path,self.model,self.loss_of,self.what = args, args.out/'checkpoint.pt', model, loss_of, what
        self.opt,self.batches = torch.optim.AdamW(model.parameters(), weight_decay=.01), ds.batches(bs=args.bs)
        self.parts = dict(model=model, opt=self.opt, batches=self.batches)
        self.settings = dict(ds=ds.fingerprint, bs=args.bs, lr=args.lr, seed=args.seed)
        self.seconds,self.seen = 0., 0

    def save(self):
        about = dict(settings=self.settings, seconds=self.seconds, seen=self.seen)
        write_checkpoint(self.path, {**about, **{k: o.state_dict() for k,o in self.parts.items()}})

    def load(self):
        if not self.path.exists(): return
        state = read_checkpoint(self.path, self.settings)
        for k,o in self.parts.items(): o.load_state_dict(state[k])
        self.seconds,self.seen = state['seconds'],state['seen']
        print(f"resumed {self.path}: {self.seconds/60:.2f} of {self.args.minutes:g} minutes, {self.seen:,} {self.what}")

    def step(self)->Tensor:
        "One step at the learning rate of this moment: linear warm-up, then a cosine to 0"
        x = max(self.seconds/60/self.args.minutes, .001)
        loss = self.loss_of(self.model, next(self.batches), self.args)
        self.opt.zero_grad()
        loss.backward()
        for group in self.opt.param_groups: group['lr'] = self.args.lr*min(10*x, (1 + math.cos(math.pi*x))/2)
        self.opt.step()
        return loss.detach()

    def run(self):
        "Train until the time is used up"
        self.load()
        saved = self.seconds
        self.model.train()
        while self.seconds<60*self.args.minutes:
            start = time.perf_counter()
            loss = self.step().item()
            self.seconds += time.perf_counter() - start
            self.seen += self.args.bs
            if self.seconds<saved+30: continue
            print(f"{self.seconds/60:6.2f} min  {self.seen:9,} {self.what}  loss {loss:.4f}", flush=True)
            self.save()
            saved = self.seconds
        self.save()
        self.batches.close()
        self.model.eval()
        print(f"{self.seen:,} {self.what} in {self.seconds/60:.1f} minutes")
