"""Build the documentation site: `python tools/site.py OUT`

Pages come from `docs/` (written by hand), from the notebooks and their stored outputs, from docstrings, from the gallery's list and from
the tables in `benchmarks/`. Everything that is made goes to a temporary folder and to OUT.
"""
import argparse, html, importlib, inspect, io, os, pkgutil, posixpath, re, shutil, subprocess, sys, tempfile
from pathlib import Path

import yaml
from nbdev.config import get_config

import gallery
import render
import torch_moving_mnist
from render import PLAIN, ROOT, measured, plain, table
from torch_moving_mnist import metrics, stream
from torch_moving_mnist.motion import MOTIONS, check_motion
from torch_moving_mnist.truth import TARGETS
from torch_moving_mnist.utils import GIF
from torch_moving_mnist.viewer import Viewer

DOCS = ROOT/'docs'
HOWTO = ['train','evaluate','ground-truth','own-images','own-motion','reproduce','hand-over','many-gpus','billion']


def repository():
    "Address of the project, from pyproject.toml"
    return re.search(r'^Repository = "(.*)"', (ROOT/'pyproject.toml').read_text(encoding='utf-8'), re.MULTILINE)[1]


# ---- Links. A page knows its sources by their place in the repository, and is linked by its place in the site

def page_map():
    "Place in the repository → place in the site"
    notebooks = [o.relative_to(ROOT/'nbs') for o in (ROOT/'nbs').rglob('*.ipynb')]
    found = {f'nbs/{o.as_posix()}': f'notebooks/{o.with_suffix(".md").as_posix()}' for o in notebooks}
    found |= {'README.md': 'index.md', 'nbs/index.ipynb': 'index.md', 'nbs/guide.ipynb': 'guide.md'}
    found |= {f'docs/howto/{o}.md': f'howto/{o}.md' for o in ('index',*HOWTO)}
    found |= {f'torch_moving_mnist/{o}.py': f'reference/{o}.md' for o in TITLES} # Docstrings
    found |= {'torch_moving_mnist/metrics.py': 'reference/names.md'} # The table of its conventions
    found |= {'tools/gallery.py': 'gallery/index.md', 'CHANGELOG.md': 'changelog.md', 'CONTRIBUTING.md': 'contributing.md'}
    return found | {'benchmarks/RESULTS.md': 'benchmarks.md', 'benchmarks/NOTES.md': 'benchmarks-notes.md',
                    'benchmarks/PRESETS.md': 'benchmarks-presets.md'}


def outside_fences(change, text):
    "Apply a function to a page's text, but not to its blocks of code"
    parts = re.split(r'(^```.*?^```[^\S\n]*$)', text, flags=re.MULTILINE | re.DOTALL)
    return ''.join(part if i % 2 else change(part) for i,part in enumerate(parts))


def relink(text, source, page, pages):
    "Links of a text in the repository as links of a page of the site; what has no page is linked in the repository"
    def target(match):
        to,_,anchor = match[1].partition('#')
        if re.match(r'[a-z]+:', to) or not to or not re.fullmatch(r'[\w./+-]+', to): return match[0]
        if module := re.fullmatch(r'/([\w/]+)\.html', to): # As nbdev links symbols
            folder,name = posixpath.split(module[1])
            path = next(iter(sorted((ROOT/'nbs'/folder).glob(f'*_{name}.ipynb'))), None)
            if path is None: return match[0]
            where = path.relative_to(ROOT).as_posix()
        else: where = posixpath.normpath(posixpath.join(posixpath.dirname(source), to))
        if where not in pages and not (ROOT/where).exists(): return match[0]
        if where not in pages: return f']({repository()}/blob/main/{where})'
        return f']({posixpath.relpath(pages[where], posixpath.dirname(page) or ".")})'
    return outside_fences(lambda part: re.sub(r'\]\(([^)\s]+)\)', target, part), text)


# ---- Films

def film_of_gif(path, alt, gif):
    "A strip of frames, as bytes of a picture, and the HTML of a box in which the style shows one after the other"
    strip,n,duration = gallery.film_of(gif)
    strip.save(file := io.BytesIO(), 'png', optimize=True)
    w,h = strip.width//n, strip.height
    style = f'aspect-ratio: {w}/{h}; width: {w*(3 if w<100 else 2)}px'
    if n>1: style += f'; animation: film {n*duration/1000:g}s steps({n}, jump-none) infinite'
    alt = html.escape(f'Animation of {n} frames: {plain(alt)}')
    return file.getvalue(), f'<div class="film"><img src="{path}" width="{w}" height="{h}" style="{style}" alt="{alt}"></div>'


# ---- Notebooks

def extract_viewers(body, prefix):
    "Move pages that are embedded in frames into files; returns the text and the files"
    files = {}

    def move(match):
        name = f'{prefix}_{len(files)}.html'
        files[name] = html.unescape(match[1]).encode()
        return f'<iframe class="viewer" src="{name}" loading="lazy" '
    body = re.sub(r'<iframe srcdoc="([^"]*)"\s*', move, body)
    return re.sub(r'(<iframe class="viewer"[^>]* style=")[^"]*height:(\d+px)[^"]*"', r'\1--height: \2"', body), files


def play(body, files, folder):
    "Replace animations, which nobody can pause, with films; removes their files from `files`"
    def replace(match):
        strip,text = film_of_gif(match[1][:-4] + '.png', html.unescape(match[2]), files.pop(match[1]))
        write(folder/(match[1][:-4] + '.png'), strip)
        return f'\n{text}\n'
    return re.sub(r'<img src="([^"]+\.gif)" alt="([^"]*)">', replace, body)


def write_notebooks(out, pages):
    "A page for each notebook, and its pictures"
    for path in sorted((cache := render.processed()).rglob('*.ipynb')):
        where = path.relative_to(cache)
        if where.as_posix()==get_config(ROOT).readme_nb: continue # The front page says it
        page = out/pages[f'nbs/{where.as_posix()}']
        folder = os.path.relpath(out/'pictures', page.parent)
        key = where.with_suffix('').as_posix().replace('/', '_')
        body,files = render.export(path, folder, key, key)
        body,viewers = extract_viewers(body, f'{folder}/{key}')
        body = re.sub(r'<!-- WARNING: .*? -->', '', body)
        body = play(body, files, page.parent)
        if where.stem=='guide': body = f'---\nhide: [navigation]\n---\n{body}'
        write(page, relink(body, f'nbs/{where.as_posix()}', page.relative_to(out).as_posix(), pages))
        for name,data in {**files, **viewers}.items(): write(page.parent/name, data)


def write(path, data):
    "Write text or bytes to a file in a folder that need not exist"
    path = Path(os.path.normpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, bytes): path.write_bytes(data)
    else: path.write_text(data, encoding='utf-8')


# ---- Gallery

def film(out, o, gif):
    "HTML of an entry's film"
    strip,text = film_of_gif(f'{{root}}films/{o.id}.png', f'{o.title}. {o.text}', gif)
    write(out/'films'/f'{o.id}.png', strip)
    return text


def frame(out, name, title, viewer):
    "HTML of a frame that holds a viewer's page"
    write(out/'films'/f'{name}.html', viewer.page)
    return (f'<iframe class="viewer" src="{{root}}films/{name}.html" title="{html.escape(f"Viewer: {title}")}" '
            f'sandbox="allow-scripts" loading="lazy" style="--height: {viewer.height}px"></iframe>')


def pictures(out, o, root):
    "Markdown of what the code of an entry displays"
    parts = []
    for value in gallery.run(o.code):
        if isinstance(value, GIF): parts.append(film(out, o, value))
        elif isinstance(value, Viewer): parts.append(frame(out, o.id, o.title, value))
        else: parts.append(f'<pre class="output" tabindex="0" role="region" aria-label="Output: {html.escape(o.title)}">'
                           f'{html.escape(repr(value))}</pre>')
    return '\n\n'.join(parts).replace('{root}', root)


def code_block(code, language='python'): return f'```{language}\n{code}\n```'


def card(out, o):
    parts = [f'## {o.title} {{ #{o.id} }}', pictures(out, o, '../'), o.text, code_block(o.code)]
    return '\n\n'.join(['<section class="card" markdown>', *parts, '</section>'])


PAUSE = '<p><button type="button" class="pause-all" hidden>Pause all films</button></p>'


def write_gallery(out):
    "A page for each part of the gallery, and one that lists them"
    lists = []
    for name,(title,text,_) in gallery.PAGES.items():
        found = gallery.entries(name)
        cards = '\n\n'.join(card(out, o) for o in found)
        head = f'---\nhide: [toc]\n---\n\n# {title}\n\n{text}\n\n' + ' · '.join(f'[{o.title}](#{o.id})' for o in found)
        write(out/'gallery'/f'{name}.md', f'{head}\n\n{PAUSE}\n\n<div class="gallery" markdown>\n\n{cards}\n\n</div>\n')
        lists.append(f'## [{title}]({name}.md)\n\n{text}\n\n' + ' · '.join(f'[{o.title}]({name}.md#{o.id})' for o in found))
    intro = ('Each card plays what its lines make. Copy them into a notebook; in a script, write the result of `animate` or '
             '`viewer` to a file.')
    write(out/'gallery/index.md', f'# Gallery\n\n{intro}\n\n' + '\n\n'.join(lists) + '\n')


# ---- Reference

def sections(doc):
    "A numpy-style docstring as a dict: heading → text; '' → what comes before the first"
    first,*rest = re.split(r'^(\w[\w ]*)\n-+\n', doc, flags=re.MULTILINE)
    return {'': first.strip(), **{k: text.strip('\n') for k,text in zip(rest[::2], rest[1::2])}}


def items(text):
    "Entries of a section: lines that are not indented, with what is indented under them"
    return [(head, ' '.join(body.split())) for head,body in re.findall(r'^(\S.*)\n?((?:(?:[^\S\n]+.*)?(?:\n|\Z))*)', text, re.MULTILINE)]


def rows_of(name, text):
    "Table of a section"
    if name not in ('Parameters','Attributes'):
        return table([dict(Raises='error', Warns='warning').get(name, 'type'), 'meaning'], map(list, items(text)))
    def row(head, meaning):
        names,_,kind = head.partition(' : ')
        return [' '.join(f'`{o}`' for o in names.split(', ')), f'*{kind}*<br>{meaning}' if kind else meaning]
    return table(['name', 'meaning'], [row(*o) for o in items(text)])


def describe(f, name, call, anchor, level):
    "Markdown of a function, class or property, from its docstring"
    parts = sections(inspect.getdoc(f) or '')
    text = [f'{"#"*level} {name} {{ #{anchor} }}', '' if isinstance(f, property) else code_block(call), parts.pop('')]
    for k,o in parts.items():
        text.append(f'**{k}**\n\n' + (code_block(o, 'pycon') if k=='Examples' else rows_of(k, o)))
    return '\n\n'.join(filter(None, text))


def signature(f, name):
    "A call without annotations, one parameter on each line if it is long"
    params,shown = [p for p in inspect.signature(f).parameters.values() if p.name not in ('self','cls')],[]
    call = f"{name}({', '.join(str(p.replace(annotation=p.empty)) for p in params)})"
    if len(call)<=88: return call
    for before,p in zip([None, *params], params):
        if p.kind is p.KEYWORD_ONLY and (before is None or before.kind not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)): shown.append('*')
        text = str(p.replace(annotation=p.empty))
        shown.append(text if len(text)<=60 else f'{p.name}=…') # The table of parameters has the default in words
    return f'{name}(\n' + ''.join(f'    {o},\n' for o in shown) + ')'


ALSO = [metrics.Evaluation, stream.Batches, stream.Stream] # Classes whose docstrings need no sections
TITLES = dict(data='The dataset', scene='Scenes', utils='Showing frames', truth='Ground truth', metrics='Scores', files='Files',
              viewer='The viewer', stream='Streams', ray='Ray')
OWN = {'__getitem__','__getitems__'} # Special methods that are described


def public():
    "What users call, by module: objects with a numpy-style docstring, each in the first module that offers it"
    found,seen = {k: [] for k in TITLES},set()
    names = [o.name.removeprefix('torch_moving_mnist.') for o in pkgutil.walk_packages(torch_moving_mnist.__path__, 'torch_moving_mnist.')]
    for name in [*TITLES, *(o for o in names if o not in TITLES)]:
        module = importlib.import_module(f'torch_moving_mnist.{name}')
        for o in (getattr(module, k) for k in getattr(module, '__all__', [])):
            if not callable(o) or id(o) in seen: continue
            if o in ALSO or len(sections(inspect.getdoc(o) or ''))>1:
                seen.add(id(o))
                found.setdefault(name, []).append(o)
    return found


def members(cls):
    "Names of the public methods and properties of a class itself"
    names = [k for k in vars(cls) if k in OWN or not k.startswith('_')]
    return [k for k in names if callable(getattr(cls, k)) or isinstance(vars(cls)[k], property)]


def describe_member(cls, k):
    "Markdown of a method or property"
    f = vars(cls)[k]
    name = 'x[i]' if k=='__getitem__' else f'`{k}`' if k in OWN else k
    f,call = (f, '') if isinstance(f, property) else (getattr(cls, k), name if k=='__getitem__' else signature(getattr(cls, k), k))
    return describe(f, name, call, f'{cls.__name__}.{k.strip("_")}', 3)


def describe_object(o):
    "Markdown of a function, or of a class and its methods"
    text = [describe(o, o.__name__, signature(o, o.__name__), o.__name__, 2)]
    if inspect.isclass(o): text += [describe_member(o, k) for k in members(o)]
    return '\n\n'.join(text)


def summary(f): return sections(inspect.getdoc(f) or '')[''].split('\n\n')[0]


def overview(module, found):
    "Markdown that lists what a module offers, in a line each"
    rows = []
    for o in found:
        rows.append([f'[`{o.__name__}`]({module}.md#{o.__name__})', summary(o)])
        names = members(o) if inspect.isclass(o) else []
        rows += [[f'[`{o.__name__}{"[i]" if k=="__getitem__" else f".{k}"}`]({module}.md#{o.__name__}.{k.strip("_")})', summary(vars(o)[k])] for k in names]
    return f'## {TITLES.get(module, module)}\n\n' + table(['name', 'what it does'], rows)


def write_reference(out):
    "A page for each module with public objects, one that lists them, and tables of what has a name"
    parts = ['# Reference', 'What you call, by module. Arguments that take a name, such as `motion=`, are under [Names](names.md).']
    write(out/'reference/index.md', '\n\n'.join([*parts, *(overview(*o) for o in public().items())]) + '\n')
    for module,found in public().items():
        title = TITLES.get(module, module)
        text = [f'# {title}', f'`torch_moving_mnist.{module}`', *map(describe_object, found)]
        write(out/'reference'/f'{module}.md', '\n\n'.join(text) + '\n')
    def parameters(name):
        optional = {k: p.default for k,p in inspect.signature(MOTIONS[name].draw).parameters.items() if p.default is not p.empty}
        return ', '.join(f'`{k}={round_off(o)}`' for k,o in {**check_motion(name)[1], **optional}.items())
    motions = table(['`motion=`', 'what it does', 'parameters and defaults'],
                    [[f'`{k!r}`', o.draw.__doc__, parameters(k)] for k,o in MOTIONS.items()])
    scores = table(['`convention=`', 'formula', 'source', 'what is wrong with it'],
                   [[f'`{k!r}`', o.formula, o.source, o.error or '–'] for k,o in metrics.CONVENTIONS.items()])
    targets = table(['target', 'shape of a batch', 'dtype', 'meaning'],
                    [[f'`{k}`', f'`{o.shape}`', o.dtype, o.meaning] for k,o in TARGETS.items()])
    presets = table(['preset', 'source'], [[f'`{k!r}`', o] for k,o in torch_moving_mnist.MovingMNIST.presets().items()])
    text = ['# Names', 'Names that arguments take, from the tables that the library uses itself.', '## Motion models', motions,
            '## Presets', presets, '## Targets', targets, '## Conventions of scores', scores]
    write(out/'reference/names.md', '\n\n'.join(text) + '\n')


def round_off(o): return f'({", ".join(map(round_off, o))})' if isinstance(o, tuple) else f'{o:.3g}' if isinstance(o, float) else repr(o)


# ---- Benchmarks

KINDS = ['AVX2','AVX-512','CUDA']


def benchmarks_page(paths):
    "The measurements of several machines in plain words, then their tables"
    machines = {path: measured(path) for path in paths}
    titles = {path: o[0] for path,o in machines.items()}
    rows = [[what, *(say(o[1][name]) if name in o[1] else 'not measured' for o in machines.values())] for what,name,say in PLAIN]
    named = ' '.join(titles.values()).lower().replace('-', '')
    missing = [o for o in KINDS if o.lower().replace('-', '') not in named]
    text = ['# Benchmarks', 'How fast the library is, in plain words. Sequences have 10 frames of 64×64 pixels with one to three digits; '
            'batches are normalised float32. A ratio compares two ways on one machine in one run.',
            table(['measurement', *titles.values()], rows)]
    if missing: text.append(f'No table names these kinds of machine yet: {", ".join(missing)}.')
    text.append('`python -m benchmarks` repeats all of it. The [notes](NOTES.md) say what was tried; '
                'the [statistics of presets](PRESETS.md) say how bright their frames are.')
    for path in paths:
        title,body = path.read_text(encoding='utf-8').split('\n', 1)
        text.append(f'## All measurements: {titles[path]}\n{body}')
    return '\n\n'.join(text) + '\n'


# ---- The site

def front_page(text, out):
    "The front page, with what the README says about installing, its five lines, and what moves"
    readme = (ROOT/'README.md').read_text(encoding='utf-8')
    def blocks(heading):
        section = re.search(rf'^## {heading}\n(.*?)^## ', readme, re.MULTILINE | re.DOTALL)[1]
        return re.findall(r'^```\w+\n.*?^```', section, re.MULTILINE | re.DOTALL)
    gaps = dict(film=pictures(out, gallery.FRONT, ''), viewer=pictures(out, gallery.EXPLAINED, ''),
                viewer_code=code_block(gallery.EXPLAINED.code), install=blocks('Install')[0],
                five_lines='\n\n'.join(blocks('Five lines')[:2]))
    return re.sub(r'<!-- (\w+) -->', lambda m: gaps[m[1]], text)


def title_of(page): return re.search(r'^# (.*)$', page.read_text(encoding='utf-8'), re.MULTILINE)[1]


def notebooks_nav(out):
    "Notebooks in their order, folders after the notebooks"
    def pages(folder): return [{title_of(o): o.relative_to(out).as_posix()} for o in sorted(folder.glob('*.md'))]
    return [*pages(out/'notebooks'), *({o.name.capitalize(): pages(o)} for o in sorted((out/'notebooks').iterdir()) if o.is_dir())]


def navigation(out):
    return [{'Home': 'index.md'}, {'Guide': 'guide.md'},
            {'Gallery': ['gallery/index.md', *({title: f'gallery/{name}.md'} for name,(title,_,_) in gallery.PAGES.items())]},
            {'How to': ['howto/index.md', *({title_of(out/f'howto/{o}.md'): f'howto/{o}.md'} for o in HOWTO)]},
            {'Reference': ['reference/index.md', *({title_of(out/f'reference/{k}.md'): f'reference/{k}.md'} for k in public()), {'Names': 'reference/names.md'}]},
            {'Notebooks': notebooks_nav(out)},
            {'Project': [{'Benchmarks': 'benchmarks.md'}, {'Benchmark notes': 'benchmarks-notes.md'},
                         {'Statistics of presets': 'benchmarks-presets.md'},
                         {'Changelog': 'changelog.md'}, {'Contributing': 'contributing.md'}]}]


def write_pages(out):
    "All Markdown pages and their pictures"
    pages = page_map()
    shutil.copytree(DOCS, out, ignore=shutil.ignore_patterns('mkdocs.yml'), dirs_exist_ok=True)
    write(out/'index.md', front_page((DOCS/'index.md').read_text(encoding='utf-8'), out))
    write_notebooks(out, pages)
    write_gallery(out)
    write_reference(out)
    results = sorted((ROOT/'benchmarks').glob('RESULTS*.md'))
    write(out/'benchmarks.md', relink(benchmarks_page(results), 'benchmarks/RESULTS.md', 'benchmarks.md', pages))
    for source in 'CHANGELOG.md','CONTRIBUTING.md','benchmarks/NOTES.md','benchmarks/PRESETS.md',*(f'docs/howto/{o}.md' for o in ('index',*HOWTO)):
        write(out/pages[source], relink((ROOT/source).read_text(encoding='utf-8'), source, pages[source], pages))


def check_out(out):
    "Refuse a folder that holds something else than a site, because mkdocs empties it"
    out = Path(out)
    if out.exists() and not out.is_dir() or out.is_dir() and any(out.iterdir()) and not (out/'assets/site.js').exists():
        sys.exit(f'{out} holds something else; expected a new or empty folder, or one with a site')


def build(out):
    "Build the site; returns the exit code of mkdocs"
    check_out(out)
    with tempfile.TemporaryDirectory() as tmp:
        pages = Path(tmp)/'pages'
        pages.mkdir()
        write_pages(pages)
        config = dict(INHERIT=str(DOCS/'mkdocs.yml'), docs_dir=str(pages), site_dir=str(Path(out).resolve()), nav=navigation(pages))
        write(Path(tmp)/'mkdocs.yml', yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
        return subprocess.run([sys.executable, '-m', 'mkdocs', 'build', '--strict', '--config-file', str(Path(tmp)/'mkdocs.yml')],
                              env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'}).returncode


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Build the documentation site')
    parser.add_argument('out', help='folder of the site; what it holds is replaced')
    sys.exit(build(parser.parse_args().out))
