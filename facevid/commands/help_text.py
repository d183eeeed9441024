"""Help texts as they were meant: an option's docstring is prose, wherever its lines end in the source."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docstring_parser


@contextmanager
def whole_sentences() -> Iterator[None]:
    """While this lasts, the docstrings of fields come without the indentation of their source.

    docstring_parser keeps it, and tyro takes an indented line for a paragraph of its own, so that every text of two
    lines is broken in the middle of a sentence.
    """
    original = docstring_parser.parse_from_object

    def parse(*arguments: Any, **options: Any) -> docstring_parser.Docstring:
        docstring = original(*arguments, **options)
        for parameter in docstring.params:
            if parameter.description is not None:
                parameter.description = inspect.cleandoc(parameter.description)
        return docstring

    docstring_parser.parse_from_object = parse
    try:
        yield
    finally:
        docstring_parser.parse_from_object = original
