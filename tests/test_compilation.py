"""Compiled programs on disk: nothing compiled twice, bounded, shared, off on request."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from nc_jax.compilation import STAMP, drop_damaged, shrink

ROOT = Path(__file__).resolve().parent.parent
STUDY = """
import dataclasses, sys, jax
from nc_jax import report

@dataclasses.dataclass
class Config:
    number: float = 3.0

def study(config):
    print(jax.jit(lambda x: x + config.number)(1.0), jax.config.jax_compilation_cache_dir)

report.run_command({"default": Config()}, study, "A study.", {keep})
"""

# Runs a script and says how many programs it asked for, and how many of them were on disk.
COUNTED = """
import collections, runpy, sys
from jax import monitoring
events = collections.Counter()
monitoring.register_event_listener(lambda name, **_: events.update([name.rpartition("/")[2]]))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print(events["compile_requests_use_cache"], events["cache_hits"])
"""


def start(*command, cache="", **environment):
    """A process with JAX's own settings left as they are, without those of the tests."""
    own = {name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name}
    own |= {"NC_JAX_COMPILATION_CACHE": str(cache), "PYTHONPATH": str(ROOT)} | environment
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=own, **pipes)


def finish(process):
    """What was printed on standard output and standard error."""
    printed = process.communicate()
    assert process.returncode == 0, printed
    return printed


def programs(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*-cache")}


def test_the_second_start_of_a_study_compiles_nothing(tmp_path):
    def launch(name):
        size = ["--majority", "3", "--num-ratios", "5", "--map-size", "3", "3"]
        out = ["--out", str(tmp_path / name)]
        study = ["studies/phase_transition.py", *size, *out]
        return start("-c", COUNTED, *study, cache=tmp_path / "cache")

    # The first two run at the same time and write the same programs.
    for process in [launch("one"), launch("two")]:
        assert finish(process)[1] == ""
    kept = programs(tmp_path / "cache")
    assert len(kept) > 5
    printed, errors = finish(launch("three"))
    asked, found = map(int, printed.split()[-2:])
    assert errors == "" and asked == found > 5
    assert programs(tmp_path / "cache") == kept
    one, three = ((tmp_path / name / "table.parquet").read_bytes() for name in ("one", "three"))
    assert one == three


@pytest.mark.parametrize("way", ["option", "variable", "benchmark", "own setting of JAX"])
def test_without_a_cache_a_study_runs(tmp_path, way):
    options = ["--no-compilation-cache"] if way == "option" else []
    variables = {"cache": "off"} if way == "variable" else {}
    if way == "own setting of JAX":
        variables["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "own")
    study = STUDY.replace("{keep}", str(way != "benchmark"))
    process = start("-c", study, *options, XDG_CACHE_HOME=str(tmp_path), **variables)
    printed, errors = finish(process)
    assert printed.split() == ["4.0", variables.get("JAX_COMPILATION_CACHE_DIR", "None")]
    assert errors == "" and not (tmp_path / "nc_jax").exists()


def test_by_default_programs_lie_in_the_cache_of_the_user(tmp_path):
    study = STUDY.replace("{keep}", "True")
    printed, errors = finish(start("-c", study, XDG_CACHE_HOME=str(tmp_path)))
    folder = Path(printed.split()[1])
    assert errors == "" and folder.parent == tmp_path / "nc_jax" / "programs"
    assert programs(folder) and folder.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    study = STUDY.replace("{keep}", "True")
    printed, errors = finish(start("-c", study, cache=tmp_path / "file"))
    assert printed.split() == ["4.0", "None"]
    assert errors.startswith("warning: compiled programs are not kept: ")
    assert errors.count("\n") == 1 and "file" in errors


def write(folder, name, size, age):
    path = folder / "machine" / f"{name}-cache"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(os.urandom(size)))
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_the_oldest_programs_are_deleted(tmp_path):
    paths = [write(tmp_path, f"program{age}", 1000, age) for age in range(5)]
    shrink(tmp_path, 10_000)
    assert all(path.exists() for path in paths)
    shrink(tmp_path, 3_500)
    assert [path.exists() for path in paths] == [True] * 3 + [False] * 2


def test_programs_that_were_cut_off_are_deleted_once(tmp_path):
    good, cut, empty = (write(tmp_path, name, 5000, 0) for name in ("good", "cut", "empty"))
    cut.write_bytes(good.read_bytes()[:-2])
    empty.write_bytes(b"")
    unknown = write(tmp_path, "zstandard", 10, 0)
    unknown.write_bytes(b"\x28\xb5\x2f\xfd")
    drop_damaged(tmp_path)
    assert [path.exists() for path in (good, cut, empty, unknown)] == [True, False, False, True]
    # Only those written since are read again.
    cut.write_bytes(b"\x78")
    os.utime(cut, (1e9, 1e9))
    drop_damaged(tmp_path)
    assert cut.exists()
    os.utime(tmp_path / STAMP, (1e8, 1e8))
    drop_damaged(tmp_path)
    assert not cut.exists()
