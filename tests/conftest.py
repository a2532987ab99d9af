"""Strict numerics, and hypothesis settings that repeat."""

import jax
import pytest
from hypothesis import HealthCheck, settings

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
