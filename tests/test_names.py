"""The public names: imported when first used, and all of them there."""

import subprocess
import sys

import pytest

import nc_jax as nc


def test_every_name_is_there():
    assert len(nc.__all__) > 50 and set(nc.__all__) <= set(dir(nc))
    for name in nc.__all__:
        assert getattr(nc, name) is not None
    assert nc.solve.__module__ == "nc_jax.solvers.select"
    with pytest.raises(AttributeError, match="nothing"):
        _ = nc.nothing


def test_importing_the_package_imports_no_room():
    code = "import sys, nc_jax; print([name for name in sys.modules if name.startswith('nc_jax')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['nc_jax']"
