"""Runs the Python blocks of README.md and docs/ as tests: what a page shows is what the library does."""

from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from importlib.util import find_spec

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

# The blocks of one page share a namespace and run in order; `<!-- skip: next -->` leaves one out.
pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | NORMALIZE_WHITESPACE), SkipParser()],
    patterns=["*.md"],
).pytest()

# The site's build hooks need the docs extra, which the tests don't; compiled kernels need Numba, which may be missing.
collect_ignore = ["docs/hooks.py"]
if find_spec("numba") is None:
    collect_ignore.append("graphzoo/kernels/compiled.py")
