"""Every public method in one script. Type checkers find no error in it, and it runs: `python examples/typed.py`"""
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from torch_moving_mnist import MovingMNIST, Scene, load
from torch_moving_mnist.files import SavedDataset, finish_folder, verify, write_shard
from torch_moving_mnist.metrics import Evaluation, baselines, compare, evaluate, score, ssim
from torch_moving_mnist.truth import as_sample, per_frame, show_truth, to_coco, to_mot, viewer
from torch_moving_mnist.utils import animate, save_gif, set_seed, show_image, show_images, to_device

set_seed(0)
ds: MovingMNIST = MovingMNIST(digits='fonts', num_digits=[1,2,3], num_frames=6, img_size=(48,64), affine_params=dict(scale=(.8,1.2)), normalize=(.1,.3), seed=0)
ds.num_frames = 5
ds.targets = ['labels','boxes','flow']
frames,target = ds[0]
show_truth(frames, target)
viewer(frames, target, names=ds.digits.names, zoom=2).save('page.html')
batch,targets = ds.get_batch(bs=4)
detections: list = per_frame(targets) + per_frame(ds[2:4][1])
unit: Tensor = ds.denormalize(batch[:,:2])
sample: dict = as_sample(targets, 0, ds.canvas_size)
batches = ds.batches(n=2, bs=4, prefetch=1)
for x,y in batches: x.mean() + len(y)
batches.load_state_dict(batches.state_dict())
for x,y in DataLoader(ds.stream(bs=4, n=2), batch_size=None): x.mean() + len(y)
pairs = ds.__getitems__([0,1])
count: int = len(ds) + len(pairs) + ds.channels
scene: Scene = ds.draw(indices=[0,1,2], times=[0,.5,1])
rendered: Tensor = ds.render(scene[1:].to('cpu'))
damaged: Tensor = MovingMNIST(digits='fonts', corrupt='hole', corrupt_params=dict(size=8), seed=0).corrupted(rendered[:1,:,:,:,:48], [0])
boxes: Tensor = ds.truth(scene, ['boxes'])['boxes']
corner: Tensor = scene.matrix[0,0,0,:2,2] + scene.translate[0,0,0] + len(scene)
path = Path('scene.npz')
scene.save(path)
same: bool = torch.equal(scene.angle, Scene.load(path).angle)
save_gif(rendered, path.with_suffix('.gif'), fps=8, zoom=1)
show_image(rendered[0,0], title='frame 0')
show_images(to_device([unit], 'cpu')[0], figsize=(8,2))
animate(unit)
again: MovingMNIST = MovingMNIST.from_recipe(ds.recipe, targets=['caption'])
again.save('sequences.npz', n=8, progress=False, overwrite=True)
saved: SavedDataset = load('sequences.npz', targets=['caption'])
known: bool = torch.equal(saved.denormalize(saved.get_batch(indices=[1])[0])[0].mul(255).round().byte(), saved.__getitems__([1])[0][0])
record: dict = write_shard(again, 0, 1, 'shards', n=8)
faults: list = [*finish_folder('shards'), *verify('shards', against=again), len(saved), repr(saved)][:-2]
if not Path('mot').exists(): to_mot(again, 1, 'mot')
boxed: dict = to_coco(again, 1)
name: str = MovingMNIST.preset('canonical', digits='fonts', seed=1).fingerprint + ', '.join(MovingMNIST.presets())
result: Evaluation = evaluate(lambda x: x[:,:1], again, n=2, bs=1, convention='plain', context=again.num_frames-1, progress=False)
seen = torch.rand(2,3,1,16,16)
numbers: dict = score(seen, seen, 'plain')
table: str = result.to_markdown() + compare(seen, seen).to_markdown() + again.protocol + saved.protocol
similar: Tensor = ssim(seen, seen).mean()
nothing: Tensor = baselines(again, [0], context=1)['black']
result.save('scores.json')
result.plot('mse'), result.to_dict(), again.context + saved.context
loader = DataLoader(again, batch_size=2)
