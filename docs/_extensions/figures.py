"""The directive ``result-figure``: a committed figure, small, with the command that made it."""

import html
import json
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "results"
WIDTH = 720


def command_of(figure: Path) -> tuple[str, str]:
    """The study that made a figure, and its command line, from the provenance beside it."""
    provenance = json.loads((figure.parent / "provenance.json").read_text(encoding="utf-8"))
    words = provenance["command"].split()
    return Path(words[1]).stem, provenance["command"]


class ResultFigure(SphinxDirective):
    """A figure under ``results/``: thumbnail, sentence, command, and a link to its study."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The thumbnail, which links to the whole figure, and its caption."""
        name = self.arguments[0]
        figure = RESULTS / name
        if not figure.is_file() or not self.content:
            raise self.error(f"result-figure needs a file under results/ and a sentence: {name}")
        self.env.note_dependency(str(figure))
        self.env.metadata[self.env.docname].setdefault("result_figures", []).append(name)
        study, command = command_of(figure)
        sentence = " ".join(self.content)
        prefix = "../" * self.env.docname.count("/")
        picture = (
            f'<a class="result-figure" href="{prefix}figures/{name}">'
            f'<img loading="lazy" src="{prefix}figures/{thumbnail(name)}" '
            f'alt="{html.escape(sentence)}"></a>'
        )
        caption = [*self.content, "", f"{{ref}}`{study} <study-{study}>`:", "", "```shell"]
        text = "\n".join([*caption, command, "```"])
        card = nodes.container(classes=["result-card"])
        card += [nodes.raw("", picture, format="html"), *self.parse_text_to_nodes(text)]
        return [card]


def thumbnail(name: str) -> str:
    """The path of a figure's small copy."""
    return f"{name.removesuffix('.png')}.small.png"


def write_figures(app: Sphinx, error: Exception | None) -> None:
    """Puts the figures that pages show, and small copies of them, beside the pages."""
    if error is not None or app.builder.format != "html":
        return
    shown = {
        name
        for metadata in app.env.metadata.values()
        for name in metadata.get("result_figures", [])
    }
    for name in sorted(shown):
        target = Path(app.outdir) / "figures" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((RESULTS / name).read_bytes())
        with Image.open(RESULTS / name) as picture:
            picture.thumbnail((WIDTH, WIDTH))
            picture.save(target.with_name(Path(thumbnail(name)).name))


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive, and the copies at a build's end."""
    app.add_directive("result-figure", ResultFigure)
    app.connect("build-finished", write_figures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
