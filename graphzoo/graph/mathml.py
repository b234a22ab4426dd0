"""Formulas for pages, as MathML made beforehand: a page needs neither scripts nor a network to show it."""

from __future__ import annotations

import re

# The name of a function before an argument without brackets, which the converter sets too close to it.
FUNCTION = re.compile(r"(?<!<msup>)(?<!<msub>)(<mi>(?:cos|exp|log|max|min|sin|tanh)</mi>)(?!<mo[^>]*>(?:\(|&#x00028;))")
WIDTH = 72  # about as many signs of a formula fit into a line of the page


def mathml(latex: str, display: str) -> str:
    """A formula as MathML.

    Args:
        latex: the formula.
        display: "block" or "inline".

    Raises:
        ImportError: latex2mathml is not installed.
        ValueError: something in it cannot be said, and would be left as raw text.
    """
    from latex2mathml.converter import convert  # not everyone has it, nor needs it

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
