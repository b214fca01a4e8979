"""What every plugin in Python needs besides its bindings."""

import functools
import json
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from componentize_py_types import Err
from wit_world.imports.types import Failure, Request

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def failure(code: str, message: str, retryable: bool = False) -> Err:
    """Why a plugin gives up, to be raised: for the operator, never for the client. `code` is kebab-case."""
    return Err(Failure(code, message, retryable))


def told(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Makes a failure, with its traceback, of an exception that is none: it would end the call without a word."""

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except Err:
            raise
        except Exception as error:
            raise failure("exception", "".join(traceback.format_exception(error))) from error

    return call


def body(request: Request) -> Any:
    """The body as JSON; None where it is none."""
    try:
        return json.loads(request.body_text() or "null")
    except ValueError:
        return None
