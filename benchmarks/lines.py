"""How many lines of source the methods take: families, priors, terms and recipes, together 3,000 at most.

    python -m benchmarks.lines                # the parts that methods are made of
    python -m benchmarks.lines src/morphospace # any folders or files

*code* are lines that hold something to run: no blank ones, no comments, no docstrings. *whole* are all lines.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Sequence
from pathlib import Path

from benchmarks.table import rows

__all__ = ["BUDGET", "METHODS", "code_lines", "count"]

PACKAGE = Path(__file__).parent.parent / "src" / "morphospace"
METHODS = tuple(PACKAGE / name for name in ("families", "priors", "terms", "recipes"))
BUDGET = 3_000
SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def code_lines(text: str) -> int:
    """Lines of Python source with something on them that is neither a comment nor part of a docstring."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            # A text that stands alone: a docstring, or the words below a constant.
            case ast.Expr(value=ast.Constant(value=str())):
                documented |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            case _:
                pass
    said: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            said |= set(range(token.start[0], token.end[0] + 1))
    return len(said - documented)


def count(paths: Sequence[Path]) -> list[tuple[str, int, int, int]]:
    """Of each folder or file: its name, how many files it has, and its lines, code and whole."""
    found = []
    for path in paths:
        texts = [
            file.read_text(encoding="utf-8")
            for file in sorted(path.rglob("*.py") if path.is_dir() else [path])
        ]
        found.append(
            (
                path.name,
                len(texts),
                sum(map(code_lines, texts)),
                sum(len(text.splitlines()) for text in texts),
            )
        )
    return found


def main(arguments: Sequence[str]) -> None:
    found = count([Path(argument) for argument in arguments] or METHODS)
    found.append(("together", *(sum(row[i] for row in found) for i in (1, 2, 3))))  # type: ignore[arg-type]
    print(rows(["", "files", "code", "whole"], [[name, *(f"{n:,}" for n in rest)] for name, *rest in found]))


if __name__ == "__main__":
    main(sys.argv[1:])
