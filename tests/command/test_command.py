"""The console command: what it lists, refuses, runs and imports."""

import importlib.metadata
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from nc_jax.command import main
from nc_jax.command.studies import describe_study, find_studies

ROOT = Path(__file__).resolve().parents[2]
RUN = "from nc_jax.command import main; main()"


def nc_jax(monkeypatch, *arguments):
    """Runs the command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["nc-jax", *arguments])
    try:
        main()
    except SystemExit as end:
        return end.code
    return 0


def test_the_list_holds_every_study_with_its_first_line_and_its_time(monkeypatch, capsys):
    studies = find_studies()
    assert set(studies) == {path.stem for path in (ROOT / "studies").glob("*.py")}
    monkeypatch.setenv("COLUMNS", "200")
    assert nc_jax(monkeypatch, "study") == 0
    listed = capsys.readouterr().out
    for name, path in studies.items():
        question, time = describe_study(path)
        assert path.read_text().startswith(f'"""{question}\n') and time
        (line,) = (line for line in listed.splitlines() if line.startswith(f"{name} "))
        assert question in line and f"  {time}  " in line


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["swep"], "sweep"),
        (["study", "phase-transition"], "phase_transition"),
        (["study", "qqqq"], "'qqqq'"),
        (["study", "--preset", "quick"], "comes before --preset"),
    ],
)
def test_wrong_names_are_one_line_with_the_closest(monkeypatch, capsys, arguments, named):
    assert nc_jax(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and named in error and error.count("\n") == 1


def test_version_is_that_of_the_distribution(monkeypatch, capsys):
    assert nc_jax(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == f"nc-jax {importlib.metadata.version('nc-jax')}"


def test_the_citation_has_the_version_of_the_distribution():
    text = (Path(__file__).resolve().parents[2] / "CITATION.cff").read_text()
    assert f"\nversion: {importlib.metadata.version('nc-jax')}\n" in text


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["study"], ["study", "--help"]])
def test_help_and_lists_import_neither_jax_nor_an_extra(arguments):
    code = f"import sys; sys.argv = ['nc-jax', *{arguments}]; {RUN}; print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.splitlines()[-1].strip("[]").replace("'", "").split(", "))
    assert "nc_jax.command" in imported
    assert not imported & {"jax", "numpy", "scipy", "matplotlib", "pandas", "tyro", "rich"}


def test_a_study_runs_as_its_script_does(tmp_path):
    """The options, the messages and the exit code are those of the script."""
    ended = []
    for command in (["-c", RUN, "study", "geodesic"], [str(ROOT / "studies" / "geodesic.py")]):
        done = subprocess.run(
            [sys.executable, *command, "--preset", "quick", "--within", "2", "--out", tmp_path],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        ended.append((done.returncode, done.stdout, done.stderr))
    assert ended[0] == ended[1]
    assert ended[0][0] == 2 and "--within must be at least 0 and at most 1" in ended[0][2]


@pytest.mark.parametrize(
    "arguments",
    [["diagnose"], ["sweep"], ["study", "diagnose"], ["study", "geodesic"]],
)
def test_help_names_the_command_that_was_typed(monkeypatch, capsys, arguments):
    monkeypatch.setenv("COLUMNS", "100")
    assert nc_jax(monkeypatch, *arguments, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: nc-jax {' '.join(arguments)} [")
    assert "python studies" not in shown
    other = "nc-jax study" if arguments[0] != "study" else "nc-jax diagnose"
    assert other not in shown


def test_help_of_explore_names_it(monkeypatch, capsys):
    pytest.importorskip("uvicorn", reason="the extra 'explore'")
    assert nc_jax(monkeypatch, "explore", "--help") == 0
    assert capsys.readouterr().out.startswith("usage: nc-jax explore [")


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert nc_jax(monkeypatch, "study", "phase_transition") == 2
    error = capsys.readouterr().err
    assert "pip install 'nc-jax[studies]'" in error and error.count("\n") == 1


def serve(monkeypatch, outcome):
    """Puts a module in the place of the explorer's server."""
    module = types.ModuleType("nc_jax.explorer.serve")
    monkeypatch.setattr(module, "main", outcome, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_explore_hands_its_options_on(monkeypatch):
    seen = []
    serve(monkeypatch, seen.append)
    assert nc_jax(monkeypatch, "explore", "--port", "5006") == 0
    assert seen == [["--port", "5006"]]


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (ModuleNotFoundError("No module named 'x'", name="x"), 2, "'nc-jax[explore]'"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_explore_ends_in_one_line(monkeypatch, capsys, raised, code, message):
    def fail(arguments):
        raise raised

    serve(monkeypatch, fail)
    monkeypatch.setattr(os, "_exit", sys.exit)
    assert nc_jax(monkeypatch, "explore") == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def run_python(program):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_an_interrupted_command_waits_for_no_thread():
    # A compilation cannot be stopped; here an ordinary thread stands for it.
    program = (
        "import threading, time\n"
        "from nc_jax.interruption import end_interrupted\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print('a row', end='')\n"
        "end_interrupted()\n"
    )
    done = run_python(program)
    assert (done.returncode, done.stdout, done.stderr) == (130, "a row", "interrupted\n")


def test_an_interruption_that_a_callback_swallows_is_heard():
    program = (
        "import gc, time\n"
        "from nc_jax.interruption import ends_when_interrupted\n"
        "def callback(*_):\n"
        "    gc.callbacks.remove(callback)\n"
        "    raise KeyboardInterrupt\n"
        "gc.callbacks.append(callback)\n"
        "with ends_when_interrupted():\n"
        "    gc.collect()\n"
        "    time.sleep(600)\n"
    )
    done = run_python(program)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_fault_of_the_package_itself_is_not_taken_for_a_missing_extra(monkeypatch):
    def fail(arguments):
        raise ModuleNotFoundError("No module named 'nc_jax.none'", name="nc_jax.none")

    serve(monkeypatch, fail)
    with pytest.raises(ModuleNotFoundError, match="nc_jax.none"):
        nc_jax(monkeypatch, "explore")
