"""Read shards with Hugging Face's `datasets`: `python examples/read_with_datasets.py`"""
import numpy as np
from datasets import load_dataset

from torch_moving_mnist import MovingMNIST

ds = MovingMNIST(digits='fonts', num_frames=8, num_digits=2, seed=0, targets=['boxes','caption'])
ds.save('for_datasets', n=100, format='tar', shards=4)

rows = load_dataset('webdataset', data_files='for_datasets/*.tar', split='train', cache_dir='cache').with_format('numpy')
assert len(rows)==100 and all(np.array_equal(rows[i]['frames.npy'], ds[i][0]) for i in range(0, 100, 9))
print(rows[0]['frames.npy'].shape, rows[0]['caption.txt'])
