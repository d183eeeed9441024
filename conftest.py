"""How the shapes of arrays are checked while tests run: as jaxtyping's option does, with half of its work.

The option (pyproject.toml) decorates every function of ours by `jaxtyping.jaxtyped`. That looks at all arguments before
a call, and at all of them again after it beside what came back, in functions made for it: more work than a fit.
Here beartype looks at each once, in the function itself, and the names of axes hold within the call as they did.
Only axes that an argument's value gives, as in "{count}", have no length here, and say so by an AnnotationError.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

_in_scope_of_its_own = jaxtyping.jaxtyped("context")
_both_times = jaxtyping.jaxtyped
_CONF = BeartypeConf(violation_type=jaxtyping.TypeCheckError)


def _checked_once(made: Any = None, *, typechecker: Any) -> Any:
    """Stands for `jaxtyping.jaxtyped`."""
    if made is None:
        return functools.partial(_checked_once, typechecker=typechecker)
    if inspect.isclass(made):
        init = vars(made).get("__init__")
        if dataclasses.is_dataclass(made) and inspect.isfunction(init) and not hasattr(init, "__wrapped__"):
            type.__setattr__(made, "__init__", _checked_once(init, typechecker=typechecker))
        return made
    if inspect.isgeneratorfunction(made) or inspect.iscoroutinefunction(made) or inspect.isasyncgenfunction(made):
        return _both_times(made, typechecker=typechecker)  # beartype alone would look at their arguments too late
    return _function_checked_once(made)


def _function_checked_once(function: FunctionType) -> Callable[..., Any]:
    stated = function.__annotations__
    function.__annotations__ = {name: _hint(hint, function.__globals__) for name, hint in stated.items()}
    of_arrays = any("jaxtyping." in repr(hint) for hint in function.__annotations__.values())
    checked: Callable[..., Any] = beartype(conf=_CONF)(function)
    function.__annotations__ = stated
    if not of_arrays:
        return checked

    @functools.wraps(function)
    def in_scope(*arguments: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        with _in_scope_of_its_own:
            return checked(*arguments, **named)

    return in_scope


def _hint(stated: Any, names: dict[str, Any]) -> Any:
    def carrier() -> None: ...

    carrier.__annotations__ = {"it": stated}
    try:
        return get_type_hints(carrier, names, include_extras=True)["it"]
    except NameError:  # of a class that is not made yet, or imported for mypy alone: jaxtyping lets these pass too
        return Any


jaxtyping.jaxtyped = _checked_once  # type: ignore[assignment]
