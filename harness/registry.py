"""Names to things: databases, workloads, environments, and users' own by module:attribute.

Tables of names are plain dicts in the packages that own the things, and hold ``"module:attribute"``
strings, so that listing imports nothing. Every name that a user gives is found here or refused in a
sentence: the module is not there, has no such attribute, or what is there is not the kind of thing
it should be. (Nemeses have a grammar of their own: :func:`harness.nemesis.compose`.)
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from checkers.core.wording import did_you_mean
from harness.errors import UsageError, UserCodeError, nearest

#: kind -> (module, table): where the names of a kind are.
TABLES: dict[str, tuple[str, str]] = {
    "database": ("harness.databases", "DATABASES"),
    "workload": ("workloads", "WORKLOADS"),
    "environment": ("harness.environments", "ENVIRONMENTS"),
}


def table(kind: str) -> dict[str, str]:
    """Names of a kind with where they are."""
    module, name = TABLES[kind]
    return dict(getattr(importlib.import_module(module), name, {}))


def find(kind: str, name: str) -> Any:
    """The object that a name or ``module:attribute`` stands for.

    Raises:
        UsageError: the name is unknown, or the module or attribute is not there.
        UserCodeError: the user's module raised while it was imported.
    """
    known = table(kind)
    if name in known:
        return load(known[name], what=kind)
    if is_place(name):
        return load(name, what=kind, user=True)
    raise nearest(kind, name, known)


def is_place(name: str) -> bool:
    """Whether a name has the form ``module:attribute``; both may be dotted."""
    return _PLACE.fullmatch(name) is not None


_WORDS = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
_PLACE = re.compile(f"{_WORDS}:{_WORDS}", re.ASCII)


def look_here() -> None:
    """Let a user's own modules be found in the current directory, after all that is installed."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def load(path: str, *, what: str, user: bool = False) -> Any:
    """Import ``module:attribute``; attributes may be dotted.

    Args:
        path: what to import.
        what: what it should be, for the error.
        user: True to look in the current directory too, as users expect of their own modules.

    Raises:
        UsageError: there is no such module or attribute.
        UserCodeError: the module raised while it was imported.
    """
    module_name, _, attribute = path.partition(":")
    if user:
        if not is_place(path):
            raise UsageError(f"{what} {path!r} should be module:attribute, as in test_mykv:MyKV")
        look_here()
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise _no_module(path, what, module_name, error) from error
    except Exception as error:  # a user's module may raise anything while it is imported
        raise UserCodeError(
            f"{what} {path!r}: importing {module_name} raised {type(error).__name__}: {error}"
        ) from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            public = [entry for entry in vars(found) if not entry.startswith("_")]
            hint = did_you_mean(name, public, else_="it has")
            raise UsageError(f"{what} {path!r}: module {module_name} has no {name!r}; {hint}")
        found = getattr(found, name)
    return found


def _no_module(path: str, what: str, module: str, error: ModuleNotFoundError) -> UsageError:
    if error.name and module.split(".")[0] == error.name.split(".")[0]:
        return UsageError(
            f"{what} {path!r}: there is no module {error.name!r} here ({os.getcwd()}); is the "
            "directory right, and the name written without .py?"
        )
    return UsageError(
        f"{what} {path!r}: module {module} needs {error.name!r}, which is not installed"
    )


def build(
    what: str,
    made_of: Any,
    *,
    options: Mapping[str, Any] | None = None,
    offered: Mapping[str, Any] | None = None,
) -> Any:
    """Call a class or function with the options it takes.

    Args:
        what: what is made, with its name, for errors: ``workload 'register'``.
        made_of: the class or function; anything else is taken as made already.
        options: what the user asked for; each must be taken.
        offered: what the run could give; only what is taken is given.

    Raises:
        UsageError: an option that is not taken, with the nearest that is.
        UserCodeError: it raised.
    """
    options = dict(options or {})
    if not (inspect.isclass(made_of) or isinstance(made_of, _FUNCTIONS)):
        if options:
            raise UsageError(f"{what} takes no option {next(iter(options))!r}: it is an object")
        return made_of
    taken, anything = _keywords(what, made_of)
    unknown = [name for name in options if name not in taken and not anything]
    if unknown:
        hint = did_you_mean(unknown[0], taken, else_="its options are")
        raise UsageError(f"{what} has no option {unknown[0]!r}; {hint}")
    for name, value in options.items():
        _require_number(what, made_of, name, value)
    given = {name: value for name, value in (offered or {}).items() if name in taken} | options
    try:
        return made_of(**given)
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}: {error}") from error
    except Exception as error:  # so may a user's class or function
        raise UserCodeError(f"{what} raised {type(error).__name__}: {error}") from error


_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)


#: annotation of an option -> the values it takes; only of plain numbers: a text is none
_NUMBERS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
}


def _require_number(what: str, made_of: Callable[..., Any], name: str, value: Any) -> None:
    """Refuse an option that is no number, if only a number is taken."""
    try:
        parameter = inspect.signature(made_of).parameters.get(name)
    except (TypeError, ValueError):
        return
    said = parameter.annotation if parameter is not None else None
    plain = str(getattr(said, "__name__", said)).removesuffix(" | None")
    kinds, word = _NUMBERS.get(plain, ((), ""))
    if kinds and (isinstance(value, bool) or not isinstance(value, kinds)):
        raise UsageError(f"{what}: {name} is {value!r}; it should be {word}")


def _keywords(what: str, made_of: Callable[..., Any]) -> tuple[list[str], bool]:
    """Names of the keywords it takes, and whether it takes any."""
    try:
        parameters = inspect.signature(made_of).parameters.values()
    except (TypeError, ValueError):
        return [], True
    names = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind is p.POSITIONAL_ONLY and p.default is p.empty for p in parameters):
        raise UsageError(
            f"{what} needs positional arguments; give it keyword options with defaults"
        )
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters)


def require(what: str, thing: Any, methods: tuple[str, ...], shape: str) -> None:
    """Refuse a thing that lacks methods.

    Args:
        what: what it is, with its name: ``database 'test_mykv:MyKV'``.
        thing: the thing.
        methods: what it must have.
        shape: what it should be, for the sentence.

    Raises:
        UsageError: something is missing.
    """
    missing = [name for name in methods if not callable(getattr(thing, name, None))]
    if missing:
        raise UsageError(f"{what} is {_kind(thing)} without {', '.join(missing)}; {shape}")


def _kind(thing: Any) -> str:
    if isinstance(thing, types.ModuleType):
        return f"the module {thing.__name__}"
    return f"a {type(thing).__name__}"
