"""The directive ``public-names``: what a module shows in ``__all__``, from its docstrings."""

import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def names_of(module: ModuleType, room: str) -> Iterator[tuple[str, Any]]:
    """Public names and values that are no modules and were made in ``room``."""
    for name in sorted(module.__all__, key=str.lower):
        value = getattr(module, name)
        home = getattr(value, "__module__", module.__name__)
        if not inspect.ismodule(value) and f"{home}.".startswith(f"{room}."):
            yield name, value


def lines_for(module: str, name: str, value: Any) -> list[str]:
    """The directives of autodoc that show one name."""
    if inspect.isclass(value):
        return [f".. autoclass:: {module}.{name}", "   :members:", ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {module}.{name}", ""]
    if callable(value):  # a transformed function, such as one under jax.jit
        return [f".. autofunction:: {module}.{name}", ""]
    return [f".. autodata:: {module}.{name}", "   :no-value:", ""]


class PublicNames(SphinxDirective):
    """Documents every name of a module's ``__all__``, of one room where ``:room:`` names it."""

    required_arguments = 1
    option_spec = {"room": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """The entries, in alphabetical order; an error if there are none."""
        module = self.arguments[0]
        found = list(names_of(importlib.import_module(module), self.options.get("room", "")))
        if not found:
            raise self.error(f"{module} shows no name of {self.options.get('room')}")
        lines = [line for name, value in found for line in lines_for(module, name, value)]
        return self.parse_text_to_nodes(StringList(lines, source=module))


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
