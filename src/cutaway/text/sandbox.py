"""A Jinja environment in which no template can run for long or fill the memory."""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from functools import wraps
from itertools import islice
from types import BuiltinMethodType, CodeType, MethodType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.defaults import DEFAULT_FILTERS
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

# A long conversation needs some thousand steps, and as many characters as it has.
STEPS = 200_000
SECONDS = 2.0
LENGTH = 8_000_000
ENTRY = 8
STATIC = 100  # so many characters of a template's own text are one step

# Methods of plain data whose work is in proportion to what they are given.
METHODS: dict[type, str] = {
    str: (
        "capitalize casefold count endswith find format format_map index isalnum isalpha isascii isdecimal "
        "isdigit islower isnumeric isspace istitle isupper join lower lstrip partition removeprefix removesuffix "
        "replace rfind rindex rpartition rsplit rstrip split splitlines startswith strip swapcase title upper"
    ),
    dict: "copy get items keys values",
    list: "copy count index",
    tuple: "count index",
}
NUMBERS = (int, float, bytes, set, frozenset, range)
FILTERS = (
    "abs attr capitalize count d default dictsort e escape first float groupby int items last length list lower "
    "map max min reject rejectattr reverse round safe select selectattr sort string title trim unique upper"
)


class Budget:
    """What one rendering may spend: steps, time, and the size of any value it makes."""

    def __init__(self) -> None:
        self.steps = 0
        self.deadline = time.monotonic() + SECONDS

    def step(self, cost: int = 1) -> bool:
        self.steps += cost
        if self.steps > STEPS or time.monotonic() > self.deadline:
            raise OverflowError(f"it takes more than {STEPS} steps or {SECONDS:g} seconds")
        return True

    def fits(self, length: float) -> None:
        if length > LENGTH:
            raise OverflowError(f"it makes a text or a list that is larger than {LENGTH} characters")

    def size(self, value: Any) -> int:
        """Characters of a value and of its parts, an entry of a list or a dict counting as ENTRY of them."""
        if isinstance(value, str | bytes):
            return len(value)
        if isinstance(value, int):
            return 1 + value.bit_length() // 3
        if not isinstance(value, Mapping | list | tuple | set | range):
            return 1
        total = ENTRY * len(value)
        self.fits(total)
        for part in value if not isinstance(value, range) else ():
            total += self.size(part) + (self.size(value[part]) if isinstance(value, Mapping) else 0)
            self.fits(total)
        return total

    def kept(self, value: Any) -> Any:
        """The value, if it is not too large; what would be computed on demand is computed."""
        value = list(islice(value, LENGTH // ENTRY + 1)) if isinstance(value, Iterator) else value
        self.fits(self.size(value))
        return value

    def bounded(self, pieces: Iterable[str]) -> Iterator[str]:
        total = 0
        for piece in pieces:
            total += len(piece)
            self.fits(total)
            yield piece

    def text(self, *parts: Any) -> str:
        return "".join(self.bounded(str(self.kept(part)) for part in parts))

    def join(self, value: Any, d: Any = "", attribute: Any = None) -> None:
        """Refuse to join what would be too long; the names are those of the filter."""
        gaps = len(value) if isinstance(value, Sized) else 1
        self.fits(self.size(value) + gaps * len(str(d)))

    def replace(self, s: Any, old: Any, new: Any, count: Any = None) -> None:
        self.fits(len(str(s)) + str(s).count(str(old)) * len(str(new)))

    def indent(self, s: Any, width: Any = 4, first: Any = False, blank: Any = False) -> None:
        gap = width if isinstance(width, int) else len(width)
        self.fits(len(str(s)) + (1 + len(str(s).splitlines())) * gap)

    def tojson(
        self, value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None,
        sort_keys: bool = False,
    ) -> str:  # fmt: skip
        space = None if indent is None else min(int(indent), 16)
        text = json.dumps(value, ensure_ascii=ensure_ascii, indent=space, separators=separators, sort_keys=sort_keys)
        return str(self.kept(text))

    def operate(self, operator: str, left: Any, right: Any) -> None:
        """Refuse an operation whose result would be too large, before it is done."""
        if operator == "+":
            self.fits(self.size(left) + self.size(right))
        elif operator == "%" and isinstance(left, str):
            self.form(left)
        elif operator in ("*", "**"):
            numbers = [1 + abs(x) if isinstance(x, int | float) else self.size(x) for x in (left, right)]
            if operator == "**" or not all(isinstance(x, int | float) for x in (left, right)) or max(numbers) > 2**63:
                self.fits(numbers[0] * numbers[1])

    def form(self, text: str) -> None:
        """Refuse formats that say how wide their result is in more than four digits, or elsewhere."""
        if re.search(r"%[^a-zA-Z%]*(\d{5}|\*)|\{[^}]*(\d{5}|\{)", text):
            raise OverflowError(f"the format {text!r:.60} asks for a width that is not known to be small")

    def method(self, function: Any, args: tuple[Any, ...]) -> None:
        """Refuse methods of plain data that are not known to be harmless, and results that would be too large."""
        if not isinstance(function, BuiltinMethodType | MethodType):
            return
        owner, name = function.__self__, function.__name__
        kind = next((kind for kind in (*METHODS, *NUMBERS) if isinstance(owner, kind)), None)
        if kind is not None and name not in METHODS.get(kind, "").split():
            raise SecurityError(f"{kind.__name__}.{name} is not for templates")
        if isinstance(owner, str) and name == "replace":
            self.replace(owner, *args)
        if isinstance(owner, str) and name == "join":
            self.join(args[0] if args else (), owner)


class Meter(NodeTransformer):
    """Puts a step into every loop and macro, and a check around all that makes texts or lists."""

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        self.generic_visit(node)
        match node:
            case nodes.For():
                if node.test is not None:
                    node.test = nodes.And(called("meter_step", [nodes.Const(1)]), node.test)
                node.body.insert(0, step(node))
            case nodes.Macro() | nodes.CallBlock():
                node.body.insert(0, step(node))
            case nodes.Concat():
                return called("meter_text", node.nodes)
            case nodes.List() | nodes.Dict() | nodes.Tuple(ctx="load"):
                return called("meter_kept", [node])
        return node


def step(node: nodes.Node) -> nodes.ExprStmt:
    """What a body costs each time: its own text counts, since it is copied."""
    static = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
    return nodes.ExprStmt(called("meter_step", [nodes.Const(1 + static // STATIC)]))


def called(name: str, args: list[nodes.Expr]) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), args, [], None, None)


def complain(message: str) -> None:
    raise jinja2.TemplateError(message)


def make(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    """A dict, without the methods of its class."""
    return dict(*args, **kwargs)


class Names(Namespace):
    """A namespace whose attributes are its own: none begins with an underscore."""

    def __init__(self, /, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for name in dict(*args, **kwargs):
            public(name)

    def __setitem__(self, name: str, value: Any) -> None:
        public(name)
        super().__setitem__(name, value)


def public(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(f"a namespace of a template may not have {name!r}")


def name(*args: Any, **kwargs: Any) -> Names:
    """A namespace, without the methods of its class."""
    return Names(*args, **kwargs)


class Generation(Extension):
    """``{% generation %}`` marks what a model says, for training; here its body is just text."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja as chat templates expect it (blocks trimmed, ``tojson`` plain, ``break`` and ``continue``), on a budget."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, budget: Budget):
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[Generation, loopcontrols],
            finalize=budget.kept,
        )
        self.budget = budget
        # Metered templates call these by name, through `call` like everything else.
        self.meter_step, self.meter_text, self.meter_kept = budget.step, budget.text, budget.kept
        self.filters = {name: self.on_budget(DEFAULT_FILTERS[name]) for name in FILTERS.split()}
        self.filters["tojson"] = self.on_budget(budget.tojson)
        for check in (budget.join, budget.replace, budget.indent):
            self.filters[check.__name__] = self.on_budget(DEFAULT_FILTERS[check.__name__], check)
        self.globals = {
            "range": self.globals["range"],
            "dict": make,
            "namespace": name,
            "raise_exception": complain,
        }

    def metered(self, template: str) -> CodeType:
        """A template compiled, with its steps counted."""
        tree = Meter().visit(self.parse(template)).set_lineno(1, override=False).set_environment(self)
        assert isinstance(tree, nodes.Template)
        return self.compile(tree)

    def on_budget(self, function: Callable[..., Any], check: Callable[..., None] | None = None) -> Callable[..., Any]:
        """A filter that counts as a step, and is refused before it would make too much."""

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.budget.step()
            if check is not None:
                check(*(arg for arg in args if not isinstance(arg, nodes.EvalContext)), **kwargs)
            return self.budget.kept(function(*args, **kwargs))

        return counted

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if any(function is own for own in (self.meter_step, self.meter_text, self.meter_kept)):
            return function(*args)
        self.budget.step()
        self.budget.method(function, args)
        return self.budget.kept(super().call(context, function, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.budget.operate(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is not None:
            self.budget.form(value.__self__)
        return super().wrap_str_format(value)
