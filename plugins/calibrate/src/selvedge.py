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
            # Without the sources, which `format_exception` looks for in files that there are none of in the sandbox.
            frames = traceback.walk_tb(error.__traceback__)
            places = [f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}" for frame, line in frames]
            raise failure("exception", "\n".join([f"{type(error).__name__}: {error}", *places])) from error

    return call


def body(request: Request) -> Any:
    """The body as JSON; None where it is none."""
    try:
        return json.loads(request.body_text() or "null")
    except ValueError:
        return None
