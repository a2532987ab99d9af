"""Strict numerics, programs shared by all processes, hypothesis settings that repeat."""

import atexit
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


@pytest.fixture(autouse=True, scope="module")
def drop_compiled_programs():
    """Frees what a module compiled: thousands of programs exhaust a process's memory maps."""
    yield
    jax.clear_caches()
