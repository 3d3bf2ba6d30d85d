"""Write shards that WebDataset streams: `python examples/read_with_webdataset.py`"""
from glob import glob

import numpy as np
import webdataset

from torch_moving_mnist import MovingMNIST

ds = MovingMNIST(digits='fonts', num_frames=8, num_digits=2, seed=0, targets=['boxes','caption'])
ds.save('for_webdataset', n=100, format='tar', shards=4)

stream = webdataset.WebDataset(sorted(glob('for_webdataset/*.tar')), shardshuffle=False).decode()
for i,sample in enumerate(stream):
    frames,target = ds[i]
    assert np.array_equal(sample['frames.npy'], frames) and sample['caption.txt']==target['caption']
print(sample['__key__'], sample['frames.npy'].shape, sample['boxes.npy'].shape, sample['caption.txt'])
