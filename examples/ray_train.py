"""Train on sequences that a Ray cluster makes while you train: `python examples/ray_train.py --address head:6379`"""
import argparse

import ray
import torch
from torch import nn

from torch_moving_mnist import MovingMNIST
from torch_moving_mnist.ray import read

if __name__=='__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--address', help="head node of a running cluster, or auto (default: the cluster that runs here, or a new one)")
    p.add_argument('--digits', default='fonts', help="digit images, such as 'mnist' (default: %(default)s)")
    p.add_argument('--device', default='cpu', help="of the model, 'cpu' or 'cuda' (default: %(default)s)")
    p.add_argument('--epochs', type=int, default=3, help="(default: %(default)s)")
    p.add_argument('--n', type=int, default=2000, help="sequences in an epoch, new ones each time (default: %(default)s)")
    args = p.parse_args()

    ray.init(args.address, ignore_reinit_error=True, log_to_driver=False)
    ds = MovingMNIST(digits=args.digits, motion='bounce', num_digits=2, num_frames=6, seed=0, length=10**9)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(5, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 1, 5, padding=2)).to(args.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(args.epochs):
        losses,still = [],[]
        for batch in read(ds, args.n, start=epoch*args.n).iter_torch_batches(batch_size=32, device=args.device):
            frames = ds.batch_tfms(batch['frames'])[:,:,0]
            seen,last = frames[:,:5],frames[:,5]
            loss = nn.functional.mse_loss(seen[:,-1] + model(seen)[:,0], last)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            still.append(nn.functional.mse_loss(seen[:,-1], last))
        print(f'epoch {epoch}: error {torch.stack(losses).mean():.3f} of the predicted frame, {torch.stack(still).mean():.3f} of the last one that was seen')
