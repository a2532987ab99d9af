"""Strict numerics, programs shared by all processes, hypothesis settings that repeat."""

import atexit
import gc
import os
import shutil
import tempfile

import jax
import pytest
from hypothesis import HealthCheck, settings

SHARED = "JAX_COMPILATION_CACHE_DIR"
if SHARED not in os.environ:
    # Inherited by pytest-xdist's workers and by every process that a test starts: what one of
    # them has compiled, the others load. A run starts with nothing.
    os.environ[SHARED] = tempfile.mkdtemp(prefix="nc-jax-tests-")
    atexit.register(shutil.rmtree, os.environ[SHARED], ignore_errors=True)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
jax.config.update("jax_compilation_cache_dir", os.environ[SHARED])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
# Where an operation was written is of no use here, and takes part of the time of lowering.
jax.config.update("jax_traceback_in_locations_limit", 0)
# Tracing makes so many objects that collecting garbage is a tenth of the tests' time.
gc.set_threshold(50_000, 10, 10)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Shapes are drawn too and each compiles anew, so examples are few and untimed.
settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")


# Begun first: a file stays with one worker, which one of these, begun last, would keep busy alone.
LONGEST = (
    "solvers/test_kinds.py",
    "solvers/test_solvers.py",
    "solvers/test_unconstrained.py",
    "solvers/test_factored.py",
    "solvers/test_class_losses.py",
    "solvers/test_many_groups.py",
    "solvers/test_multilayer.py",
    "studies/test_network_studies.py",
    "prediction/test_surrogate.py",
    "docs/test_how_to.py",
    "docs/test_tutorials.py",
    "design/test_designer.py",
    "design/test_strengths.py",
    "design/test_thresholds.py",
    "solvers/test_dimensions.py",
    "solvers/test_reduced.py",
    "prediction/test_exact.py",
    "studies/test_prediction.py",
    "studies/test_many_classes.py",
    "studies/test_vocabularies.py",
    "studies/test_language.py",
    "studies/test_cures.py",
    "solvers/test_lowering.py",
    "solvers/test_select.py",
)


def pytest_collection_modifyitems(items):
    """Sorts the files: the longest first, the others as they were."""
    place = {f"tests/{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


@pytest.fixture(autouse=True, scope="module")
def drop_compiled_programs():
    """Frees what a module compiled.

    Thousands of programs exhaust a process's memory maps, and with a few hundred of them in
    memory each further one takes twice as long to compile.
    """
    yield
    jax.clear_caches()
