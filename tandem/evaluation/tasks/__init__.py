"""The tasks by name, and tasks of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from tandem.errors import InvalidArgument
from tandem.evaluation.loading import attribute, check_callable_with, module_from_file
from tandem.evaluation.task import Task
from tandem.evaluation.tasks.human_eval import HumanEval
from tandem.evaluation.tasks.mt_bench import MtBench
from tandem.evaluation.tasks.prompts import Prompts
from tandem.evaluation.tasks.spider import Spider
from tandem.evaluation.tasks.text_to_sql import TextToSql

__all__ = ["HumanEval", "MtBench", "Prompts", "Spider", "TextToSql", "load_task"]

_FROM_A_PATH: dict[str, Callable[[Path], Task]] = {
    "spider": Spider,
    "humaneval": HumanEval,
    "prompts": Prompts,
    "jsonl": Prompts,
    "mt-bench": MtBench,
}
_EXPECTED = (
    "text-to-sql, spider=FOLDER, humaneval=FILE, prompts=FILE, mt-bench=FILE, or a task of your own as "
    "path/to/file.py or package.module:Class"
)


def load_task(spec: str, *, model: str | None = None) -> Task:
    """The task that ``NAME`` or ``NAME=PATH`` names, with its data read.

    A task of one's own is named by a Python file with one :class:`Task` in it, or as ``package.module:Class``. What
    stands after ``=`` is given to its constructor as a :class:`~pathlib.Path`.

    Args:
        spec: the name, and what follows.
        model: folder or hub id of the target, for tasks that write conversations as a model wants them.

    Raises:
        InvalidArgument: there is no such task, or its data is not what it expects.
    """
    name, has_path, rest = spec.strip().partition("=")
    path = Path(rest).expanduser() if has_path else None
    if has_path and not rest:
        raise InvalidArgument(f"the task {spec!r} ends where a path should stand")
    if name == TextToSql.name:
        if path is not None:
            raise InvalidArgument(f"the task {name} makes its own questions; leave out ={rest}")
        return TextToSql()
    if name in _FROM_A_PATH:
        if path is None:
            raise InvalidArgument(f"the task {name} needs its data; expected {name}=PATH")
        return MtBench(path, model=model) if name == MtBench.name else _FROM_A_PATH[name](path)
    if name.endswith(".py"):
        return _made(_only_task(Path(name).expanduser()), name, path)
    if ":" in name:
        found = attribute(name)
        if not (inspect.isclass(found) and issubclass(found, Task)):
            raise InvalidArgument(f"{name} is not a subclass of tandem.evaluation.task.Task")
        return _made(found, name, path)
    raise InvalidArgument(f"there is no task {name!r}; expected {_EXPECTED}")


def _only_task(path: Path) -> type[Task]:
    module = module_from_file(path)
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Task) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(each.__name__ for each in found) or "none"
        raise InvalidArgument(f"{path} defines {names}; expected exactly one subclass of tandem.evaluation.task.Task")
    return found[0]


def _made(task: type[Task], name: str, path: Path | None) -> Task:
    if inspect.isabstract(task):
        missing = ", ".join(sorted(task.__abstractmethods__))
        raise InvalidArgument(f"{name}: the task {task.__name__} does not define {missing}")
    if not isinstance(getattr(task, "name", None), str):
        raise InvalidArgument(f"{name}: the task {task.__name__} has no name; set the class attribute 'name'")
    arguments = () if path is None else (path,)
    check_callable_with(task, f"{name}: the task {task.__name__}", *arguments)
    return task(*arguments)
