import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=['='], interpolation=None)
parser.read(here/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']
home = re.search(r'^Repository = "(.*)"', (here/'pyproject.toml').read_text(encoding='utf-8'), re.MULTILINE)[1]


def description():
    "The README for readers elsewhere: its links and pictures lead to the repository"
    text = re.sub(r'(?<=\]\()(?!https?:|#)', f'{home}/blob/main/', (here/'README.md').read_text(encoding='utf-8'))
    return re.sub(r'(?<=src=")(?!https?:)', f'{home}/raw/main/', text.replace(f'{home}/blob/main/index_files', f'{home}/raw/main/index_files'))


statuses = ['', '1 - Planning', '2 - Pre-Alpha', '3 - Alpha', '4 - Beta', '5 - Production/Stable']

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=description(),
    long_description_content_type='text/markdown',
    keywords=cfg['keywords'],
    author=cfg['author'],
    license=cfg['license'],
    classifiers=[
        f"Development Status :: {statuses[int(cfg['status'])]}",
        f"Intended Audience :: {cfg['audience']}",
        f"Natural Language :: {cfg['language']}",
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence'],
    packages=find_packages(include=['torch_moving_mnist', 'torch_moving_mnist.*']),
    package_dir={'': '.'}, # An editable install is then a plain path file, which type checkers and editors follow
    package_data={cfg['lib_name']: ['py.typed', 'viewer.html', 'fonts.png']},
    python_requires='>=' + cfg['min_python'],
    install_requires=cfg['requirements'].split(),
    extras_require={k: cfg[f'{k}_requirements'].split() for k in ('video', 'ray', 'dev')},
    entry_points={
        'console_scripts': cfg['console_scripts'].split(),
        'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
    zip_safe=False,
)
