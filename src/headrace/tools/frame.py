"""A table that a model can ask by writing Python: a copy of one csv file, in the sandbox, as ``df``.

It needs pandas, which is imported in the sandbox only. The file itself is never changed.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from headrace.errors import ExtraMissing, InputError, NotFound
from headrace.text import shorten
from headrace.tools.sandbox import Limits, Ran, execute, scratch

_MOST_COLUMNS = 60  # named in the description


def dataframe(
    table: str | os.PathLike[str],
    *,
    name: str = "dataframe",
    timeout: float = 20.0,
    memory_mb: int = 1024,
    unsafe: bool = False,
) -> Callable[[str], Ran]:
    """A tool that runs Python code with the csv file ``table`` loaded as the pandas DataFrame ``df``.

    The value of the code's last expression is what comes back, with what it prints. Each call has a
    sandbox of its own, so nothing is remembered between two. Raises NotFound, InputError for a file
    without a header, and ExtraMissing without pandas.
    """
    path = Path(table)
    if not path.is_file():
        raise NotFound(f"There is no table {str(path)!r}.", hint="Give the path of a csv file.")
    if importlib.util.find_spec("pandas") is None:
        raise ExtraMissing("The dataframe tool needs pandas.", hint="pip install pandas")
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise InputError(f"{name!r} cannot be the name of a tool.", hint="Use letters, digits and '_'.")
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file), [])
    if not any(column.strip() for column in header):
        raise InputError(f"{path.name!r} has no header.", hint="The first line names the columns.")
    columns = ", ".join(shorten(column, 60) for column in header[:_MOST_COLUMNS])
    if len(header) > _MOST_COLUMNS:
        columns += f" and {len(header) - _MOST_COLUMNS} more"

    def run(code: str) -> Ran:
        with scratch() as folder:
            shutil.copyfile(path, folder / "table.csv")
            loaded = f"import pandas as pd; df = pd.read_csv('table.csv')\n{code}"
            limits = Limits(seconds=timeout, memory_mb=memory_mb)
            return execute(loaded, workspace=folder, limits=limits, packages=True, unsafe=unsafe)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = (
        f"Run Python code on the pandas DataFrame df, loaded from {path.name}; give it an expression at the "
        f"end, such as df['{header[0]}'].nunique(), whose value is the result. Columns: {columns}."
    )
    return run
