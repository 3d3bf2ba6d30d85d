"""Train on all ranks of a job, and resume on any number of them: `torchrun --nproc-per-node 2 examples/ranks_ddp.py`

Each rank draws its own sequences of one stream. A checkpoint has the model and the position in the stream. Start it again with another
`--nproc-per-node`, and the ranks go on with the sequences that none of them has seen.
"""
import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from torch_moving_mnist import MovingMNIST

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('--steps', type=int, default=20, help="steps of this run (default: %(default)s)")
parser.add_argument('--bs', type=int, default=8, help="sequences in a batch of each rank (default: %(default)s)")
parser.add_argument('--digits', default='fonts', help="'mnist' needs a download, which one rank does (default: %(default)s)")
parser.add_argument('--path', default=os.environ.get('MNIST_ROOT', '.'), help="folder of MNIST (default: $MNIST_ROOT, or .)")
parser.add_argument('--checkpoint', type=Path, default=Path('checkpoint.pt'), help="file (default: %(default)s)")


def loss_of(net:nn.Module, x:torch.Tensor)->torch.Tensor:
    "Error of the prediction of each frame from the one before"
    return nn.functional.mse_loss(net(x[:,:-1].flatten(0,1)), x[:,1:].flatten(0,1))


def main(args):
    dist.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')
    local = int(os.environ['LOCAL_RANK'])
    device = torch.device('cuda', local) if torch.cuda.is_available() else torch.device('cpu')
    if device.type=='cuda': torch.cuda.set_device(device)
    torch.manual_seed(0)
    ds = MovingMNIST(args.path, digits=args.digits, num_digits=2, num_frames=10, seed=0, device=device)
    net = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 1, 5, padding=2)).to(device)
    model = DistributedDataParallel(net)
    opt = torch.optim.Adam(model.parameters(), 1e-3)
    batches = ds.batches(bs=args.bs) # Rank r of R has every R-th sequence from r on
    if args.checkpoint.exists():
        state = torch.load(args.checkpoint, map_location=device, weights_only=True)
        for name,o in dict(net=net, opt=opt, batches=batches).items(): o.load_state_dict(state[name])
    first = batches.state_dict()['sequences']
    for _ in range(args.steps):
        loss = loss_of(model, next(batches))
        opt.zero_grad()
        loss.backward()
        opt.step()
    state = dict(net=net.state_dict(), opt=opt.state_dict(), batches=batches.state_dict()) # The same on all ranks
    if dist.get_rank()==0:
        torch.save(state, new := args.checkpoint.with_suffix('.tmp'))
        os.replace(new, args.checkpoint)
        print(f"sequences {first:,} to {state['batches']['sequences']-1:,} on {dist.get_world_size()} ranks: loss {loss.item():.4f}")
    dist.barrier()
    dist.destroy_process_group()


if __name__=='__main__': main(parser.parse_args())
