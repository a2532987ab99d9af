"""Formulas as MathML, which browsers draw themselves: no script, no fonts, no network."""

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


# Bars that do not grow: by default browsers space them like operators.
BAR = re.compile(r'<mo(?: fence="false")?(?: stretchy="false")?>(&#x0007C;|&#x02016;)</mo>')
TIGHT = r'<mo fence="true" stretchy="false" lspace="0" rspace="0">\1</mo>'


def mathml(formula: str, display: str) -> str:
    """A TeX formula as MathML, 'inline' or 'block'."""
    return BAR.sub(TIGHT, convert(formula, display=display))


def visit_inline(writer: Any, node: nodes.math) -> None:
    """A formula within a line."""
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(writer: Any, node: nodes.math_block) -> None:
    """A formula of its own, in a box that scrolls sideways where the screen is narrow."""
    anchor = f' id="{node["ids"][0]}"' if node["ids"] else ""
    formula = mathml(node.astext(), "block")
    writer.body.append(f'<div class="formula"{anchor} tabindex="0">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the renderer that ``html_math_renderer`` names."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
