"""Moving MNIST as a PyTorch dataset: endless, seeded sequences of moving digits, generated while you train.

    from torch_moving_mnist.data import MovingMNIST
    from torch_moving_mnist.utils import show_images
    ds = MovingMNIST(num_frames=10, num_digits=[1,2,3], img_size=64)
    show_images(ds[0], figsize=(20,10))     # ds[0]: Tensor (10,1,64,64) uint8
    batch = ds.get_batch(bs=128)            # Tensor (128,10,1,64,64) float32, normalised

`MovingMNIST`, `Scene` and `load` can also be imported from here. They are loaded when they are first used:
`import torch_moving_mnist` alone does not import PyTorch.
"""
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import MovingMNIST
    from .files import load
    from .scene import Scene

__version__ = "0.2.0"
__all__ = ['MovingMNIST', 'Scene', 'load', '__version__']
_HOMES = {'MovingMNIST': 'data', 'Scene': 'scene', 'load': 'files'}


def __getattr__(name: str) -> Any:
    if name not in _HOMES: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f'.{_HOMES[name]}', __name__), name)


def __dir__() -> list[str]: return sorted({*globals(), *__all__})
