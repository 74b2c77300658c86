"""Chat templates: Jinja in a sandbox, since templates come with checkpoints."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import CodeType
from typing import Any

import jinja2

from .sandbox import Budget, Sandbox

# What goes wrong inside of a template: its own complaints, its mistakes, and its bounds.
FAILURES = (
    jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError,
    TypeError, ValueError,
)  # fmt: skip


def render(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """The text of a conversation; ``variables`` are what else the template may read.

    Raises ValueError for what the template complains of, for its mistakes, and if it loops or grows too long,
    TypeError for messages that are not made of strings, numbers, lists and dicts."""
    if not messages:
        raise ValueError("a conversation needs at least one message")
    for message in messages:
        if not isinstance(message, Mapping):
            raise TypeError(f"a message must be a dict with role and content, not {message!r:.60}")
    chat = [{key: value for key, value in message.items() if value is not None} for message in messages]
    seen = plain({"tools": None, "documents": None, **variables, "messages": chat})
    code = compiled(template)
    try:
        budget = Budget()
        sandbox = Sandbox(budget)
        page = sandbox.template_class.from_code(sandbox, code, sandbox.globals | {"strftime_now": strftime_now})
        return "".join(budget.bounded(page.generate(**seen)))
    except FAILURES as error:
        raise ValueError(f"the chat template fails: {error}") from error


@lru_cache(maxsize=16)
def compiled(template: str) -> CodeType:
    sandbox = Sandbox(Budget())
    try:
        return sandbox.metered(template)
    except FAILURES as error:
        line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise ValueError(f"the chat template is not valid{line}: {error}") from error


def strftime_now(form: str) -> str:
    """The time, as templates ask for it."""
    return datetime.now().strftime(form)


def plain(value: Any, where: str = "the conversation") -> Any:
    """A copy made of plain data only: an object of any other kind could have methods that do things."""
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case int():
            return int.__int__(value)
        case float():
            return float.__float__(value)
        case Mapping():
            return {plain(key, where): plain(item, where) for key, item in value.items()}
        case list() | tuple():
            return [plain(item, where) for item in value]
    raise TypeError(f"{where} holds a {type(value).__name__}; strings, numbers, lists and dicts are good")
