"Generate README.md, and its images in index_files/, from nbs/index.ipynb, its stored outputs, and benchmarks/RESULTS.md"
import base64, html, re, shutil
from pathlib import Path

import nbformat
import yaml
from nbconvert import MarkdownExporter
from nbdev.config import get_config
from nbdev.serve import proc_nbs

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


def plain(text):
    "Words of Markdown, as alternative text for a picture"
    text = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', text)
    return ' '.join(re.sub(r'[`*_#>\[\]|"]', '', text).split())


def alternatives(nb):
    "Alternative texts of the pictures of a notebook: number of the cell → text. The directive `fig-alt`, or the prose before"
    texts,prose = {},''
    for i,cell in enumerate(nb.cells):
        if cell.cell_type=='markdown':
            paragraphs = [o for o in cell.source.split('\n\n') if not o.startswith(('|','-','#','<'))]
            prose = plain(paragraphs[-1]) if paragraphs else prose
        else:
            own = cell.metadata.get('fig_alt')
            texts[i] = own or 'Plot' + (f' for: {prose if len(prose)<200 else prose[:200].rsplit(" ", 1)[0] + " …"}' if prose else '')
    return texts


def shorten_docs(cell):
    "Keep what nbdev shows of a public function or class to its summary: the reference has its signature, parameters and errors"
    for o in cell.outputs:
        head,*sections = re.split(r'^\w+\n-+\n', o.data.get('text/markdown', ''), flags=re.MULTILINE)
        if sections: o.data['text/markdown'] = re.sub(r'```python\n.*?```\n\n', '', head, flags=re.DOTALL)


def read_notebook(path):
    "A tidy notebook that still knows its alternative texts"
    nb = nbformat.read(path, as_version=4)
    own = {cell.id: match[1].strip() for cell in nb.cells if (match := re.search(r'^#\|\s*fig-alt:(.*)$', cell.source, re.MULTILINE))}
    for cell in nb.cells:
        if '\nshow_doc(' in cell.source: shorten_docs(cell)
    nb = tidy(nb)
    for cell in nb.cells:
        if cell.get('id') in own: cell.metadata['fig_alt'] = own[cell.id]
    return nb


def table(head, rows):
    "Markdown of a table; cells are one line each"
    def row(cells): return '| ' + ' | '.join(' '.join(o.split()).replace('|', '\\|') for o in cells) + ' |'
    return '\n'.join([row(head), '|---'*len(head) + '|', *map(row, rows)])


def measured(path):
    "Machine and measurements of a table of `python -m benchmarks`: name → median"
    text = path.read_text(encoding='utf-8')
    found = re.findall(r'^\| (.+?) \| ([\d.e+-]+)[^|]*\|', text, re.MULTILINE)
    return re.search(r'on: ([^;]+);', text)[1], {k: float(x) for k,x in found}


def per_second(x): return f'{float(f"{1000/x:.3g}"):,.0f} sequences per second'


def longer(x): return f'{x:.3g} times as long'


PLAIN = [ # What is measured, the name of the measurement, and its result in words
    ('Batches of 128', 'get_batch(128), milliseconds per sequence', per_second),
    ('Batches of 512', 'get_batch(512), milliseconds per sequence', per_second),
    ('Batches of 32', 'get_batch(32), milliseconds per sequence', per_second),
    ('One at a time, `ds[i]`', 'ds[i], milliseconds', per_second),
    ('`DataLoader`, batches of 128, no workers', 'DataLoader, batches of 128, num_workers=0, milliseconds per sequence', per_second),
    ('`DataLoader`, batches of 128, two workers', 'DataLoader, batches of 128, num_workers=2, milliseconds per sequence', per_second),
    ('Making a batch of 128, compared with copying it in memory, in turns',
     'get_batch(128) ÷ clone of the batch, five calls of each in turn, in 7 processes because memory placement varies', longer),
    ('… each in a loop of its own, which uses the same memory again', '… each in a separate loop of 101 calls, which reuses the same memory', longer),
    ("A loop over torchvision's `affine`, measured for 4 sequences, compared with this library",
     'the same loop for 128 sequences (32 times its time for 4) ÷ get_batch(128)', longer),
    ("kornia's batched `warp_affine`, compared with this library's rendering", "kornia's batched warp_affine ÷ render, 128 sequences", longer),
    ('`grid_sample` of whole canvases, compared with this library\'s rendering',
     'full-canvas grid_sample (the reference) ÷ render, 128 sequences', longer),
    ('NumPy slices and maximum for bouncing digits, compared with this library on one thread',
     'numpy slices and maximum ÷ matrix and render, bouncing digits, 20 frames, 2 digits, uint8, 1 thread', longer),
    ("Making sequences in a `DataLoader`, compared with torchvision's `MovingMNIST`, which reads the same ones from memory",
     "DataLoader over 'canonical', uint8, num_workers=0 ÷ over torchvision's MovingMNIST with the same frames in memory: "
     'a sampler of batches', longer),
    ('Share of training time spent waiting for data, a small network, batches of 16',
     'fraction of training time spent waiting for batches(bs=16, prefetch=2)', lambda x: f'{100*x:.2g} %'),
    ('The first batch after installation, compared with importing torch and torchvision, in processor time',
     'first dataset and get_batch(128), nothing compiled, CPU time ÷ import of torch and torchvision', longer),
    ('Peak memory for a batch of 4,096 sequences, compared with the size of the batch', 'peak memory, including the output ÷ output, get_batch(4096)',
     lambda x: f'{x:.3g} times as much')]


def speed():
    "What this machine's benchmark says, in plain words"
    where,found = measured(ROOT/'benchmarks/RESULTS.md')
    return table(['measurement', where], [[what, say(found[name])] for what,name,say in PLAIN if name in found])


TABLES = dict(speed=speed)


def link_to_notebooks(body):
    "Replace the links of symbols, which point to pages of the documentation site, with links to notebooks"
    def notebook(match):
        found = sorted((ROOT/'nbs'/match[1]).rglob(f'*_{match[2]}.ipynb'))
        return f'](nbs/{found[0].relative_to(ROOT/"nbs").as_posix()})' if found else match[0]
    return re.sub(r'\]\(/((?:\w+/)*)(\w+)\.html(?:#[^)]*)?\)', notebook, body)


def extract_gifs(body, prefix, texts):
    "Move embedded animations into files, because code hosts do not display embedded ones; returns the page and the files"
    files,texts = {},iter(texts)

    def move(match):
        name = f'{prefix}_{len(files)}.gif'
        files[name] = base64.b64decode(match[1])
        return f'<img src="{name}" alt="{html.escape(next(texts))}">'
    return re.sub(r'<img src="data:image/gif;base64,([^"]*)"[^>]*>', move, body), files


def processed(name=''):
    "Folder with the notebooks, or with one of them, as nbdev prepares them for documentation"
    return Path(proc_nbs(str(get_config(ROOT).nbs_path), n_workers=0, force=True, file_glob=name))


def has_gif(cell): return any('data:image/gif' in o.get('data', {}).get('text/html', '') for o in cell.get('outputs', []))


def export(path, folder, key, gifs):
    "Markdown of a processed notebook, and its pictures as a dict: name in `folder` → bytes"
    nb = read_notebook(path)
    texts = alternatives(nb)
    body, resources = MarkdownExporter().from_notebook_node(nb, {'output_files_dir': folder, 'unique_key': key})
    body = re.sub(rf'!\[png\]\(([^)]*{key}_(\d+)_\d+\.png)\)', lambda m: f'![{texts[int(m[2])]}]({m[1]})', body)
    body, files = extract_gifs(body, f'{folder}/{gifs}', [texts[i] for i,cell in enumerate(nb.cells) if has_gif(cell)])
    return body, {**resources['outputs'], **files}


def main():
    "Export the notebook to Markdown, and write README.md and its images"
    name = get_config(ROOT).readme_nb
    body, files = export(processed(name)/name, PICTURES, 'index', 'animation')
    body = link_to_notebooks(body)
    shutil.rmtree(ROOT/PICTURES, ignore_errors=True)
    (ROOT/PICTURES).mkdir()
    for name, data in files.items(): (ROOT/name).write_bytes(data)
    (ROOT/'README.md').write_text(re.sub(r'\n{3,}', '\n\n', body).strip() + '\n', encoding='utf-8')


if __name__ == '__main__': main()
