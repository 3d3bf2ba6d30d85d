"""Resume in the middle of an epoch with torchdata's `StatefulDataLoader`: `python examples/read_with_torchdata.py`"""
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from torch_moving_mnist import MovingMNIST, load

if __name__=='__main__':
    MovingMNIST(digits='fonts', num_frames=8, num_digits=2, seed=0).save('for_torchdata', n=100, shards=4)

    def loader(): return StatefulDataLoader(load('for_torchdata'), batch_size=10, num_workers=2)
    first = loader()
    batches = iter(first)
    for _ in range(3): next(batches)
    state = first.state_dict() # Save it beside the model
    rest = [*batches]

    second = loader()
    second.load_state_dict(state)
    assert all(torch.equal(a, b) for a,b in zip(rest, second, strict=True))
    print(len(rest), rest[0].shape)
