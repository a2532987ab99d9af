"""The digest of the code that stored rows depend on."""

import functools
import types

import pytest

from nc_jax import source
from nc_jax.campaigns.campaign import train_group
from nc_jax.sweeps import tabulate


def loaded(path, text):
    """A module from a file, as a new process would see it."""
    path.write_text(text)
    source._digest.cache_clear()
    module = types.ModuleType(path.stem)
    exec(compile(text, path, "exec"), module.__dict__)
    return module


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package of the same structure: a lazy top, rooms, a report."""
    top = tmp_path / "nc_jax"
    for name, text in {
        "__init__.py": "",
        "__init__.pyi": "from .losses import Loss as Loss\n",
        "losses/__init__.py": "from nc_jax.losses.base import Loss\n",
        "losses/base.py": "",
        "solvers.py": "import nc_jax as nc\nimport numpy.linalg\n",
        "training/__init__.py": "",
        "training/loop.py": "def later():\n    from nc_jax.losses import base\n",
        "report/__init__.py": "import nc_jax.explorer\n",
        "explorer.py": "",
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    monkeypatch.setattr(source, "PACKAGE", top)
    return top


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import numpy as np\n", set()),
        ("import nc_jax.training.loop\n", {"training/__init__", "training/loop", "losses/"}),
        ("from nc_jax.training import loop\n", {"training/__init__", "training/loop", "losses/"}),
        ("from nc_jax import solvers, report\n", {"solvers", "losses/"}),
        ("import nc_jax as nc\n", {"losses/"}),
        ("import nc_jax.report\n", set()),
    ],
)
def test_every_module_imported_on_the_way_counts_except_the_report(package, text, expected):
    root = package.parent / "study.py"
    root.write_text(text)
    found = source.source_files(frozenset([root])) - {root}
    names = {str(file.relative_to(package).with_suffix("")) for file in found} - {"__init__"}
    losses = {"losses/__init__", "losses/base"} if "losses/" in expected else set()
    assert names == expected - {"losses/"} | losses


def test_a_change_of_an_imported_module_changes_the_digest(package):
    text = "import nc_jax.solvers\ndef make(): return 1\n"
    study = package.parent / "study.py"
    before = source.code_digest(loaded(study, text).make)
    assert source.code_digest(loaded(study, text).make) == before
    (package / "explorer.py").write_text("WIDTH = 2\n")
    assert source.code_digest(loaded(study, text).make) == before
    (package / "losses" / "base.py").write_text("HALF = 0.5\n")
    assert source.code_digest(loaded(study, text).make) != before


def test_trainings_and_tables_depend_on_the_numerical_core_and_not_on_the_figures():
    for maker in (train_group, tabulate):
        own = source.source_files(frozenset([source._file_of(maker)]))
        rooms = {file.relative_to(source.PACKAGE).parts[0] for file in own}
        assert not rooms & {"report", "explorer", "command"}
    assert {"training", "networks", "losses", "metrics"} <= {
        file.relative_to(source.PACKAGE).parts[0]
        for file in source.source_files(frozenset([source._file_of(train_group)]))
    }


def test_a_function_without_a_file_cannot_be_told_from_another():
    assert source.code_digest(functools.partial(tabulate, None)) == source.code_digest(tabulate)
    with pytest.raises(ValueError, match="<lambda>.*must be defined in a file"):
        source.code_digest(eval("lambda: 0"))
    with pytest.raises(ValueError, match="must be defined in a file"):
        source.code_digest(3)
