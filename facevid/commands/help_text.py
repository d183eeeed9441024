"""Help texts as they were meant: an option's docstring is prose, wherever its lines end in the source."""

import inspect
import shutil
import textwrap
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


def description(command: type) -> str:
    """What a command's help begins with: its docstring in lines that the terminal holds.

    All lines of a paragraph but its first are indented, as tyro joins those that are not. Examples are broken as a
    shell reads them on, so that they can be copied.
    """
    width = shutil.get_terminal_size().columns - 2
    paragraphs = []
    for paragraph in inspect.cleandoc(command.__doc__ or "").split("\n\n"):
        words = " ".join(paragraph.split())
        if words.startswith("Example: "):
            paragraphs.append(" \\\n    ".join(_filled(words, width - 4)))
        else:
            paragraphs.append("\n  ".join(_filled(words, width)))
    return "\n\n".join(paragraphs)


def listed(name: str, command: type, *, name_width: int) -> str:
    """A command's place in the overview: its name, and the first line of its docstring beside it.

    Args:
        name: The command, without the program.
        command: Its options.
        name_width: Characters for the names.
    """
    words = (command.__doc__ or "").splitlines()[0]
    begin = f"  facevid {name:<{name_width}} "
    lines = _filled(words, shutil.get_terminal_size().columns - len(begin))
    return begin + f"\n{' ' * len(begin)}".join(lines)


def _filled(words: str, width: int) -> list[str]:
    # Words stay whole, however narrow the terminal: paths and options are to be copied.
    return textwrap.wrap(words, max(width, 20), break_long_words=False, break_on_hyphens=False)
