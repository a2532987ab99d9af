"""Formulas as MathML, which browsers draw themselves: no script, no fonts, no network."""

from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

BARS = ("|", "‖")
# Relations that latex2mathml takes for identifiers, which are set without space around them.
RELATIONS = ("⪰", "⪯", "≻", "≺")
# Operators that have what they range over below them, in a formula of its own.
LIMITS = ("min", "max", "sup", "inf", "lim")
UNDER = {"msub": "munder", "msubsup": "munderover"}


def mathml(formula: str, display: str) -> str:
    """A TeX formula as MathML, 'inline' or 'block'."""
    root = ElementTree.fromstring(convert(formula, xmlns="", display=display))
    for element in root.iter():
        if element.tag == "mo" and element.text in BARS and element.get("stretchy") != "true":
            # Bars of a fixed size; browsers would space them like a plus.
            element.attrib.update(fence="true", stretchy="false", lspace="0", rspace="0")
        if element.tag == "mi" and element.text in RELATIONS:
            element.tag = "mo"
        if element.tag in UNDER and element[0].text in LIMITS and display == "block":
            element.tag = UNDER[element.tag]
    return ElementTree.tostring(root, encoding="unicode")


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
