r"""LaTeX formulas as text for a terminal: Greek letters and operators as signs, fractions with a slash, powers raised.

It knows the LaTeX that the zoo's formulas are written in and refuses what it does not know: a formula that is half
understood would be a wrong formula.
"""

from __future__ import annotations

import re
import unicodedata

SIGNS = {
    "partial": "∂", "sum": "∑", "prod": "∏", "int": "∫", "odot": "⊙", "cdot": "·", "times": "×", "top": "ᵀ",
    "le": "≤", "ge": "≥", "ne": "≠", "in": "∈", "notin": "∉", "approx": "≈", "dots": "…", "infty": "∞",
    "lVert": "‖", "rVert": "‖", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "theta": "θ", "lambda": "λ", "mu": "μ",
    "pi": "π", "sigma": "σ", "tau": "τ", "Phi": "Φ",
    ",": " ", ";": " ", "quad": "\n", "qquad": "\n", "left": "", "right": "", "{": "{", "}": "}",
}  # fmt: skip
FUNCTIONS = {"log", "exp", "tanh", "sin", "cos", "max", "min"}
UPRIGHT = {"text", "mathrm", "operatorname"}
ACCENTS = {"hat": "\u0302", "bar": "\u0304"}
RAISED = str.maketrans("0123456789+-T", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀ")
LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)


def readable(latex: str) -> list[str]:
    r"""The equations of a formula, one a line.

    Raises:
        ValueError: LaTeX that is not known here.

    >>> readable(r"y = x W^\top + b, \quad \frac{\partial L}{\partial x_1} = \sum_{t+1} \frac{1}{2} h_{ih}^2")
    ['y = x Wᵀ + b', '∂L/∂x₁ = ∑_(t+1) 1/2 h_ih²']
    """
    text = unicodedata.normalize("NFC", _Reader(latex).read())  # x̂ of two signs, ȳ of one
    lines = [re.sub(r"\s+", " ", line).strip(" ,") for line in text.split("\n")]
    return [line for line in lines if line]


class _Reader:
    def __init__(self, latex: str) -> None:
        self.latex = latex
        self.tokens = _TOKEN.findall(latex)
        self.at = 0

    def read(self) -> str:
        text = self.until(None)
        return re.sub(r"∂ (?=\w)", "∂", text)

    def until(self, end: str | None) -> str:
        """All up to a token, which is passed."""
        parts: list[str] = []
        while self.at < len(self.tokens):
            if self.tokens[self.at] == end:
                self.at += 1
                return "".join(parts)
            parts.append(self.atom())
        if end is not None:
            raise ValueError(f"{end!r} is missing in the formula {self.latex!r}")
        return "".join(parts)

    def atom(self) -> str:
        token = self.tokens[self.at]
        self.at += 1
        if token.isspace():
            return " "
        if token == "{":
            return self.until("}")
        if token in "^_":
            return (_raised if token == "^" else _lowered)(self.argument())
        return self.command(token[1:]) if token.startswith("\\") else token

    def argument(self) -> str:
        while self.tokens[self.at].isspace():
            self.at += 1
        return self.atom().strip()

    def command(self, name: str) -> str:
        if name in SIGNS:
            return SIGNS[name]
        if name in FUNCTIONS:
            return name + ("" if self.next_is("(", "_", "^", "\\left") else " ")
        if name in UPRIGHT:
            return self.argument()
        if name in ACCENTS:
            return self.argument() + ACCENTS[name]
        if name in ("frac", "tfrac"):
            above, below = self.argument(), self.argument()
            return f"{_factor(above)}/{_factor(below)}"
        if name == "sqrt":
            root = self.argument()
            return f"√{root}" if len(root) == 1 else f"√({root})"
        if name == "begin" and self.argument() == "cases":
            return self.cases()
        raise ValueError(f"\\{name} is not known; in the formula {self.latex!r}")

    def next_is(self, *tokens: str) -> bool:
        rest = (token for token in self.tokens[self.at :] if not token.isspace())
        return next(rest, "") in tokens

    def cases(self) -> str:
        """{value if condition; …}"""
        rows: list[list[str]] = []
        row: list[str] = []
        cell = ""
        while True:
            token = self.tokens[self.at]
            if token in ("&", "\\\\", "\\end"):
                self.at += 1
                row, cell = [*row, cell.strip()], ""
                if token != "&":
                    rows.append(row)
                    row = []
                if token == "\\end":
                    self.argument()
                    return "{" + "; ".join(_case(*each) for each in rows) + "}"
            else:
                cell += self.atom()


def _case(value: str, condition: str) -> str:
    return f"{value} {condition}" if condition.startswith(("with", "otherwise")) else f"{value} if {condition}"


def _factor(text: str) -> str:
    """Above or below a slash, in brackets where it is more than one factor."""
    simple = re.fullmatch(r"(∂ ?|√)?([^\s()+\-·⊙=]+(_\([^()]*\))?|\([^()]*\))", text)
    return text.replace("∂ ", "∂") if simple else f"({text})"


def _raised(text: str) -> str:
    return (
        text.translate(RAISED) if set(text) <= set("0123456789+-Tᵀ") else f"^{text}" if len(text) == 1 else f"^({text})"
    )


def _lowered(text: str) -> str:
    if text.isdigit():
        return text.translate(LOWERED)
    return f"_{text}" if text.isalnum() else f"_({text})"
