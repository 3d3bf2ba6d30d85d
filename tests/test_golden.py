"The same recipe gives the same sequences in every version and on every processor: what `golden.json` holds"
import json

import golden
import pytest
from conftest import ROOT, needs_mnist

KNOWN = json.loads(golden.FILE.read_text(encoding='utf-8'))
HERE,MNIST = dict(golden.cases()), dict(golden.cases(ROOT))


def compare(found, known):
    assert found.keys()==known.keys()
    for name,x in known.get('exact', {}).items(): assert found['exact'][name]==x, name
    for kind,tolerance in (('close',1e-6), ('rough',2e-3)):
        assert found.get(kind, {}).keys()==known.get(kind, {}).keys()
        for name,x in known.get(kind, {}).items(): assert found[kind][name]==pytest.approx(x, rel=tolerance, abs=tolerance), name


def test_every_case_is_known():
    assert KNOWN.keys()==HERE.keys() | MNIST.keys()


@pytest.mark.parametrize('name', HERE)
def test_golden(name): compare(HERE[name](), KNOWN[name])


@needs_mnist
@pytest.mark.parametrize('name', MNIST)
def test_golden_of_mnist(name): compare(MNIST[name](), KNOWN[name])
