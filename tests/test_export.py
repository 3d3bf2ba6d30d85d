"mmnist-export, mmnist-info, mmnist-verify, and files for detection and tracking tools"
import contextlib, io, json, os, signal, subprocess, sys
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from PIL import Image

from torch_moving_mnist import load
from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.export import export, info, verify_command
from torch_moving_mnist.files import verify
from torch_moving_mnist.truth import to_coco, to_mot


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    "Run a command in this process: exit code, stdout, stderr"
    monkeypatch.chdir(tmp_path)
    def call(command, line, *more):
        capsys.readouterr()
        try: code = command([*line.split(), *more])
        except SystemExit as e: code = e.code
        return code, *capsys.readouterr()
    return call


def test_a_file_as_the_class_writes_it(run):
    code,out,err = run(export, 'canonical a.npy --n 20 --digits fonts --split test --seed 5 --quiet')
    assert (code, err)==(0, '') and out=='wrote 20 sequences to a.npy, which has 1.6 MB\n'
    ds = MovingMNIST.preset('canonical', digits='fonts', split='test', seed=5)
    assert torch.equal(load('a.npy')[:], ds[:20]) and load('a.npy').recipe=={**ds.recipe, 'length': 20}
    assert run(verify_command, 'a.npy --again 2')[:2]==(0, 'a.npy: whole\n')


def test_every_setting_is_an_option(run):
    settings = {'num-frames': 3, 'num-digits': '1,2', 'img-size': '40,48', 'affine-params': "{'angle':(-5,5)}", 'normalize': '(.1,.3)', 'classes': '3,5', 'color': 'random',
                'composite': 'over', 'interpolation': 'nearest', 'targets': 'boxes,labels', 'length': 50, 'concat': 'True', 'digit-size': 30}
    code,out,err = run(export, 'default a.npz --digits fonts --quiet --n 8', *(o for k,v in settings.items() for o in (f'--{k}', str(v))))
    assert code==0, err
    ds = MovingMNIST(digits='fonts', num_frames=3, num_digits=[1,2], img_size=(40,48), affine_params=dict(angle=(-5,5)), normalize=(.1,.3), classes=[3,5], color='random',
                     composite='over', interpolation='nearest', targets=['boxes','labels'], length=50, digit_size=30, seed=0)
    again = load('a.npz')
    assert again.recipe=={**ds.recipe, 'length': 8} and torch.equal(again[3][0], ds[3][0]) and list(again.targets)==['boxes','labels']


def test_shards_in_several_calls(run):
    base = 'srvp set --n 100 --digits fonts --num-frames 4 --targets boxes,flow --format tar --shard-rows 30 --quiet'
    code,out,_ = run(export, base + ' --shards 2:4')
    assert code==0 and 'wrote shards 2:4 of 4' in out and 'not finished: 2 of 4 shards are missing' in out
    assert run(verify_command, 'set')[0]==1
    code,out,_ = run(export, base + ' --shards 0:2')
    assert code==0 and 'missing' not in out and run(verify_command, 'set --again 4')==(0, 'set: whole\n', '')
    assert len(list(Path('set').iterdir()))==5 and len(load('set'))==100
    assert run(export, base + ' --workers 2')[0]==0 and verify('set')==[]


@pytest.mark.parametrize('line,code,match', [
    ('nope a.npy', 2, 'invalid choice'), ('canonical', 2, 'required'), ('canonical a.h5', 2, "ends in '.h5'"), ('canonical a.npy --n 0', 2, 'n=0'), ('canonical a.npy --n x', 2, 'invalid int'),
    ('canonical a.npy --targets boxes', 2, 'holds frames only'), ('canonical a.npy --num-frames 0', 2, 'num_frames=0'), ('canonical a --shards 0:2', 2, 'without --shard-rows'), ('canonical a --shard-rows 0', 2, '--shard-rows=0; expected'), ('canonical a.npy --format tar', 2, 'which is for folders'),
    ('canonical a --address head:6379', 2, '--address=head:6379 without --engine ray; expected both'), ('canonical a --engine ray --workers 2', 2, '--workers=2 with --engine ray'), ('canonical a --engine spark', 2, 'invalid choice'),
    ('canonical a --shards 2:1 --shard-rows 9', 2, '--shards=2:1; expected numbers in order'), ('canonical a --shards x --shard-rows 9', 2, '--shards=x; expected first:last'),
    ('canonical a --finish', 2, '--finish without --shard-rows'), ('canonical a --finish --shard-rows 9', 2, 'a has no shards; expected a folder into which'), ('canonical a --finish --shards 0:1 --shard-rows 9', 2, 'neither --shards nor'),
    ('canonical a.npy --motion bounse', 2, "Did you mean 'bounce'"), ('canonical a.npy --seed -1', 2, 'seed=-1'), ('canonical nowhere/../a.gif --fps 0', 2, 'fps=0')])
def test_mistakes_are_one_line(run, line, code, match):
    found,out,err = run(export, line + ' --digits fonts --quiet')
    assert found==code and match in err and 'Traceback' not in err and out=='' and os.listdir('.')==[]
    if 'usage' not in err: assert err.startswith('mmnist-export: ') and err.count('\n')==1


def test_finish_names_what_is_missing(run):
    line = 'canonical a --digits fonts --n 60 --num-frames 2 --shard-rows 10 '
    assert run(export, line + '--shards 1:3 --quiet')[:2]==(0, 'wrote shards 1:3 of 6 to a, which has 164.1 kB\nnot finished: 4 of 6 shards are missing: 0:1 3:6\n')
    assert run(export, line + '--finish')[:2]==(1, 'not finished: 4 of 6 shards are missing: 0:1 3:6\n') and not os.path.exists('a/index.json')
    code,out,err = run(export, line + '--finish --seed 1')
    assert code==2 and 'the folder holds another dataset: seed=0 instead of 1' in err
    for part in '0:1','3:6': run(export, line + f'--shards {part} --quiet')
    for _ in range(2): assert run(export, line + '--finish')[:2]==(0, f'a is finished: 60 sequences, 6 shards, {sum(o.stat().st_size for o in Path("a").iterdir())/1e3:.1f} kB\n')
    assert len(load('a'))==60


def test_a_dry_run_writes_nothing(run):
    for out in ('big','big.npy','big.npz'):
        code,said,_ = run(export, f'canonical {out} --digits fonts --n 2000 --dry-run')
        assert code==0 and said.startswith('2,000 sequences, 163.8 MB, about ') and 'sequences per second' in said and os.listdir('.')==[]


def test_help_has_examples(run):
    for command in (export, info, verify_command):
        code,out,_ = run(command, '--help')
        assert code==0 and 'examples:' in out
    assert '--num-frames' in run(export, '--help')[1]


def test_info(run):
    run(export, 'canonical a.npz --n 9 --digits fonts --targets boxes --quiet')
    code,out,_ = run(info, 'a.npz')
    assert code==0 and '9 sequences of 20 frames 64×64' in out and 'targets: boxes' in out and 'motion: bounce' in out and '@' in out
    code,out,_ = run(info, 'a.npz --png sheet.png')
    assert code==0 and Image.open('sheet.png').size[0]>300
    assert json.loads(run(info, 'a.npz --json')[1])['fingerprint']==load('a.npz').fingerprint
    code,out,err = run(info, 'nothing.npz')
    assert code==2 and err=="mmnist-info: [Errno 2] there is no such file or folder: 'nothing.npz'\n"


def test_verify_finds_faults(run):
    run(export, 'canonical a.npy --n 9 --digits fonts --quiet')
    with open('a.npy', 'r+b') as f: (f.seek(1000), f.write(b'x'))
    assert run(verify_command, 'a.npy')==(1, 'a.npy: sequences 0 to 8 differ from their checksum\na.npy: 1 fault\n', '')


def test_an_interrupted_command_says_how_to_go_on(tmp_path):
    "And the same command goes on"
    code = "import torch, sys; from torch_moving_mnist.files import arrays; arrays.CHUNK_BYTES = 2**20; from torch_moving_mnist.export import export; print('ready', flush=True); sys.exit(export())"
    args = ['canonical', 'set.npy', '--n', '1500', '--length', '1500', '--digits', 'fonts']
    process = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code, *args], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    part = tmp_path/'.set.npy.part'/'journal'
    processes.until(lambda: part.exists() and part.read_text().count('\n')>20)
    process.send_signal(signal.SIGINT)
    out,err = process.communicate()
    assert process.returncode==130 and err.rstrip().endswith('mmnist-export: interrupted; the same command goes on where it stopped') and 'Traceback' not in err
    done = part.read_text().count('\n')
    again = processes.run(code, *args, cwd=tmp_path)
    assert again.returncode==0 and done>20 and verify(tmp_path/'set.npy')==[] and sorted(os.listdir(tmp_path))==['set.npy','set.npy.json']


# Files of other tools

@pytest.mark.parametrize('kwargs', [dict(num_digits=[1,3]), dict(color='random', img_size=(40,50)), dict(motion='affine', affine_params=dict(translate=((-60,60),)*2))], ids=str)
def test_pycocotools_reads_the_json(tmp_path, kwargs):
    from pycocotools.coco import COCO
    ds = MovingMNIST(**{**dict(digits='fonts', num_frames=5, seed=0, normalize=False, targets=['labels','modal_boxes','modal_masks','visibility']), **kwargs})
    (tmp_path/'a.json').write_text(json.dumps(to_coco(ds, 70))) # Two chunks
    with contextlib.redirect_stdout(io.StringIO()): coco = COCO(tmp_path/'a.json')
    T,H,W,count = 5, *ds.canvas_size, 0
    assert len(coco.imgs)==350 and len({o['file_name'] for o in coco.imgs.values()})==350
    for i in (0,1,69):
        target = ds.truth(ds.draw(indices=[i]))
        for t in range(T):
            image = coco.imgs[i*T + t + 1]
            assert (image['width'],image['height'],image['video_id'],image['frame_id'])==(W, H, i+1, t)
            found = coco.loadAnns(coco.getAnnIds(imgIds=[image['id']]))
            visible = [k for k in range(target['labels'].shape[1]) if target['modal_masks'][0,k,t].any()]
            assert len(found)==len(visible)
            for o,k in zip(found, visible):
                mask = target['modal_masks'][0,k,t].numpy()
                assert np.array_equal(coco.annToMask(o), mask) and o['area']==mask.sum() and o['category_id']==target['labels'][0,k]+1
                x,y,w,h = o['bbox']
                assert [x, y, x+w, y+h]==target['modal_boxes'][0,k,t].tolist() and o['visibility']==pytest.approx(target['visibility'][0,k,t].item())
                assert o['track_id']==i*target['labels'].shape[1] + k + 1
                count += 1
    assert count>10 and {o['id'] for o in coco.dataset['categories']}=={int(o)+1 for o in ds.digits.labels.unique()}
    with pytest.raises(ValueError, match='n=0'): to_coco(ds, 0)
    ds.save(tmp_path/'a.npy', n=2, targets=(), progress=False)
    with pytest.raises(TypeError, match='ds is a SavedDataset; expected a MovingMNIST'): to_coco(load(tmp_path/'a.npy'), 2)
    ds.seed = None
    with pytest.raises(ValueError, match='seed=None'): to_coco(ds, 2)


def test_masks_without_labels():
    ds = MovingMNIST(digits=torch.randint(0, 255, (70,1,9,9), dtype=torch.uint8), img_size=20, num_frames=2, seed=0, normalize=False)
    coco = to_coco(ds, 2)
    assert coco['categories']==[dict(id=1, name='digit')] and {o['category_id'] for o in coco['annotations']}=={1}


def read_mot(folder):
    "By MOTChallenge's rules: ten or nine comma-separated numbers a line; frames, tracks and pixels count from 1; (frame, track) is unique"
    lines = [[*map(float, line.split(','))] for line in (folder/'gt'/'gt.txt').read_text().splitlines()]
    assert all(len(o)==9 for o in lines) and len({(o[0],o[1]) for o in lines})==len(lines) and all(o[0]>=1 and o[1]>=1 and o[6]==1 and o[7]>=1 and 0<=o[8]<=1 for o in lines)
    return {(int(o[0]), int(o[1])): (np.array(o[2:6]), int(o[7]), o[8]) for o in lines}


@pytest.mark.parametrize('color', [None, 'random'])
def test_motchallenge_reads_the_folder(tmp_path, color):
    ds = MovingMNIST(digits='fonts', num_digits=[1,3], num_frames=4, img_size=(40,50), seed=0, normalize=False, color=color, targets=['labels','boxes','visibility'])
    to_mot(ds, 3, tmp_path/'mot', fps=5)
    for i in range(3):
        one = tmp_path/'mot'/f'{i:06}'
        found,(frames,target) = read_mot(one),ds[i]
        assert 'frameRate=5\nseqLength=4\nimWidth=50\nimHeight=40\nimExt=.png' in (one/'seqinfo.ini').read_text()
        boxes = target['boxes'].view(3, 4, 4)
        assert set(found)=={(t+1, k+1) for k in range(3) for t in range(4) if boxes[k,t,2]>boxes[k,t,0]}
        for (t,k),(box,label,visible) in found.items():
            x1,y1,x2,y2 = boxes[k-1,t-1].tolist()
            assert box.tolist()==[x1+1, y1+1, x2-x1, y2-y1] and label==target['labels'][k-1]+1 and visible==pytest.approx(target['visibility'][k-1,t-1].item(), abs=1e-4)
        for t in range(4):
            image = np.array(Image.open(one/'img1'/f'{t+1:06}.png'))
            assert np.array_equal(image if color is None else image.transpose(2,0,1), frames[t].numpy() if color else frames[t,0].numpy())
    with pytest.raises(FileExistsError, match='it exists'): to_mot(ds, 3, tmp_path/'mot')
    assert os.listdir(tmp_path)==['mot']


def test_motchallenge_has_births_and_deaths(tmp_path):
    "A track has the frames of its digit's lifetime, and no others"
    ds = MovingMNIST(digits='fonts', num_digits=3, num_frames=8, seed=0, normalize=False, motion='bounce', lifetime=(1,4))
    to_mot(ds, 5, tmp_path/'mot')
    to_mot(ds, 2, tmp_path/'one', one_class=True)
    assert {o[1] for o in read_mot(tmp_path/'one'/'000001').values()}=={1}
    for i in range(5):
        present = ds.draw(indices=[i]).present[0]
        assert {*read_mot(tmp_path/'mot'/f'{i:06}')}=={(t+1, k+1) for k,t in present.nonzero().tolist()} and 3<=present.sum()<=12
