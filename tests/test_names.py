"""Every class name stands once, so that a repr or a message says which class it is."""

import ast
from collections import Counter
from pathlib import Path

import transferkit


def test_every_class_name_stands_once():
    files = Path(transferkit.__file__).parent.rglob("*.py")
    names = Counter(
        node.name
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert len(names) > 100
    assert [name for name, n in names.items() if n > 1] == []
