"""Train on a saved folder with Lightning: `python examples/read_with_lightning.py`"""
import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader

from torch_moving_mnist import MovingMNIST, load


class NextFrame(lightning.LightningModule):
    "Predicts each frame from the one before"
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 1, 5, padding=2))

    def training_step(self, batch, i):
        x = batch.float()/255
        loss = nn.functional.mse_loss(self.net(x[:,:-1].flatten(0,1)), x[:,1:].flatten(0,1))
        self.log('loss', loss, prog_bar=True)
        return loss

    def configure_optimizers(self): return torch.optim.Adam(self.parameters(), 1e-3)


if __name__=='__main__':
    MovingMNIST(digits='fonts', num_frames=8, num_digits=2, seed=0).save('for_lightning', n=64, shards=2)
    loader = DataLoader(load('for_lightning'), batch_size=16, shuffle=True, num_workers=2)
    trainer = lightning.Trainer(max_epochs=2, accelerator='cpu', logger=False, enable_checkpointing=False)
    trainer.fit(NextFrame(), loader)
    print(f"loss {trainer.callback_metrics['loss']:.4f}")
