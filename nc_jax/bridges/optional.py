"""Optional packages, imported when they are needed."""

import importlib
from typing import Any


def optional(module: str, command: str) -> Any:
    """A module of a package that may not be installed.

    Raises:
        ImportError: it is not installed; the message contains the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise ImportError(f"this bridge needs the package {package}: {command}") from error
