"""The rooms of the house: who may import whom, and how large a file may grow."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BASE = {"checks", "immutable", "classes", "batches"}
ROOMS = {
    "checks": set(),
    "immutable": set(),
    "batches": set(),
    "classes": {"checks", "immutable"},
    "files": set(),
    "source": set(),
    "compilation": {"files"},
    "xla": set(),
    "interruption": set(),
    "geometry": BASE,
    "losses": BASE | {"geometry"},
    "surrogates": BASE | {"metrics", "losses", "geometry"},
    "solvers": BASE | {"surrogates", "theory", "metrics", "losses", "geometry", "xla"},
    "theory": BASE | {"geometry", "losses"},
    "metrics": BASE | {"geometry"},
    "report": {
        "files",
        "compilation",
        "interruption",
        "diagnosis",
        "theory",
        "metrics",
        "specs",
        "sweeps",
    },
    "sweeps": {"files", "source", "xla"},
    "networks": set(),
    "datasets": {"checks", "files"},
    "experiments": {
        "sweeps",
        "datasets",
        "solvers",
        "surrogates",
        "theory",
        "metrics",
        "losses",
        "geometry",
        "immutable",
    },
    "command": {"interruption"},
    "specs": {"experiments", "sweeps"},
    "study": {"report", "solvers", "sweeps"},
    "campaigns": {
        "files",
        "source",
        "prediction",
        "diagnosis",
        "design",
        "training",
        "datasets",
        "report",
        "networks",
        "metrics",
        "theory",
        "solvers",
        "surrogates",
        "losses",
        "geometry",
    },
    "design": BASE | {"solvers", "surrogates", "theory", "losses", "geometry"},
    "explorer": BASE
    | {
        "compilation",
        "xla",
        "report",
        "diagnosis",
        "solvers",
        "surrogates",
        "theory",
        "metrics",
        "losses",
        "geometry",
    },
    "diagnosis": BASE
    | {"design", "solvers", "surrogates", "theory", "losses", "metrics", "geometry"},
    "bridges": BASE | {"files", "diagnosis", "metrics", "geometry"},
    "prediction": BASE
    | {
        "training",
        "datasets",
        "networks",
        "theory",
        "solvers",
        "surrogates",
        "metrics",
        "losses",
        "geometry",
    },
    "training": {"datasets", "networks", "losses", "metrics", "xla"},
}
# The rooms that draw or write figures, and the only modules of the report that another room may
# import: they check options, show progress and store tables.
DRAWING = {"report", "explorer", "study"}
PLAIN = {"options", "progress", "tables"}
FOLDERS = ("nc_jax", "studies", "benchmarks", "tests")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PACKAGE = [path for path in SOURCES if path.is_relative_to(ROOT / "nc_jax")]


def modules_imported(source):
    """Dotted names of all modules that a source imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def forbidden_rooms(room, source):
    """Rooms that a source of ``room`` imports and may not."""
    imported = {
        name.split(".")[1] for name in modules_imported(source) if name.startswith("nc_jax.")
    }
    return imported - ROOMS[room] - {room}


def drawing_imports(source):
    """Names that a source imports from matplotlib, or from the report but for its plain modules."""
    parts = {name: name.split(".") for name in modules_imported(source)}
    return {
        name
        for name, (top, *below) in parts.items()
        if top == "matplotlib"
        or (top == "nc_jax" and below[:1] == ["report"] and not set(below[1:2]) & PLAIN)
    }


def room_of(path):
    return path.relative_to(ROOT / "nc_jax").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards_only(path):
    if path == ROOT / "nc_jax" / "__init__.py":
        return
    source = path.read_text()
    assert room_of(path) in ROOMS, "a new room needs a place in ROOMS"
    assert not forbidden_rooms(room_of(path), source)
    assert not any(
        isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(source))
    ), "relative imports hide the room"


COMPUTING = [path for path in PACKAGE if room_of(path) not in DRAWING or path.stem in PLAIN]


@pytest.mark.parametrize("path", COMPUTING, ids=lambda path: str(path.relative_to(ROOT)))
def test_computing_asks_the_report_for_nothing_that_draws(path):
    assert not drawing_imports(path.read_text())


def test_the_check_itself_sees_an_upward_import():
    source = "from nc_jax.solvers import solve\nfrom nc_jax import theory\nimport nc_jax.report"
    assert forbidden_rooms("losses", source) == {"solvers", "theory", "report"}
    assert not forbidden_rooms("solvers", "from nc_jax.losses import CrossEntropy")
    later = "def f():\n    from nc_jax.report import save_figure\n    import matplotlib.figure"
    assert drawing_imports(later) == {"nc_jax.report.save_figure", "matplotlib.figure"}
    assert drawing_imports("from nc_jax import report") == {"nc_jax.report"}
    assert not drawing_imports("from nc_jax.report.tables import read_table")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small_and_finished(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert path.stem not in {"utils", "util", "helpers", "misc"}
    if path != Path(__file__).resolve():
        assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text)


def ordered_statuses(source):
    """Lines of a source that compare by order with a status, whose numbers have no order."""
    order = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare) and any(isinstance(op, order) for op in node.ops)
        if re.search(r"\bStatus\.[A-Z_]+\b", ast.unparse(node))
    ]


def test_a_status_is_compared_for_equality_only():
    """INVALID is 2 and STATIONARY is 3: "at most STATIONARY" holds for every status."""
    found = {path: ordered_statuses(path.read_text()) for path in SOURCES}
    assert not {path: lines for path, lines in found.items() if lines}


def test_the_check_itself_sees_a_status_compared_by_order():
    assert ordered_statuses("assert (found.status <= nc.Status.STATIONARY).all()") == [1]
    assert not ordered_statuses("found.gap < 1e-9 and found.status == nc.Status.CONVERGED")


WRITING = re.compile(
    r"mkstemp|NamedTemporaryFile|os\.(replace|rename|link)\(|\.rename\([^=\n]*\)$|\bopen\([^)\n]*[\"'][wax]"
    r"|^(?!.*lambda file).*\.write_(text|bytes)\(",
    re.MULTILINE,
)
# A folder of files, a copy of an upload in a temporary folder, and a member of an archive.
OTHER_WRITERS = {"training/checkpoints.py", "explorer/uploads.py", "bridges/stream.py"}


def test_files_are_written_by_one_writer():
    """Everything else goes through nc_jax/files.py, completely or not at all."""
    found = {
        str(path.relative_to(ROOT / "nc_jax"))
        for path in PACKAGE
        if WRITING.search(path.read_text())
    }
    assert found == OTHER_WRITERS | {"files.py"}


def run_python(code, *arguments, env=None):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_package_changes_no_jax_setting():
    code = (
        "import jax; before = dict(jax.config.values); import nc_jax; "
        "print(before == dict(jax.config.values))"
    )
    assert run_python(code).strip() == "True"


@pytest.mark.parametrize("module", ["nc_jax", "nc_jax.datasets"])
def test_importing_the_package_needs_no_extra(module):
    heavy = ["flax", "pandas", "pyarrow", "matplotlib", "cvxpy", "rich", "tyro", "chex", "torch"]
    heavy += ["starlette", "uvicorn", "sklearn", "pooch"]
    code = f"import sys, {module}; print(sorted(set({heavy}) & set(sys.modules)))"
    # optax itself imports chex in some versions; nothing else is excused.
    assert set(ast.literal_eval(run_python(code))) <= {"chex"}


def modules_of(room_is):
    """Dotted names of the package's modules whose room passes a test."""
    chosen = [path for path in PACKAGE if path.stem != "__main__" and room_is(room_of(path))]
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in chosen]
    return [".".join(own).removesuffix(".__init__") for own in parts]


LOADED = """
import importlib, sys
for name in {names}:
    importlib.import_module(name)
print([name for name in sys.modules if name.split(".")[0] == "matplotlib"])
print([name for name in sys.modules if name.startswith("nc_jax.report.")])
"""


def test_computing_never_imports_plotting():
    names = modules_of(lambda room: room not in DRAWING)
    assert {"nc_jax.campaigns", "nc_jax.diagnosis", "nc_jax.prediction"} <= set(names)
    plotting, parts = run_python(LOADED.format(names=names)).splitlines()
    assert plotting == "[]"
    assert set(ast.literal_eval(parts)) <= {f"nc_jax.report.{name}" for name in PLAIN}
    # The page draws by itself.
    everywhere = modules_of(lambda room: room != "report")
    assert run_python(LOADED.format(names=everywhere)).splitlines()[0] == "[]"


BACKEND = """
import importlib, pathlib, sys
import matplotlib
matplotlib.use("svg")
for name in {names}:
    importlib.import_module(name)
from nc_jax import report
figure, axes = report.new_figure(1, 1, 3, 2)
axes[0, 0].plot([1, 2], label="line")
report.legend_outside(figure, axes[0, 0], columns=1)
report.save_figure(figure, pathlib.Path(sys.argv[1]), "figure")
print(matplotlib.get_backend(), "matplotlib.pyplot" in sys.modules)
"""


def test_neither_importing_nor_drawing_changes_the_backend(tmp_path):
    code = BACKEND.format(names=modules_of(lambda room: room == "report"))
    assert run_python(code, tmp_path).split() == ["svg", "False"]
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "figure.svg"}


def test_figures_are_written_without_a_display(tmp_path):
    code = BACKEND.format(names=[]).replace('matplotlib.use("svg")', "")
    kept = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    assert run_python(code, tmp_path, env=kept | {"MPLBACKEND": "tkagg"}).split()[1] == "False"
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "figure.svg"}
