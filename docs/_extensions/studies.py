"""The directive ``studies``: every study's question, docstring and options, read and not run."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parent.parent.parent
STUDIES = ROOT / "studies"
TRAINING_OPTIONS = ROOT / "nc_jax" / "campaigns" / "options.py"


class Option(NamedTuple):
    """One option of a study: as it is typed, its default, what it says of itself."""

    flag: str
    default: str
    meaning: str


def classes_of(path: Path) -> dict[str, ast.ClassDef]:
    """The classes of a file by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def options_of(node: ast.ClassDef) -> Iterator[Option]:
    """The fields of a config that have a docstring of their own, in their order."""
    for field, after in zip(node.body, node.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            flag = "--" + field.target.id.replace("_", "-")
            default = "required" if field.value is None else ast.unparse(field.value)
            yield Option(flag, default, " ".join(str(after.value.value).split()))


def section(path: Path) -> list[str]:
    """A study as Markdown: a label, its question as a heading, the rest, and its options."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
    question, _, rest = docstring.partition("\n")
    lines = [f"(study-{path.stem})=", f"## {path.stem}: {question}", *rest.splitlines(), ""]
    config = next(iter(classes_of(path).values()))
    own = list(options_of(config))
    if any(isinstance(base, ast.Name) and base.id == "TrainingOptions" for base in config.bases):
        lines += ["It takes the [options of every training](#training-options), and:", ""]
    return lines + option_lines(own)


def option_lines(options: list[Option]) -> list[str]:
    """A definition list of options."""
    lines = []
    for option in options:
        default = option.default.replace("`", "'")
        lines += [f"`{option.flag}` (default: `{default}`)", f": {escaped(option.meaning)}", ""]
    return lines


def escaped(text: str) -> str:
    """Text in which Markdown and MyST find no formula and no emphasis."""
    return text.replace("$", r"\$").replace("*", r"\*").replace("|", r"\|")


class Studies(SphinxDirective):
    """All studies of a checkout, in alphabetical order; ``training-options``: what they share."""

    optional_arguments = 1
    option_spec = {"training-options": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Sections of the studies, or the options that those with networks share."""
        if "training-options" in self.options:
            paths = [TRAINING_OPTIONS]
            lines = option_lines(list(options_of(classes_of(paths[0])["TrainingOptions"])))
        else:
            paths = sorted(STUDIES.glob("*.py"))
            lines = [line for path in paths for line in section(path)]
        for path in paths:
            self.env.note_dependency(str(path))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("studies", Studies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
