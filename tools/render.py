"Write README.md, and its pictures in index_files/, from the outputs stored in nbs/index.ipynb"
import base64, re, shutil
from pathlib import Path

import nbformat
import yaml
from nbconvert import MarkdownExporter
from nbdev.config import get_config
from nbdev.serve import proc_nbs

ROOT = Path(__file__).resolve().parent.parent
PICTURES = 'index_files'


def tidy(nb):
    "Drop what is for nbdev alone (directives, metadata), and turn the front matter back into a title"
    for cell in nb.cells:
        cell.metadata = {}
        cell.pop('has_sd', None)
        cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.MULTILINE)
        if cell.cell_type == 'raw':
            front = yaml.safe_load(cell.source.strip().strip('-'))
            cell.cell_type, cell.source = 'markdown', f"# {front['title']}\n\n> {front['description']}" if 'title' in front else ''
    nb.cells = [c for c in nb.cells if c.source.strip()]
    nb.metadata['language_info'] = {'name': 'python'}
    return nb


def link_to_notebooks(body):
    "Names in code font lead to pages of a site; lead them to the notebooks instead"
    def notebook(match):
        found = list((ROOT/'nbs').glob(f'*_{match[1]}.ipynb'))
        return f'](nbs/{found[0].name})' if found else match[0]
    return re.sub(r'\]\(/(\w+)\.html(?:#[^)]*)?\)', notebook, body)


def extract_gifs(body):
    "Move animations out of the page into files, where a code host shows them"
    files = {}

    def move(match):
        name = f'{PICTURES}/animation_{len(files)}.gif'
        files[name] = base64.b64decode(match[1])
        return f'<img src="{name}" alt="animation">'
    return re.sub(r'<img src="data:image/gif;base64,([^"]*)"[^>]*>', move, body), files


def main():
    cfg = get_config(ROOT)
    cache = Path(proc_nbs(str(cfg.nbs_path), n_workers=0, force=True))
    nb = tidy(nbformat.read(cache/cfg.readme_nb, as_version=4))
    body, resources = MarkdownExporter().from_notebook_node(nb, {'output_files_dir': PICTURES, 'unique_key': 'index'})
    body, gifs = extract_gifs(body)
    body = link_to_notebooks(body)
    shutil.rmtree(ROOT/PICTURES, ignore_errors=True)
    (ROOT/PICTURES).mkdir()
    for name, data in {**resources['outputs'], **gifs}.items(): (ROOT/name).write_bytes(data)
    (ROOT/'README.md').write_text(re.sub(r'\n{3,}', '\n\n', body).strip() + '\n', encoding='utf-8')


if __name__ == '__main__': main()
