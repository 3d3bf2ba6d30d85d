"The documentation site: what its pages are made from, that it builds, and what it does in headless Chromium where that is installed"
import contextlib, functools, html, http.server, importlib.util, inspect, io, posixpath, re, subprocess, sys, tarfile, threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import processes
import pytest
from browsers import chromium
from conftest import ROOT as DATA, needs_mnist
from PIL import Image

from torch_moving_mnist.data import MovingMNIST
from torch_moving_mnist.motion import MOTIONS
from torch_moving_mnist.presets import PRESETS
from torch_moving_mnist.truth import TARGETS

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT/'tools'))

import gallery # noqa: E402


def load_tool(name):
    "A script in tools/ as a module, under another name: `site` is Python's own"
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT/'tools'/f'{name}.py')
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


TOOL = load_tool('site')
HOWTO = sorted((ROOT/'docs'/'howto').glob('*.md'))
ENTRIES = [*gallery.entries(), gallery.FRONT, gallery.EXPLAINED]


# ---- What the pages are made from

def test_the_gallery_has_all_names_of_the_registries():
    assert gallery.check_names()==[]
    assert {'color','foreground','lifetime'}<={o.kind for o in ENTRIES}


def test_a_name_without_an_entry_and_an_entry_without_a_name_are_found(monkeypatch):
    monkeypatch.setattr(gallery, 'SHOWN', {k: o for k,o in gallery.SHOWN.items() if k!='flow'})
    monkeypatch.setattr(gallery, 'SOURCE_TEXTS', {k: o for k,o in gallery.SOURCE_TEXTS.items() if k!='qmnist'})
    monkeypatch.setattr(gallery, 'CORRUPTION_TEXTS', {**gallery.CORRUPTION_TEXTS, 'rain': 'Rain.'})
    monkeypatch.setattr(gallery, 'CORRUPTION_ARGS', {**gallery.CORRUPTION_ARGS, 'rain': 'drops=3'})
    assert gallery.check_names()==["source 'qmnist' has no entry", "target 'flow' has no entry", "corruption 'rain' is in no registry"]


def test_code_of_the_gallery_is_short_and_needs_nothing_else():
    assert len({o.id for o in ENTRIES})==len(ENTRIES)
    for o in ENTRIES:
        lines = o.code.split('\n')
        assert len(lines)<=20 and max(map(len, lines))<=80, o.id
        assert 'torch_moving_mnist' in o.code and re.fullmatch(r'[a-zA-Z0-9-]+', o.id), o.id


def test_long_calls_get_short_lines():
    same = gallery.short_lines('x = 1\nds = f(a=1)\ny')
    long = gallery.short_lines("x = 1\nds = f('one argument', second=(1, 2), third=['a', 'b', 'c'], fourth=.5)\ny")
    assert same=='x = 1\nds = f(a=1)\ny'
    assert long=="x = 1\nds = f(\n    'one argument', second=(1, 2),\n    third=['a', 'b', 'c'], fourth=.5)\ny"


def blocks(text, language): return re.findall(rf'^```{language}\n(.*?)^```', text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize('path', [o for o in HOWTO if o.stem!='index'], ids=lambda o: o.stem)
def test_code_of_the_how_tos_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names,code = dict(__name__='__main__'),blocks(path.read_text(encoding='utf-8'), 'python')
    assert code
    for o in code: exec(compile(o, path.name, 'exec'), names)


COMMANDS = [line for o in HOWTO for block in blocks(o.read_text(encoding='utf-8'), 'sh') for line in block.splitlines() if 'mmnist-export' in line]


@needs_mnist
@pytest.mark.parametrize('line', COMMANDS)
def test_commands_of_the_how_tos_are_accepted(line, tmp_path):
    command,*args = line.split()
    assert command=='mmnist-export'
    run = processes.run('from torch_moving_mnist.export import export; export()', *args, '--dry-run', '--path', Path(DATA).resolve(), cwd=tmp_path)
    assert run.returncode==0 and not list(tmp_path.iterdir()), run.stderr


def test_all_how_tos_are_listed():
    assert {o.stem for o in HOWTO}=={'index', *TOOL.HOWTO}
    text = (ROOT/'docs'/'howto'/'index.md').read_text(encoding='utf-8')
    assert re.findall(r'\]\((\S+)\.md\)', text)==TOOL.HOWTO


def test_numbers_of_the_benchmarks_are_those_of_the_table():
    path = ROOT/'benchmarks'/'RESULTS.md'
    page = TOOL.benchmarks_page([path])
    text = path.read_text(encoding='utf-8')
    milliseconds = float(re.search(r'^\| get_batch\(128\), milliseconds per sequence \| (\S+)', text, re.MULTILINE)[1])
    shown = int(re.search(r'^\| Batches of 128 \| ([\d,]+) sequences per second \|', page, re.MULTILINE)[1].replace(',', ''))
    assert abs(shown*milliseconds/1000 - 1)<.006 # Three digits
    assert 'not measured' not in page.split('## All measurements')[0], 'a measurement has another name'


def test_each_machine_has_a_column(tmp_path):
    (tmp_path/'RESULTS-CUDA.md').write_text('# Benchmarks\n\nWritten on: A GPU (CUDA); Linux.\n\n| measurement | result | goal |\n|---|---|---|\n'
                                            '| get_batch(128), milliseconds per sequence | 0.001 (0.001–0.002) |  |\n')
    page = TOOL.benchmarks_page([ROOT/'benchmarks'/'RESULTS.md', tmp_path/'RESULTS-CUDA.md'])
    rows = [o.split(' | ') for o in page.split('\n') if o.startswith('| ')]
    assert 'A GPU (CUDA)' in rows[0][2] and '1,000,000 sequences per second' in rows[1][2] and 'not measured' in rows[2][2]
    assert 'CUDA' not in re.search('No table names .*', page)[0]


def test_sections_of_a_docstring():
    parameters = 'Parameters\n----------\nx, y : int, default 3\n    Two\n    lines.\nz : str\n    One.'
    parts = TOOL.sections(f'Do it.\n\nMore.\n\n{parameters}\n\nReturns\n-------\nint\n    It.')
    assert list(parts)==['','Parameters','Returns'] and parts['']=='Do it.\n\nMore.'
    assert TOOL.items(parts['Parameters'])==[('x, y : int, default 3', 'Two lines.'), ('z : str', 'One.')]
    assert TOOL.rows_of('Parameters', parts['Parameters']).split('\n')[2]=='| `x` `y` | *int, default 3*<br>Two lines. |'


def test_links_follow_their_pages():
    pages = TOOL.page_map()
    def to(text, source='nbs/files/00_files.ipynb', page='notebooks/files/00_files.md'): return TOOL.relink(text, source, page, pages)
    assert to('[a](01_arrays.ipynb)')=='[a](01_arrays.md)'
    assert to('[a](../40_data.ipynb)')=='[a](../40_data.md)'
    assert to('[`score`](/metrics.html#score)')=='[`score`](../50_metrics.md)'
    assert to('[a](../../examples/segment.py)')==f'[a]({TOOL.repository()}/blob/main/examples/segment.py)'
    assert to('[a](../../CHANGELOG.md)')=='[a](../../changelog.md)'
    for same in '[a](https://b.c/d.md)','[a](#b)','```\n[a](01_arrays.ipynb)\n```','[a](missing.md)': assert to(same)==same


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path/'thesis.tex').write_text('')
    with pytest.raises(SystemExit, match='holds something else; expected a new or empty folder'): TOOL.build(tmp_path)
    assert (tmp_path/'thesis.tex').exists()


# ---- The built site

def build(out):
    "What the command does, as its users run it"
    for name in 'mkdocs','material': pytest.importorskip(name, reason='mkdocs-material is not installed')
    return subprocess.run([sys.executable, str(ROOT/'tools'/'site.py'), str(out)], capture_output=True, text=True)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp('site')
    run = build(out)
    assert run.returncode==0, run.stdout[-4000:] + run.stderr[-4000:]
    return out


class Page(HTMLParser):
    "Links, ids and pictures of a page"
    def __init__(self, path):
        super().__init__()
        self.links,self.loaded,self.ids,self.alternatives,self.code,self.inside = [],[],set(),[],[],False
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[k] for k in ('id','name') if attrs.get(k)}
        if tag=='a' and 'href' in attrs: self.links.append(attrs['href'])
        if tag in ('img','script','iframe') and 'src' in attrs: self.loaded.append(attrs['src'])
        if tag=='link' and attrs.get('rel')!='canonical': self.loaded.append(attrs['href'])
        if tag=='img': self.alternatives.append((attrs.get('src'), attrs.get('alt')))
        if tag=='pre': self.inside,_ = True,self.code.append('')

    def handle_endtag(self, tag):
        if tag=='pre': self.inside = False

    def handle_data(self, data):
        if self.inside: self.code[-1] += data


@pytest.fixture(scope='module')
def pages(site):
    "Pages by name, without viewers"
    paths = [o for o in site.rglob('*.html') if o.parent.name not in ('films','pictures') and o.name!='404.html']
    return {o.relative_to(site).as_posix(): Page(o) for o in paths}


def test_there_are_pages_for_everything(pages):
    assert {'index.html','guide.html','changelog.html','benchmarks.html','contributing.html','reference/names.html'}<=pages.keys()
    assert {f'howto/{o.stem}.html' for o in HOWTO} | {f'gallery/{o}.html' for o in gallery.PAGES}<=pages.keys()
    notebooks = {o.relative_to(ROOT/'nbs').with_suffix('.html').as_posix() for o in (ROOT/'nbs').rglob('*.ipynb')} - {'index.html','guide.html'}
    assert {f'notebooks/{o}' for o in notebooks}<=pages.keys()


def test_links_and_pictures_lead_somewhere(site, pages):
    dead,count = [],0
    for name,page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme=='data' or parts.scheme in ('http','https','mailto') and link in page.links: continue
            assert not parts.scheme and not parts.netloc, f'{name} loads {link}'
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path))) if parts.path else name
            if path=='.': path = 'index.html'
            count += 1
            lost = parts.fragment and path in pages and unquote(parts.fragment) not in pages[path].ids
            if not (site/path).is_file() or lost: dead.append((name, link))
    assert not dead and count>3000, dead[:20]


def test_pictures_have_alternative_texts(pages):
    alternatives = [(name, *o) for name,page in pages.items() for o in page.alternatives]
    assert len(alternatives)>150
    assert not [o for o in alternatives if not o[2] or len(o[2])<10 or o[2]=='png']


def test_dead_links_fail_the_build(tmp_path, monkeypatch):
    pytest.importorskip('material', reason='mkdocs-material is not installed')
    def write(text, name):
        def write_pages(out): (out/'index.md').write_text(f'# Home\n\n{text}\n')
        monkeypatch.setattr(TOOL, 'write_pages', write_pages)
        monkeypatch.setattr(TOOL, 'navigation', lambda out: [{'Home': 'index.md'}])
        return TOOL.build(tmp_path/name)
    assert write('[a](nowhere.md)', 'a')!=0 and write('[a](#nowhere)', 'b')!=0 and write('[a](#home)', 'c')==0


def test_cards_show_the_code_that_makes_their_pictures(site, pages):
    for name in gallery.PAGES:
        text = (site/'gallery'/f'{name}.html').read_text(encoding='utf-8')
        cards = {re.search(r'<h2 id="([^"]+)"', o)[1]: o for o in re.split('<section class="card">', text)[1:]}
        entries = gallery.entries(name)
        assert list(cards)==[o.id for o in entries]
        for o in entries:
            assert o.code in [code.strip('\n') for code in pages[f'gallery/{name}.html'].code], o.id
            shown = re.search(r'<(?:img|iframe) [^>]*src="../(films/[^"]+)"', cards[o.id])
            assert (site/shown[1]).stat().st_size>300, o.id
    assert gallery.EXPLAINED.code in [o.strip('\n') for o in pages['index.html'].code]


@pytest.mark.parametrize('name', ['preset-svg','composite-over','corruption-hole','target-layers'])
def test_pictures_are_what_the_code_makes(site, name):
    entry = next(o for o in ENTRIES if o.id==name)
    strip,n,_ = gallery.film_of(gallery.run(entry.code)[0])
    shown = np.asarray(Image.open(site/'films'/f'{name}.png'))
    assert np.array_equal(shown, np.asarray(strip)) and shown.shape[1] % n==0
    frames = np.stack(np.split(shown, n, 1))
    assert (frames[1:]!=frames[:-1]).any()


def test_the_gallery_is_small(site): assert sum(o.stat().st_size for o in (site/'films').iterdir())<8e6


def test_the_front_page_has_the_five_lines_and_the_install_command_of_the_readme(pages):
    readme,code = (ROOT/'README.md').read_text(encoding='utf-8'),[o.strip('\n') for o in pages['index.html'].code]
    five = next(o for o in blocks(readme, 'python') if 'show_images(ds[0], figsize=(20,10))' in o).strip('\n')
    assert five.count('\n')==4 and five in code and blocks(readme, 'sh')[0].strip('\n') in code


def test_the_reference_has_what_users_call(pages):
    from test_types import FUNCTIONS
    ids = set().union(*(page.ids for name,page in pages.items() if name.startswith('reference/')))
    assert not [f.__qualname__ for f in FUNCTIONS if f.__qualname__.replace('__', '') not in ids]
    assert {'MovingMNIST','Scene','SavedDataset','Evaluation','Viewer','Stream','Batches'}<=ids


def test_the_reference_has_all_parameters_targets_and_motions(pages, site):
    def first(page): return set(re.findall(r'<tr>\s*<td><code>(.*?)</code></td>', (site/page).read_text(encoding='utf-8')))
    assert {*inspect.signature(MovingMNIST).parameters}<={o for cell in first('reference/data.html') for o in cell.split(' ')}
    assert {*TARGETS, *map(repr, MOTIONS), *map(repr, PRESETS)}<=set(map(html.unescape, first('reference/names.html')))


def test_the_list_of_the_reference_leads_to_everything(pages):
    listed = {o.partition('#')[2] for o in pages['reference/index.html'].links}
    from test_types import FUNCTIONS
    assert {f.__qualname__.replace('__', '') for f in FUNCTIONS}<=listed


# ---- In a browser

CHECKED = ['index','guide','howto/train','reference/data','benchmarks','reference/names','howto/index','notebooks/31_truth','notebooks/22_viewer','gallery/index',
           'gallery/targets'] # One of each kind
VISITED = [*CHECKED,'changelog','notebooks/40_data','notebooks/engine/03_paint','reference/index',*(f'gallery/{o}' for o in gallery.PAGES if o!='targets')]


@pytest.fixture(scope='module')
def browser():
    with chromium() as browser: yield browser


@pytest.fixture(scope='module')
def address(site):
    "Where a server on this machine offers the site"
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()


@contextlib.contextmanager
def visitor(browser, address):
    "A function that opens a page. In the end there must be no message, no failed request, and no request to another host"
    opened = []

    def visit(name, width=1280, scheme='light', motion='no-preference', **kw):
        if not opened:
            context = browser.new_context(viewport=dict(width=width, height=800), color_scheme=scheme, reduced_motion=motion, **kw)
            page,messages,loaded = context.new_page(),[],[]
            page.on('console', lambda o: messages.append(f'{page.url}: {o.text}'))
            page.on('pageerror', lambda o: messages.append(f'{page.url}: {o}'))
            def failed(o):
                if 'ERR_ABORTED' not in str(o.failure): messages.append(f'{o.url} failed: {o.failure}') # Leaving a page aborts its requests
            page.on('requestfailed', failed)
            page.on('response', lambda o: (loaded.append((o.url, o.status)), page.responses.append(o)))
            opened.append((context, page, messages, loaded))
        page = opened[0][1]
        page.responses = []
        page.goto(f'{address}{name}.html')
        return page
    yield visit
    for context,_,messages,loaded in opened:
        context.close()
        assert not messages
        own = [url for url,status in loaded if url.startswith((address, 'data:', 'blob:')) and status<400]
        assert len(own)>5 and own==[url for url,_ in loaded]


@pytest.fixture
def visit(browser, address):
    with visitor(browser, address) as visit: yield visit


@pytest.fixture(scope='module')
def axe(tmp_path_factory):
    "The script of axe-core, None if it cannot be fetched"
    folder = tmp_path_factory.mktemp('axe')
    try: subprocess.run(['npm','pack','axe-core','--silent'], cwd=folder, capture_output=True, check=True, timeout=90)
    except (OSError, subprocess.SubprocessError): return None
    with tarfile.open(next(folder.glob('axe-core-*.tgz'))) as archive: return archive.extractfile('package/axe.min.js').read().decode()


BOXES = '''() => [...document.querySelectorAll('article img, article pre, article table, article iframe, .film button')].map(o => {
    const r = (o.closest('.md-typeset__scrollwrap, pre, .highlight') ?? o).getBoundingClientRect();
    return [r.left, r.right, o.outerHTML.slice(0, 80)];
})'''
LOST = '''async () => {
    const images = [...document.images];
    await Promise.all(images.map(o => o.decode().catch(() => null)));
    return images.filter(o => !o.naturalWidth).map(o => o.src);
}'''


def serious_faults(frame, axe):
    if frame.parent_frame: frame.wait_for_selector('#frame[aria-valuetext]')
    frame.evaluate(axe)
    found = frame.evaluate("axe.run(document, {resultTypes: ['violations'], iframes: false}).then(o => o.violations)")
    return [(o['id'], o['nodes'][0]['html'][:100]) for o in found if o['impact'] in ('serious','critical')]


@pytest.fixture(scope='module', params=[(380,'dark'), (1280,'light')], ids=['380-dark','1280-light'])
def seen(request, browser, address, axe):
    "What each page shows, by its name: each is opened once on a small and once on a large screen"
    width,scheme = request.param
    found = {}
    with visitor(browser, address) as visit:
        for name in VISITED:
            page = visit(name, width, scheme)
            now = dict(width=page.evaluate('document.documentElement.scrollWidth'))
            page.evaluate('() => { for (const o of document.querySelectorAll("img, iframe")) o.loading = "eager" }')
            page.wait_for_load_state('load')
            now |= dict(lost=page.evaluate(LOST), boxes=page.evaluate(BOXES), background=page.evaluate('getComputedStyle(document.body).backgroundColor'))
            page.wait_for_selector('.md-typeset__scrollwrap[tabindex]' if page.locator('article table:not([class])').count() else 'article')
            frames = page.frames if name in ('index','notebooks/22_viewer') else [page.main_frame]
            checked = axe and name in (CHECKED if scheme=='light' else CHECKED[:4]) # Structure differs from page to page, colours only between schemes
            found[name] = {**now, 'faults': [o for frame in frames for o in serious_faults(frame, axe)] if checked else []}
    return width, scheme, found


def test_pages_fit_and_load_everything(seen):
    width,scheme,pages = seen
    for name,o in pages.items():
        assert o['width']<=width and o['lost']==[], name
        assert all(-1<=left and right<=width+1 for left,right,_ in o['boxes']), (name, o['boxes'])
        assert (o['background']!='rgb(255, 255, 255)')==(scheme=='dark')


def test_axe_finds_no_serious_fault(seen, axe):
    if axe is None: pytest.skip('npm cannot fetch axe-core')
    assert not [(name, *fault) for name,o in seen[2].items() for fault in o['faults']]


def test_the_front_page_is_light_and_moves_within_the_first_screen(visit):
    for width in 380,1280:
        page = visit('index', width)
        page.set_viewport_size(dict(width=width, height=700))
        page.locator('iframe.viewer').evaluate('o => { o.loading = "eager" }')
        page.wait_for_load_state('networkidle')
        box = page.locator('.film').first.bounding_box()
        assert box['y']+box['height']<=700 and page.locator('.front p').first.bounding_box()['y']<700
        assert 1e5<sum(int(o.headers['content-length']) for o in page.responses if not o.url.startswith('data:'))<3e6


def position(film): return float(film.locator('img').evaluate('o => getComputedStyle(o).objectPosition').split('%')[0])


def test_films_play_pause_and_show_their_frames(visit, site):
    page = visit('index')
    film,button = page.locator('.film').first,page.locator('.film button').first
    strip = np.asarray(Image.open(site/'films'/f'{gallery.FRONT.id}.png').convert('RGB'))
    frames = np.split(strip, 20, 1)
    now = '() => getComputedStyle(document.querySelector(".film img")).objectPosition'
    page.wait_for_function(f'x => ({now})() !== x', arg=page.evaluate(now))
    assert button.text_content()=='Pause'
    button.click()
    assert button.text_content()=='Play'
    t = round(position(film)*19/100)
    page.wait_for_timeout(400)
    assert round(position(film)*19/100)==t
    shown = np.asarray(Image.open(io.BytesIO(film.locator('img').screenshot())).convert('RGB'))
    whole = [shown[y:y+388,:388] for y in range(shown.shape[0]-387)] # The box may begin between two pixels of the screen
    assert frames[t].any() and 1<=len(whole)<=2 and any(np.abs(o[::2,::2].astype(int) - frames[t]).max()<=2 for o in whole)
    for k in range(20): # The middle of each frame's time
        film.locator('img').evaluate('(o, t) => { const [x] = o.getAnimations(); x.currentTime = x.effect.getTiming().duration*t }',
                                     (k+.5)/20)
        assert abs(position(film) - 100*k/19)<.01
    last = page.evaluate(now)
    button.press('Enter')
    page.wait_for_function(f'x => ({now})() !== x', arg=last)


def test_films_stand_still_where_the_system_asks_for_it(visit):
    page = visit('gallery/motions', motion='reduce')
    page.wait_for_timeout(300)
    films = page.locator('.film').all()
    assert len(films)==9 and [position(o) for o in films]==[0]*9
    films[2].locator('button').click()
    page.wait_for_timeout(500)
    assert position(films[2])>0 and position(films[1])==0 and page.locator('.pause-all').text_content()=='Pause all films'
    page.locator('.pause-all').click()
    assert {o.locator('button').text_content() for o in films}=={'Play'}
    page.locator('.pause-all').click()
    assert {o.locator('button').text_content() for o in films}=={'Pause'}


def test_the_viewer_on_the_front_page_works(visit):
    page = visit('index', motion='reduce')
    page.locator('iframe.viewer').scroll_into_view_if_needed()
    viewer = page.frame_locator('iframe.viewer')
    frame = viewer.locator('#frame[aria-valuetext]')
    assert frame.input_value()=='0'
    viewer.get_by_role('button', name='Next', exact=True).click()
    assert frame.input_value()=='1'
    viewer.get_by_role('button', name='Last', exact=True).press('Enter')
    assert frame.input_value()=='19'
    viewer.get_by_role('button', name='Play', exact=True).press(' ')
    viewer.get_by_role('button', name='Pause', exact=True).wait_for()
    for name in 'boxes','modal masks','flow','tracks','caption': assert viewer.get_by_label(name, exact=True).count()==1


def test_code_is_copied(visit):
    page = visit('gallery/presets', permissions=['clipboard-read','clipboard-write'])
    card = page.locator('.card').nth(2)
    card.locator('.highlight').hover()
    card.get_by_title('Copy to clipboard').click()
    page.wait_for_function('navigator.clipboard.readText().then(o => o.length > 0)')
    assert page.evaluate('navigator.clipboard.readText()').strip()==gallery.entries('presets')[2].code


def test_search_and_colour_scheme_work(visit):
    page = visit('index')
    page.keyboard.press('/')
    page.keyboard.type('collide')
    page.locator('.md-search-result__link').first.wait_for()
    page.keyboard.press('Escape')
    page.get_by_title('Switch to dark mode').click()
    assert page.evaluate('document.body.dataset.mdColorScheme')=='slate'


def test_everything_can_be_reached_by_key_and_the_focus_is_visible(visit):
    page = visit('gallery/motions')
    reached,hidden = [],[]
    for _ in range(60):
        page.keyboard.press('Tab')
        name,outline,width = page.evaluate('''() => {
            const o = document.activeElement, seen = o.matches('.md-option') ? o.nextElementSibling : o; // A hidden box has a button
            const style = getComputedStyle(seen);
            return [o.className + '|' + o.textContent.trim().slice(0, 30), style.outlineStyle, parseFloat(style.outlineWidth)];
        }''')
        reached.append(name)
        if outline=='none' or width<2: hidden.append(name)
    for name in 'Skip to content','Gallery','Ground truth','collide','Pause all films': assert any(name in o for o in reached), name
    assert sum(o.endswith('|Pause') for o in reached)>=3 and sum('md-code__button' in o or 'md-clipboard' in o for o in reached)>=3
    assert all('md-search__input' in o for o in hidden) # Which opens, and has a caret
