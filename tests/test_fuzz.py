"Random calls with right, borderline and absurd arguments: a result that passes its checks, or an error that names a parameter"
import os

import fuzz


def test_random_calls(request):
    "500 cases; `python tests/fuzz.py 10000` runs more"
    counts = fuzz.run(500, derandomize=bool(os.environ.get('CI')))
    assert {call for call,_ in counts}>={'MovingMNIST','Scene','__getitem__','__getitems__','animate','batches','denormalize','draw','from_recipe','get_batch','load','per_frame','preset','render','save_gif','setattr','show_images','show_truth','stream','truth'}
    assert counts['render','result']>100 and counts['MovingMNIST','refused']>50
