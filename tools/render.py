"Generate README.md, and its images in index_files/, from nbs/index.ipynb, its stored outputs, and the docstrings of the package"
import base64, inspect, re, shutil
from pathlib import Path

import nbformat
import yaml
from fastcore.docments import parse_docstring
from nbconvert import MarkdownExporter
from nbdev.config import get_config
from nbdev.serve import proc_nbs

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.files import finish_folder, load, verify, write_shard
from torch_moving_mnist.metrics import baselines, compare, evaluate, score
from torch_moving_mnist.truth import TARGETS, show_truth, viewer
from torch_moving_mnist.utils import animate, save_gif, show_images

ROOT = Path(__file__).resolve().parent.parent
PICTURES = 'index_files'


def tidy(nb):
    "Remove what only nbdev needs (directives and metadata), and turn the front matter back into a title"
    for cell in nb.cells:
        cell.metadata = {'transient': {'remove_source': True}} if '#| echo: false' in cell.source else {}
        cell.pop('has_sd', None)
        cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.MULTILINE)
        if cell.cell_type == 'raw':
            front = yaml.safe_load(cell.source.strip().strip('-'))
            cell.cell_type, cell.source = 'markdown', f"# {front['title']}\n\n> {front['description']}" if 'title' in front else ''
        if cell.cell_type == 'markdown': cell.source = re.sub(r'<!-- table: (\w+) -->', lambda match: TABLES[match[1]](), cell.source)
    nb.cells = [c for c in nb.cells if c.source.strip()]
    nb.metadata['language_info'] = {'name': 'python'}
    return nb


def table(head, rows):
    "Markdown of a table; cells are one line each"
    def row(cells): return '| ' + ' | '.join(' '.join(o.split()).replace('|', '\\|') for o in cells) + ' |'
    return '\n'.join([row(head), '|---'*len(head) + '|', *map(row, rows)])


def parameters():
    "Parameters of `MovingMNIST`, from its docstring"
    def row(p):
        kind,_,default = p.type.partition(', default ')
        return f'`{p.name}`', kind, default, ' '.join(p.desc)
    return table(['parameter', 'type', 'default', 'meaning'], map(row, parse_docstring(MovingMNIST)['Parameters'].values()))


def signature(f, name):
    "A call as a user writes it, without annotations"
    params = [p.replace(annotation=p.empty) for p in inspect.signature(f).parameters.values() if p.name not in ('self', 'cls')]
    return f"{name}({', '.join(map(str, params))})"


CALLS = {'ds[i]': MovingMNIST.__getitem__, 'ds.get_batch': MovingMNIST.get_batch, 'ds.batches': MovingMNIST.batches, 'ds.stream': MovingMNIST.stream,
         'ds.draw': MovingMNIST.draw, 'ds.render': MovingMNIST.render,
         'ds.truth': MovingMNIST.truth, 'viewer': viewer, 'show_truth': show_truth, # The last two are in `truth`
          'ds.denormalize': MovingMNIST.denormalize, 'ds.recipe': MovingMNIST.recipe, 'ds.fingerprint': MovingMNIST.fingerprint,
         'ds.save': MovingMNIST.save, 'load': load, 'verify': verify, 'write_shard': write_shard, 'finish_folder': finish_folder, # The last three are in `files`
         'MovingMNIST.preset': MovingMNIST.preset, 'MovingMNIST.presets': MovingMNIST.presets, 'MovingMNIST.from_recipe': MovingMNIST.from_recipe,
         'score': score, 'compare': compare, 'evaluate': evaluate, 'baselines': baselines, 'ds.context': MovingMNIST.context, # The first four are in `metrics`
         'show_images': show_images, 'animate': animate, 'save_gif': save_gif} # The last three are in `utils`


def calls():
    "What users call, with summary and result from the docstrings"
    def row(name, f):
        doc = parse_docstring(f)
        found = doc['Returns']
        gives = f"{found.type}. {' '.join(found.desc)}" if found and found.type else ''
        return f"`{name if isinstance(f, property) or name.endswith(']') else signature(f, name)}`", doc['Summary'], gives
    return table(['call', 'what it does', 'result'], [row(*o) for o in CALLS.items()])


def targets():
    "Targets, from the table that the library uses itself"
    return table(['target', 'shape of a batch', 'dtype', 'meaning'], [(f'`{k}`', f'`{o.shape}`', o.dtype, o.meaning) for k,o in TARGETS.items()])


TABLES = dict(parameters=parameters, calls=calls, targets=targets)


def link_to_notebooks(body):
    "Replace the links of symbols, which point to pages of the documentation site, with links to notebooks"
    def notebook(match):
        found = sorted((ROOT/'nbs'/match[1]).rglob(f'*_{match[2]}.ipynb'))
        return f'](nbs/{found[0].relative_to(ROOT/"nbs").as_posix()})' if found else match[0]
    return re.sub(r'\]\(/((?:\w+/)*)(\w+)\.html(?:#[^)]*)?\)', notebook, body)


def extract_gifs(body, prefix):
    "Move embedded animations into files, because code hosts do not display embedded ones; returns the page and the files"
    files = {}

    def move(match):
        name = f'{prefix}_{len(files)}.gif'
        files[name] = base64.b64decode(match[1])
        return f'<img src="{name}" alt="animation">'
    return re.sub(r'<img src="data:image/gif;base64,([^"]*)"[^>]*>', move, body), files


def processed():
    "Folder with the notebooks as nbdev prepares them for documentation"
    return Path(proc_nbs(str(get_config(ROOT).nbs_path), n_workers=0, force=True))


def export(nb, folder, key, gifs):
    "Markdown of a tidy notebook, and its pictures as a dict: name in `folder` → bytes"
    body, resources = MarkdownExporter().from_notebook_node(nb, {'output_files_dir': folder, 'unique_key': key})
    body, files = extract_gifs(body, f'{folder}/{gifs}')
    return body, {**resources['outputs'], **files}


def main():
    "Export the notebook to Markdown, and write README.md and its images"
    nb = tidy(nbformat.read(processed()/get_config(ROOT).readme_nb, as_version=4))
    body, files = export(nb, PICTURES, 'index', 'animation')
    body = link_to_notebooks(body)
    shutil.rmtree(ROOT/PICTURES, ignore_errors=True)
    (ROOT/PICTURES).mkdir()
    for name, data in files.items(): (ROOT/name).write_bytes(data)
    (ROOT/'README.md').write_text(re.sub(r'\n{3,}', '\n\n', body).strip() + '\n', encoding='utf-8')


if __name__ == '__main__': main()
