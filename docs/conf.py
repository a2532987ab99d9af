"""How the documentation is built: ``python -m sphinx -W -n -b html docs docs/_build/html``."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS / "_extensions"), str(DOCS.parent)]

import nc_jax  # noqa: E402 (the checkout comes before an installed copy)

project = "nc_jax"
author = "the authors of nc_jax"
release = version = nc_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "docstrings",
    "public_names",
    "studies",
    "figures",
]
exclude_patterns = ["_build"]
suppress_warnings = ["mystnb.unknown_mime_type"]

# Notebooks are text without outputs: every build runs them, away from the checkout.
nb_execution_mode = "auto"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False
python_maximum_signature_line_length = 80
# Type variables and aliases, which have no page.
nitpick_ignore = [
    ("py:class", name)
    for name in (
        "nc_jax.diagnosis.members.Bytes",
        "nc_jax.diagnosis.members.Member",
        "nc_jax.report.commands.Config",
        "nc_jax.report.progress.Item",
        "nc_jax.immutable.T",
        "nc_jax.report.progress.Result",
        "nc_jax.solvers.acceptance.Model",
        "nc_jax.solvers.select.Found",
        "nc_jax.solvers.select.Model",
        "nc_jax.sweeps.store.Scan",
        "nc_jax.theory.brackets.Key",
        "nc_jax.training.loop.Progress",
    )
]
# Types of other packages: checking them would need their inventories from the network.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(jax|jaxlib|numpy|np|pandas|pyarrow|matplotlib|flax|nnx|rich|xarray|polars|optax)\b.*",
    ),
    (r"py:.*", r"(collections|contextlib|pathlib|typing|datetime|threading|os|io)\b.*"),
]

html_theme = "furo"
html_title = "nc_jax"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["nc_jax.css"]
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
