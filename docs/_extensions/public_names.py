"""Directives of the API reference: ``public-names`` of a module, ``modules`` of a room."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def names_of(module: ModuleType, room: str) -> Iterator[str]:
    """Names of a module's ``__all__`` of values that ``room`` made."""
    for name in sorted(module.__all__, key=str.lower):
        value = getattr(module, name)
        home = getattr(value, "__module__", None) or module.__name__
        if not inspect.ismodule(value) and (not room or f"{home}.".startswith(f"{room}.")):
            yield name


def lines_for(module: str, name: str, value: Any) -> list[str]:
    """The directive that shows one name."""
    if inspect.isclass(value):
        # The class's own docstring has its fields already.
        own = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        fields = ", ".join(getattr(value, "_fields", [field.name for field in own]))
        exclude = [f"   :exclude-members: {fields}"] if fields else []
        return [f".. autoclass:: {module}.{name}", "   :members:", *exclude, ""]
    if inspect.isroutine(value) or hasattr(value, "__wrapped__"):
        return [f".. autofunction:: {module}.{name}", ""]
    return [f".. py:data:: {module}.{name}", "", f"   {said_of(value)}", ""]


def said_of(value: Any) -> str:
    """A constant in words: its value, or the names that it holds."""
    if isinstance(value, Mapping):
        return "By name: " + ", ".join(f"``{name}``" for name in value) + "."
    if isinstance(value, tuple | list):
        return ", ".join(f"``{item}``" for item in value) + "."
    return f"``{value}``" if isinstance(value, int | float | str) else "A type of functions."


class PublicNames(SphinxDirective):
    """Documents names of a module.

    All of its ``__all__``; those of one room where ``:room:`` names it; or those of ``:names:``.
    """

    required_arguments = 1
    option_spec = {"room": directives.unchanged, "names": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """The entries, in alphabetical order; an error if there are none."""
        module = importlib.import_module(self.arguments[0])
        names = self.options.get("names", "").split()
        names = names or list(names_of(module, self.options.get("room", "")))
        if not names:
            raise self.error(f"{module.__name__} shows no name of {self.options.get('room')}")
        lines = []
        for name in names:
            lines += lines_for(module.__name__, name, getattr(module, name))
        return self.parse_text_to_nodes("\n".join(lines))


class Modules(SphinxDirective):
    """The docstrings of a room's modules, the room's own first."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One entry a module."""
        room = importlib.import_module(self.arguments[0])
        inside = pkgutil.iter_modules(getattr(room, "__path__", []), f"{room.__name__}.")
        lines = []
        for name in [room.__name__, *(module.name for module in inside)]:
            # Where a module and its function have one name, the name is the function's.
            public = getattr(room, name.rpartition(".")[2], None)
            shadowed = public is not None and not inspect.ismodule(public)
            lines += [f".. automodule:: {name}", *(["   :no-index:"] if shadowed else []), ""]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directives."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("modules", Modules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
