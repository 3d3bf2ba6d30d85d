"""Segment the digits of single frames, by class and by instance: `python examples/segment.py --minutes 4`

A small U-Net predicts for each pixel whether it is ink, the class of its digit, and the offset to the centre of its digit, as in
Panoptic-DeepLab (Cheng and others 2020, arXiv 1911.10194). Every pixel of ink votes for a centre, each peak of the votes is an instance,
and the pixels of an instance decide its class together. Training frames come from an endless seeded stream; none of the digits of the
fixed test set occurs in training. The scores need `pip install torchmetrics pycocotools`. If you stop the script, the same command goes on
from the last checkpoint. The folder `--out` receives the checkpoint, `results.md` and `segments.png`.

Digits whose visible pixels have about the same centre are merged, such as a 1 in front of a 0. Hidden parts of a digit are not completed.
"""
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torch_moving_mnist import MovingMNIST
from training import Training, parse, parser

SETTINGS = dict(num_digits=[2,3], num_frames=1, img_size=64, composite='opaque', normalize=False, targets=('instance','labels'),
                affine_params=dict(angle=(-20,20), translate=((-20,20),(-20,20)), scale=(.7,1.1), shear=(-10,10)))


def convs(inputs:int, outputs:int)->nn.Sequential:
    pairs = (inputs, outputs), (outputs, outputs)
    return nn.Sequential(*[nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.SiLU()) for i,o in pairs])


class UNet(nn.Module):
    "Frames (B,1,H,W) in [0,1] to logits of ink (B,H,W) and of classes (B,classes,H,W), and offsets (B,2,H,W) in pixels"
    def __init__(self, classes:int, width:int=32, depth:int=3):
        super().__init__()
        widths = [width*2**i for i in range(depth)]
        self.down = nn.ModuleList([convs(i, o) for i,o in zip([4, *widths], widths)])
        self.narrow = nn.ModuleList([nn.Conv2d(2*o, o, 1) for o in widths[:-1]])
        self.up = nn.ModuleList([convs(2*o, o) for o in widths[:-1]])
        self.last = nn.Conv2d(width, 4*(classes + 3), 1)

    def forward(self, frames:Tensor)->tuple[Tensor, Tensor, Tensor]:
        x,skips = F.pixel_unshuffle(frames.sqrt(), 2), [] # The root makes dark rims visible
        for block in self.down:
            skips.append(block(F.max_pool2d(skips[-1], 2) if skips else x))
        x = skips.pop()
        for narrow,block in zip(reversed(self.narrow), reversed(self.up)):
            x = block(torch.cat([F.interpolate(narrow(x), scale_factor=2), skips.pop()], 1))
        out = F.pixel_shuffle(self.last(x), 2).float()
        return out[:,0], out[:,1:-2], 8*out[:,-2:]


def grid(x:Tensor)->Tensor:
    "Coordinates (x,y) of the pixels, (2,H,W)"
    return torch.stack(torch.meshgrid(*[torch.arange(n, device=x.device) for n in x.shape[-2:]], indexing='ij')[::-1]).float()


def offsets(instance:Tensor)->Tensor:
    "From each pixel to the centre of the visible pixels of its instance, (B,2,H,W)"
    masks,at = F.one_hot(instance.long()).float(), grid(instance)
    centres = torch.einsum('bhwk,chw->bkc', masks, at)/masks.sum((1,2)).clamp(min=1)[...,None]
    return torch.einsum('bhwk,bkc->bchw', masks, centres) - at


def loss_of(model:UNet, batch, args)->Tensor:
    "Cross-entropies of ink and classes, and the distance of the offsets; classes and offsets count where there is ink"
    frames,instance,labels = (o.to(args.device) for o in (batch[0][:,0], batch[1]['instance'][:,0], batch[1]['labels']))
    with torch.autocast(frames.device.type, torch.bfloat16, enabled=args.bf16): ink,logits,offset = model(frames)
    there = instance>0
    classes = labels.gather(1, instance.long().sub(1).clamp(min=0).flatten(1)).view_as(instance)
    def on_ink(x): return x.movedim(1, -1)[there]
    distance = F.l1_loss(on_ink(offset), on_ink(offsets(instance)))
    return 4*F.binary_cross_entropy_with_logits(ink, there.float()) + F.cross_entropy(on_ink(logits), classes[there]) + .05*distance


# Predictions and truth are lists with one dict per frame: 'masks' (n,H,W) bool, 'labels' (n,), 'scores' (n,)

def instances(parts:Tensor, log_probs:Tensor|None=None, label:int=0)->dict[str, Tensor]:
    "From the number of its instance at each pixel, 0 for none, (H,W), and logarithms of the probabilities of the digits, (classes,H,W)"
    numbers = parts.unique()
    masks = parts==numbers[numbers>0][:,None,None]
    if log_probs is None: return dict(masks=masks, labels=torch.full((len(masks),), label), scores=torch.ones(len(masks)))
    means = torch.einsum('nhw,chw->nc', masks.float(), log_probs)/masks.sum((1,2))[:,None]
    scores,labels = means.softmax(1).max(1)
    return dict(masks=masks, labels=labels, scores=scores)


def components(ink:Tensor)->Tensor:
    "Connected components, with 8 neighbours: a number at each pixel, (B,H,W)"
    parts,old = torch.arange(1, ink[0].numel() + 1.).view(ink.shape[1:])*ink, None
    while old is None or not parts.equal(old): old,parts = parts, F.max_pool2d(parts, 3, 1, 1)*ink
    return parts


def votes_to_parts(ink:Tensor, offset:Tensor, least:int=15, radius:int=4)->Tensor:
    "Number of its instance at each pixel, (B,H,W): the nearest peak of the votes for centres"
    (B,H,W),at = ink.shape, (grid(ink) + offset).clamp(min=0)
    cell = at[:,1].round().clamp(max=H-1)*W + at[:,0].round().clamp(max=W-1)
    votes = torch.zeros(B, H*W).scatter_add_(1, cell.long().flatten(1), ink.flatten(1).float()).view(B, 1, H, W)
    votes = 25*F.avg_pool2d(votes, 5, 1, 2) + 1e-5*torch.arange(H*W).view(H, W) # No ties
    peaks = ((votes>=least) & (votes==F.max_pool2d(votes, 2*radius + 1, 1, radius)))[:,0]
    parts = torch.zeros_like(ink, dtype=torch.long)
    for b in range(B):
        centres = peaks[b].nonzero().flip(1).float()
        if len(centres): parts[b] = (torch.cdist(at[b].flatten(1).T, centres).argmin(1) + 1).view(H, W)*ink[b]
    return parts


def predict(model:UNet, frames:Tensor, grouping:str='votes')->list[dict[str, Tensor]]:
    with torch.no_grad(): ink,logits,offset = (o.cpu() for o in model(frames.to(next(model.parameters()).device)))
    parts = votes_to_parts(ink>0, offset) if grouping=='votes' else components(ink>0)
    return [instances(*o) for o in zip(parts, logits.log_softmax(1))]


def truth_of(target)->list[dict[str, Tensor]]:
    def one(instance, labels):
        masks = instance==torch.arange(1, len(labels) + 1)[:,None,None]
        seen = masks.any(2).any(1)
        return dict(masks=masks[seen], labels=labels[seen], scores=torch.ones(int(seen.sum())))
    return [one(*o) for o in zip(target['instance'][:,0].cpu(), target['labels'].cpu())]


def class_map(one:dict[str, Tensor])->Tensor: return ((one['labels'] + 1)[:,None,None]*one['masks']).sum(0)


def score(found:list, true:list, classes:int)->dict[str, float]:
    "Mean IoU over the background and the classes; mask AP with classes, and without"
    from torchmetrics.detection import MeanAveragePrecision
    n = classes + 1
    pairs = sum(torch.bincount((n*class_map(t) + class_map(f)).flatten(), minlength=n*n) for f,t in zip(found, true)).view(n, n)
    union = pairs.sum(0) + pairs.sum(1) - pairs.diag()
    scores = {'mean IoU': (pairs.diag()[union>0]/union[union>0]).mean().item()}
    for name,factor in (('AP', 1), ('AP, any class', 0)):
        metric = MeanAveragePrecision(iou_type='segm')
        metric.update(*[[{**o, 'labels': factor*o['labels']} for o in side] for side in (found, true)])
        result = metric.compute()
        scores.update({name: max(result['map'].item(), 0), name.replace('AP', 'AP50'): max(result['map_50'].item(), 0)}) # -1: none found
    return scores


def evaluate(model:UNet, ds:MovingMNIST, n:int, usual:int)->dict[str, dict[str, float]]:
    "Scores of the network and of predictions that need none"
    batches = [ds.get_batch(indices=range(i, min(i+50, n))) for i in range(0, n, 50)]
    true = [o for _,target in batches for o in truth_of(target)]
    def all_of(f): return [o for frames,_ in batches for o in f(frames[:,0])]
    rows = {'U-Net, votes for centres': all_of(lambda x: predict(model, x)),
            'U-Net, connected components': all_of(lambda x: predict(model, x, 'components')),
            f"ink, connected components, all '{usual}'": all_of(lambda x: [instances(o, label=usual) for o in components(x[:,0].cpu()>0)]),
            'background everywhere': all_of(lambda x: [instances(o) for o in torch.zeros_like(x[:,0]).cpu()])}
    return {k: score(o, true, model.last.out_channels//4 - 3) for k,o in rows.items()}


def write_results(training:Training, rows:dict, ds:MovingMNIST):
    args,columns = training.args, list(next(iter(rows.values())))
    lines = [f"| | {' | '.join(columns)} |", '|---' + '|---:'*len(columns) + '|']
    lines += [f"| {k} | {' | '.join(f'{o[c]:.3f}' for c in columns)} |" for k,o in rows.items()]
    text = f"""# Classes and instances of single frames

{args.n_test:,} test frames (fingerprint `{ds.fingerprint}`, digits {args.digits!r}). Trained for {training.seconds/60:.1f} minutes on
{training.seen:,} frames. Mean IoU: over the classes and the background, all frames together. AP: mask AP of the visible pixels as COCO
defines it, averaged over IoU thresholds from 0.5 to 0.95, for each class, or without regard to classes; AP50: at the threshold 0.5.

{chr(10).join(lines)}

'ink' is every pixel that is not black. Digits whose centres are close are merged, and long ones are sometimes split.
The settings of the script were chosen by short runs that were scored on digits of the test split: the scores are slightly optimistic.

![Input, truth and prediction](segments.png)
"""
    (args.out/'results.md').write_text(text, encoding='utf-8')
    print(text)


def draw_segments(model:UNet, ds:MovingMNIST, path:Path, n:int=8):
    "Input, truth and prediction of the first test frames, with the class of each instance; instances have their colours from left to right"
    import matplotlib.pyplot as plt
    frames,target = ds.get_batch(indices=range(n))
    fig,axs = plt.subplots(3, n, figsize=(1.6*n, 5), layout='constrained')
    for row,name,found in zip(axs, ('input','truth','predicted'), (None, truth_of(target), predict(model, frames[:,0]))):
        row[0].set_ylabel(name)
        for i,ax in enumerate(row):
            ax.imshow(frames[i,0,0].cpu(), cmap='gray', vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            if found is None: continue
            centres = [o.nonzero().float().mean(0).flip(0).tolist() for o in found[i]['masks']]
            for color,k in enumerate(sorted(range(len(centres)), key=centres.__getitem__)):
                rgb = plt.get_cmap('tab10').colors[color % 10]
                ax.imshow(torch.cat([torch.tensor(rgb).expand(*frames.shape[-2:], 3), .75*found[i]['masks'][k][...,None]], 2))
                ax.text(*centres[k], int(found[i]['labels'][k]), color='white', fontsize=11, weight='bold', ha='center', va='center')
    fig.savefig(path, dpi=100)


def main(argv=None):
    args = parse(parser(__doc__, 'segment', minutes=4, bs=16, lr=3e-3, n_test=1000, what='frames'), argv)
    def dataset(split, **settings):
        return MovingMNIST(args.path, split=split, digits=args.digits, device=args.device, **SETTINGS, **settings)
    train,test = dataset('train', seed=args.seed, length=2**40), dataset('test', seed=1, length=10_000)
    test.get_batch(indices=[0]) # A new installation compiles its loops now, before the time counts
    torch.manual_seed(args.seed)
    model = UNet(int(train.digits.labels.max()) + 1).to(args.device, memory_format=torch.channels_last)
    training = Training(args, train, model, loss_of, 'frames')
    training.run()
    rows = evaluate(model, test, args.n_test, int(train.digits.labels.mode().values))
    write_results(training, rows, test)
    draw_segments(model, test, args.out/'segments.png')
    return rows


if __name__=='__main__': main()
