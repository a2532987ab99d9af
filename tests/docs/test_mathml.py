"""Formulas as MathML: what the converter gets wrong is mended."""

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("latex2mathml")
pytest.importorskip("sphinx")

FILE = Path(__file__).resolve().parents[2] / "docs" / "_extensions" / "mathml.py"


@pytest.fixture(scope="module")
def mathml():
    spec = importlib.util.spec_from_file_location("docs_mathml", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mathml


@pytest.mark.parametrize(("name", "sign"), [("succeq", "\u2ab0"), ("preceq", "\u2aaf")])
def test_the_order_of_matrices_is_a_relation_of_its_own(mathml, name, sign):
    tree = ElementTree.fromstring(mathml(rf"X \{name} 0", "inline"))
    assert [element.text for element in tree.iter("mo")] == [sign]
    assert "≥" not in "".join(tree.itertext())
