"""Train on two processes with Lightning's `ddp`: `python examples/ranks_lightning.py`

A stream shares its batches out over ranks and loader workers, so Lightning adds no sampler.
"""
import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader

from torch_moving_mnist import MovingMNIST


class NextFrame(lightning.LightningModule):
    "Predicts each frame from the one before"
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 1, 5, padding=2))

    def training_step(self, x, i):
        loss = nn.functional.mse_loss(self.net(x[:,:-1].flatten(0,1)), x[:,1:].flatten(0,1))
        self.log('loss', loss, prog_bar=True, sync_dist=True)
        return loss

    def configure_optimizers(self): return torch.optim.Adam(self.parameters(), 1e-3)


if __name__=='__main__':
    ds = MovingMNIST(digits='fonts', num_frames=8, num_digits=2, seed=0)
    loader = DataLoader(ds.stream(bs=16, n=8), batch_size=None, num_workers=1) # 8 batches in an epoch: 4 for each rank
    trainer = lightning.Trainer(max_epochs=2, accelerator='cpu', strategy='ddp', devices=2, logger=False, enable_checkpointing=False)
    trainer.fit(NextFrame(), loader)
    if trainer.is_global_zero: print(f"{trainer.global_step} steps on {trainer.world_size} ranks: loss {trainer.callback_metrics['loss']:.4f}")
