"""What the site adds to MkDocs: formulas and doctests in the modules' documentation, and formulas as MathML.

MathML is made while building, so a page needs neither scripts nor a network to show its formulas.
"""

import html
import importlib
import re
from typing import Any

import griffe
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

# What pymdownx.arithmatex (generic) leaves for `$…$` and for `$$…$$`.
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
# The name of a function before an argument without brackets, which the converter sets too close to it.
FUNCTION = re.compile(r"(?<!<msup>)(?<!<msub>)(<mi>(?:cos|exp|log|max|min|sin|tanh)</mi>)(?!<mo[^>]*>(?:\(|&#x00028;))")
# A doctest: from its first prompt to the next empty line.
DOCTEST = re.compile(r"^( *)>>> .*(?:\n *\S.*)*", re.MULTILINE)
WIDTH = 72  # about as many signs of a formula fit into a line of the page
# What a module learns; to the docstrings' parser it would be arguments of the constructor.
LEARNT = re.compile(r"^Parameters:\n((?:    .*\n?)+)", re.MULTILINE)
PASSES = {"forward": "Forward", "backward": "Backward", "parameters": "Parameter gradients"}


def mathml(latex: str, display: str) -> str:
    """`latex` as MathML; raises ValueError on what it cannot say and would leave as raw text."""
    latex = latex.strip().replace("{aligned}", "{align*}")  # the converter knows only the latter
    try:
        converted = convert(latex, display=display)
        if 'linebreak="newline"' in converted:  # browsers break no line there: rows of an array instead
            converted = convert(rf"\begin{{array}}{{l}}{latex}\end{{array}}", display=display)
    except Exception as error:  # its own kinds, and those of its inner workings
        raise ValueError(f"no MathML for the formula {latex!r}: {error!r}") from error
    left_over = re.search(r"\\[A-Za-z]+|>&<", converted)
    if left_over:
        raise ValueError(f"no MathML for {left_over.group()!r} in the formula {latex!r}")
    converted = FUNCTION.sub(r'\1<mspace width="0.17em"/>', converted)
    # The converter marks upright letters (\mathrm) by writing them as references; alone they would slant.
    return re.sub(r"<mi>(&#x000[4-7][0-9A-F];)</mi>", r'<mi mathvariant="normal">\1</mi>', converted)


def equations(latex: str) -> list[str]:
    r"""Equations set side by side (\quad between them), apart where they would be wider than the page."""
    visible = re.sub(r"\\frac|\\[a-z]*(left|right|rm|quad)|[{}^_\s]", "", latex)
    visible = re.sub(r"\\[A-Za-z]+", "x", visible)
    if r"\begin" in latex or len(visible) <= WIDTH:
        return [latex]
    parts, depth = [""], 0
    for piece in re.split(r"(\\q?quad\b|[{}])", latex):
        depth += (piece == "{") - (piece == "}")
        if piece in (r"\quad", r"\qquad") and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip().rstrip(",") for part in parts if part.strip()]


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """MkDocs event: turn each formula of a rendered page into MathML."""
    try:
        content = BLOCK.sub(
            lambda found: "".join(mathml(part, "block") for part in equations(html.unescape(found[1]))), content
        )
        return INLINE.sub(lambda found: mathml(html.unescape(found[1]), "inline"), content)
    except ValueError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from error


class Docstrings(griffe.Extension):
    """Doctests shown as code, a module's learnt parameters as a list, its `formulas` behind its first paragraph."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(fenced, obj.docstring.value)

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        if cls.docstring is None:
            return
        cls.docstring.value = LEARNT.sub(listed, cls.docstring.value)
        if "formulas" not in cls.members:
            return
        # Imported rather than read from the syntax tree: formulas may share parts through names.
        formulas = getattr(importlib.import_module(cls.module.path), cls.name).formulas
        blocks = [
            f"*{title}*\n\n$$\n{latex.strip()}\n$$"
            for name, title in PASSES.items()
            if (latex := getattr(formulas, name))
        ]
        if formulas.source:
            blocks.append(f"*Source:* {formulas.source}")
        summary, _, rest = cls.docstring.value.partition("\n\n")
        cls.docstring.value = "\n\n".join([summary, *blocks, rest]).rstrip()


def fenced(doctest: re.Match[str]) -> str:
    indent = doctest[1]
    return f"{indent}```pycon\n{doctest[0]}\n{indent}```"


def listed(learnt: re.Match[str]) -> str:
    entries = re.sub(r"^    (\w[\w, ]*): ", r"- `\1`: ", learnt[1], flags=re.MULTILINE)
    return f"**Learnt parameters:**\n\n{entries}"
