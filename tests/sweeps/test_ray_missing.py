"""Without Ray, ``--ray`` is refused before any work is done."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_ray_is_looked_for_first(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    spec = next((ROOT / "studies").rglob("*.toml"))
    out = tmp_path / "out"
    command = ["sweep.py", "run", str(spec), "--ray", "local", "--store", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "studies" / "sweep.py"), run_name="__main__")
    error = capsys.readouterr().err
    assert stopped.value.code not in (0, None)
    assert "--ray needs Ray: pip install 'nc-jax[cluster]'" in error + str(stopped.value.code)
    assert not out.exists()
