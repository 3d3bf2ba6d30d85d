"Planted mistakes: a type checker must find one in each line that is marked"
from torch_moving_mnist import MovingMNIST, Scene, load
from torch_moving_mnist.utils import save_gif, show_images

ds = MovingMNIST(digits='fonts', seed=0)
MovingMNIST(num_frame=3)                # error
MovingMNIST(num_frames='ten')           # error
MovingMNIST(img_size=(64,64,1))         # error
MovingMNIST('.', None, 2, 10, 64, True, False, 'fonts') # error
ds.get_batches(4)                       # error
ds.get_batch(bs='all')                  # error
ds.num_frame = 5                        # error
ds.draw(4).matrices                     # error
ds.render(ds)                           # error
frames: str = ds.render(ds.draw(2))     # error
scene: Scene = ds.recipe                # error
load(5)                                 # error
save_gif(ds.render(ds.draw(1)), 'a.gif', speed=3) # error
show_images(ds.render(ds.draw(1)), nrows='two')   # error
MovingMNIST.preset(7)                   # error
