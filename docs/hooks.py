"""What the site adds to MkDocs: formulas and doctests in the modules' documentation, and formulas as MathML."""

import html
import importlib
import re
from typing import Any

import griffe
from mkdocs.exceptions import PluginError

from graphzoo.graph.mathml import equations, mathml
from graphzoo.module import Formulas

# What pymdownx.arithmatex (generic) leaves for `$…$` and for `$$…$$`.
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
# A doctest: from its first prompt to the next empty line.
DOCTEST = re.compile(r"^( *)>>> .*(?:\n *\S.*)*", re.MULTILINE)
# What a module learns; to the docstrings' parser it would be arguments of the constructor.
LEARNT = re.compile(r"^Parameters:\n((?:    .*\n?)+)", re.MULTILINE)
PASSES = {"forward": "Forward", "backward": "Backward", "parameters": "Parameter gradients"}


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
        if not isinstance(formulas, Formulas):  # a field of this name, of a class that is no module
            return
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
