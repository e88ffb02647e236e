"""What counts as a line of code, and that the methods stay within their budget of them."""

from __future__ import annotations

from benchmarks import lines

SOURCE = '''"""A module's words,
in two lines."""

import math  # a comment beside code counts with it

# a comment alone does not

SIDE = 3
"""What is said below a constant."""


def area(side: float) -> float:
    """A docstring."""
    text = """a text that is a value
    counts whole"""
    return (
        side
        * side
    )
'''


def test_code_is_what_runs():
    assert lines.code_lines(SOURCE) == 1 + 1 + 1 + 2 + 4
    assert lines.code_lines("") == 0
    assert lines.code_lines('"""Only words."""\n') == 0


def test_folders_are_summed_and_files_taken_alone(tmp_path):
    (tmp_path / "a.py").write_text(SOURCE)
    (tmp_path / "b.py").write_text("x = 1\n")
    (tmp_path / "notes.md").write_text("x\n")
    assert lines.count([tmp_path]) == [(tmp_path.name, 2, 10, len(SOURCE.splitlines()) + 1)]
    assert lines.count([tmp_path / "b.py"]) == [("b.py", 1, 1, 1)]


def test_the_methods_stay_within_their_budget(capsys):
    lines.main([])
    together = capsys.readouterr().out.splitlines()[-1]
    assert "together" in together
    assert 1_000 < sum(code for _, _, code, _ in lines.count(lines.METHODS)) <= lines.BUDGET
