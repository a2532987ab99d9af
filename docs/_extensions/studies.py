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
CAMPAIGNS = ROOT / "nc_jax" / "campaigns"
SHARED = [CAMPAIGNS / "options.py", CAMPAIGNS / "text_options.py"]
# The options that are listed once for all studies.
TRAINING = "TrainingOptions"


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
            default = default.replace("tyro.MISSING", "required")
            yield Option(flag, default, " ".join(str(after.value.value).split()))


def section(path: Path) -> list[str]:
    """A study as Markdown: a label, its question as a heading, the rest, and its options."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
    question, _, rest = docstring.partition("\n")
    lines = [f"(study-{path.stem})=", f"## {path.stem}: {question}", *rest.splitlines(), ""]
    config = next(iter(classes_of(path).values()))
    options = {option.flag: option for kind in lineage(config) for option in options_of(kind)}
    if any(TRAINING in bases_of(kind) for kind in lineage(config)):
        lines += ["It takes the [options of every training](#training-options), and:", ""]
    return lines + option_lines(list(options.values()))


def bases_of(kind: ast.ClassDef) -> list[str]:
    """Names of the classes that a class is derived from."""
    return [base.id for base in kind.bases if isinstance(base, ast.Name)]


def lineage(config: ast.ClassDef) -> list[ast.ClassDef]:
    """A config after the classes of shared options it is derived from, but for TRAINING."""
    shared = {name: kind for path in SHARED for name, kind in classes_of(path).items()}
    above = [shared[name] for name in bases_of(config) if name in shared and name != TRAINING]
    return [*(kind for base in above for kind in lineage(base)), config]


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
            lines = option_lines(list(options_of(classes_of(SHARED[0])[TRAINING])))
            paths = []
        else:
            paths = sorted(STUDIES.glob("*.py"))
            lines = [line for path in paths for line in section(path)]
        for path in [*paths, *SHARED]:
            self.env.note_dependency(str(path))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("studies", Studies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
