"""Write a test set that torchvision's `MovingMNIST` reads: `python examples/read_with_torchvision.py`"""
import torch
import torchvision

from torch_moving_mnist import MovingMNIST

ds = MovingMNIST.preset('canonical', digits='fonts', split='test', seed=0) # Without digits='fonts': MNIST
ds.save('data/MovingMNIST/mnist_test_seq.npy', n=100, overwrite=True)

theirs = torchvision.datasets.MovingMNIST('data', split=None)
assert len(theirs)==100 and all(torch.equal(theirs[i], ds[i]) for i in range(100))
print(theirs[0].shape, theirs[0].dtype)
