"""Studies run as their users run them, in a process of their own or in that of the tests."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import jax

from nc_jax.study import Study

ROOT = Path(__file__).resolve().parent.parent


def start_study(name, *arguments):
    """The exit code, standard output and standard error of ``python studies/NAME.py ...``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, str(ROOT / "studies" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def run_study(name, *arguments):
    """The same, but without a new process, whose start takes longer than most small studies.

    Its settings of JAX are those of a fresh process and end with it, except that JAX has started
    and keeps its number of devices.
    """
    script = str(ROOT / "studies" / f"{name}.py")
    command = [script, *map(str, arguments)]
    said, complained = io.StringIO(), io.StringIO()
    code = 0
    with (
        settings_of_jax(jax_enable_x64=False, jax_numpy_dtype_promotion="standard"),
        mock.patch.object(sys, "argv", command),
        mock.patch.dict(os.environ, {"COLUMNS": "100"}),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
    ):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as ended:
            code = ended.code or 0
    return subprocess.CompletedProcess(command, code, said.getvalue(), complained.getvalue())


def require(study, config):
    """Checks a config of a study's module as the study does at its start."""
    Study(study.PRESETS, study.check, study.run, study.draw).require(config)


@contextlib.contextmanager
def settings_of_jax(**changes):
    """Other settings in all threads, and those of before afterwards, whatever a study changed."""
    kept = {name: jax.config.values[name] for name in changes}
    for name, value in changes.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            jax.config.update(name, value)
