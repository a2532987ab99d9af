"""Docstrings as they are written in this package: formulas in plain text, names of their module."""

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

LITERAL = re.compile(r"(``.*?``)")
# A bar, or a star that opens no emphasis.
SIGN = re.compile(r"\||(?<![\w*])\*(?=\w)(?![^*]*\w\*)")


def escape(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Bars are absolute values, and a single star stands for further arguments."""
    for position, line in enumerate(lines):
        parts = LITERAL.split(line)
        parts[::2] = [SIGN.sub(r"\\\g<0>", part) for part in parts[::2]]
        lines[position] = "".join(parts)
    if what in ("property", "attribute"):
        app.env.temp_data["docstring"] = list(lines)


def restore(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """A property's docstring is prose: napoleon takes what stands before a colon for a type."""
    if what in ("property", "attribute"):
        lines[:] = app.env.temp_data.pop("docstring", lines)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """A name of another module, which the reference shows under its public name.

    Only where exactly one documented name ends so.
    """
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    last = node["reftarget"].lstrip(".").rpartition(".")[2]
    # A module may have the name of what it holds.
    found = {
        name: entry
        for name, entry in domain.objects.items()
        if name.rpartition(".")[2] == last and entry.objtype != "module" and not entry.aliased
    }
    if len(found) != 1:
        return None
    ((_, entry),) = found.items()
    uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
    return nodes.reference("", "", content, internal=True, refuri=f"{uri}#{entry.node_id}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects them, the first two around napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", escape, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
