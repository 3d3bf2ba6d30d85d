"Scripts in examples/ run as they are, in an empty folder"
import os, subprocess, sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent/'examples'


@pytest.mark.parametrize('name', sorted(o.stem for o in EXAMPLES.glob('read_with_*.py')))
def test_the_example_runs(name, tmp_path):
    run = subprocess.run([sys.executable, EXAMPLES/f'{name}.py'], cwd=tmp_path, capture_output=True, text=True,
                         env={**os.environ, 'HF_HUB_OFFLINE': '1', 'HF_HOME': str(tmp_path/'hf')})
    assert run.returncode==0, run.stderr
    assert run.stdout.strip(), 'each ends with a line about what was read'
