"""The rules of the house that can be read off the source: layers, budgets, no side effects, types."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import cutaway

SOURCE = Path(__file__).parents[1] / "src"

# A module may import from lower layers, and from its own as long as no cycle comes of it.
LAYER = {
    "cutaway.scores": 0,
    "cutaway.names": 0,
    "cutaway.kernels": 1,
    "cutaway.parts": 2,
    "cutaway.families": 3,
    "cutaway.generate": 4,
    "cutaway.hub": 4,
    "cutaway.model": 4,
    "cutaway.storage": 4,
    "cutaway.text": 4,
    "cutaway.weights": 4,
    "cutaway.anatomy": 5,
    "cutaway.costs": 5,
    "cutaway.tasks": 5,
    "cutaway.contracts": 6,
    "cutaway": 6,
    "cutaway.cli": 7,
    "cutaway.demo": 7,
}
CORE = {"cutaway.scores", "cutaway.names", "cutaway.kernels", "cutaway.parts"}
CORE_LINES, FAMILY_LINES, FILE_LINES, FUNCTION_LINES = 1800, 120, 300, 50

OUTSIDE = {"httpx", "huggingface_hub", "os", "requests", "socket", "subprocess", "sys", "urllib"}
# A decorator that is not in this list might register what it decorates.
DECORATORS = {
    "abstractmethod", "cache", "classmethod", "contextmanager", "dataclass", "lru_cache", "no_type_check",
    "overload", "override", "property", "staticmethod", "torch.inference_mode", "torch.no_grad", "wraps",
}  # fmt: skip


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in FILES.items()}
each_module = pytest.mark.parametrize("name", TREES)


def unit(name: str) -> str:
    """The module or package of the table that a module belongs to."""
    return ".".join(name.split(".")[:2])


def dotted(node: ast.AST) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and dotted(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below this one but what stands under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if not for_types_only(child):
            yield child
            yield from at_run_time(child)


def imported(name: str) -> Iterator[str]:
    """Full names of what a module imports, wherever in its text: modules, or names inside of modules."""
    package = name if FILES[name].stem == "__init__" else name.rpartition(".")[0]
    for node in at_run_time(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def ours(name: str) -> set[str]:
    """The modules of the project that a module imports."""
    found = (target if target in FILES else target.rpartition(".")[0] for target in imported(name))
    return {target for target in found if target in FILES}


def families() -> set[str]:
    """The modules that hold a family; beside them stand the tables that families share."""
    from cutaway.families import FAMILIES

    return {f"cutaway.families.{family}" for family in FAMILIES}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions and methods that callers reach: no private name on the way, special methods included."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            special = node.name.startswith("__") and node.name.endswith("__")
            if special or not node.name.startswith("_"):
                yield node


def run(code: str) -> str:
    """What this code prints in a process that inherits nothing that an import here might have set."""
    bare = {key: value for key, value in os.environ.items() if key in ("HOME", "PATH", "PYTHONPATH")}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_of_layers_is_complete():
    assert {unit(name) for name in TREES} == set(LAYER)


@each_module
def test_imports_go_down(name):
    upward = {other for other in ours(name) if LAYER[unit(other)] > LAYER[unit(name)]}
    assert not upward, f"{name} (layer {LAYER[unit(name)]}) imports from above: {upward}"


@each_module
def test_families_do_not_know_each_other(name):
    if name in families():
        assert not ours(name) & families() - {name}


def test_no_import_cycle():
    try:
        order = list(TopologicalSorter({name: ours(name) for name in TREES}).static_order())
    except CycleError as error:
        pytest.fail(" is imported by ".join(error.args[1]))
    assert set(order) == set(TREES)


@each_module
def test_file_is_short(name):
    limit = FAMILY_LINES if name in families() else FILE_LINES
    lines = len(FILES[name].read_text().splitlines())
    assert lines <= limit, f"{FILES[name].name} has {lines} lines, {limit} at most"


@each_module
def test_functions_are_short(name):
    long = {f.name: lines for f in functions(TREES[name]) if (lines := f.end_lineno - f.lineno + 1) > FUNCTION_LINES}
    assert not long, f"{name}: more than {FUNCTION_LINES} lines: {long}"


def test_core_is_small():
    lines = {name: len(path.read_text().splitlines()) for name, path in FILES.items() if unit(name) in CORE}
    assert sum(lines.values()) <= CORE_LINES, lines


@each_module
def test_annotations_are_real(name):
    assert "__future__.annotations" not in set(imported(name)), "the shape checks read annotations as objects"


def probes(tree: ast.AST) -> Iterator[str]:
    """Where code guesses at an object or a machine: ``getattr`` with a default, the environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node) in ("hasattr", "getattr", "os.getenv"):
            if dotted(node) != "getattr" or len(node.args) == 3:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Attribute) and dotted(node) == "os.environ":
            yield f"line {node.lineno}: os.environ"


@each_module
def test_no_probing_below_the_tasks(name):
    if LAYER[unit(name)] < LAYER["cutaway.tasks"]:
        assert not {"os.environ", "os.getenv"} & set(imported(name))
        assert not list(probes(TREES[name]))


@each_module
def test_the_inner_layers_stay_inside(name):
    if LAYER[unit(name)] <= LAYER["cutaway.families"]:
        assert not {target.partition(".")[0] for target in imported(name)} & OUTSIDE
        called = {dotted(node) for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)}
        assert not called & {"input", "open", "print"}


@each_module
def test_transformers_is_only_a_reference(name):
    assert "transformers" not in {target.partition(".")[0] for target in imported(name)}


def names_only(target: ast.expr) -> bool:
    return all(isinstance(node, ast.Name | ast.Tuple | ast.Store) for node in ast.walk(target))


@each_module
def test_top_level_only_defines(name):
    """Imports, definitions, named values, a docstring, and what runs as a script: nothing that acts."""
    for node in TREES[name].body:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                continue
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) if names_only(target):
                continue
            case ast.Expr(value=ast.Constant(value=str())):
                continue
            case ast.If() if for_types_only(node) or dotted(node.test) == "__name__ == '__main__'":
                continue
        pytest.fail(f"{name}:{node.lineno} acts on import: {ast.unparse(node)[:60]}")


@each_module
def test_no_changing_globals(name):
    assert not [node.lineno for node in ast.walk(TREES[name]) if isinstance(node, ast.Global)]


@each_module
def test_no_registration_decorators(name):
    nodes = ast.walk(TREES[name])
    decorators = {dotted(d) for node in nodes for d in getattr(node, "decorator_list", [])}
    setters = {d for d in decorators if d.endswith(".setter")}
    assert decorators - setters <= DECORATORS


@each_module
def test_public_functions_are_typed(name):
    bare = []
    for f in public(TREES[name].body):
        a = f.args
        arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]
        missing = [x.arg for x in arguments if x.annotation is None and x.arg not in ("self", "cls")]
        if f.returns is None and f.name != "__init__":
            missing.append("return")
        if missing:
            bare.append(f"{f.name} (line {f.lineno}): {', '.join(missing)}")
    assert not bare, f"{name}: no type for {bare}"


def test_the_door_opens_onto_what_is_there():
    """The three lists of public names agree, and each name stands in the module that is said to hold it."""
    assert list(cutaway.HOME) == cutaway.__all__ == sorted(cutaway.__all__)
    block = next(node for node in TREES["cutaway"].body if for_types_only(node))
    typed = {alias.name: "." * node.level + node.module for node in block.body for alias in node.names}
    assert typed == cutaway.HOME
    assert all(callable(getattr(cutaway, name)) for name in cutaway.HOME)
    shadows = {f"cutaway.{name}" for name in cutaway.HOME} & set(TREES)
    assert not shadows, "importing the module would put it in the place of the function"


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no 'lod'.*load"):
        cutaway.lod  # noqa: B018
    assert set(cutaway.__all__) < set(dir(cutaway))


WATCH = """
import os, random, signal, sys, threading, warnings
import torch
def state():
    process = dict(os.environ), os.getcwd(), list(sys.path), threading.active_count(), len(warnings.filters)
    modes = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    return process, modes, random.getstate(), torch.get_rng_state().tolist(), signal.getsignal(signal.SIGINT)
before = state()
"""


def test_importing_everything_changes_nothing():
    """All modules in one fresh process: silent, and the process is as it was before."""
    code = WATCH + "\n".join(f"import {name}" for name in TREES) + "\nassert state() == before"
    assert run(code) == ""


@pytest.mark.parametrize("act", ["dir(cutaway)", "cutaway.__version__", "cutaway.HOME"])
def test_the_door_does_not_import_torch(act):
    assert run(f"import sys, cutaway; {act}; print('torch' in sys.modules)") == "False\n"


def test_help_does_not_import_torch():
    code = """
import sys, atexit
from cutaway.cli import main
atexit.register(lambda: print("torch" in sys.modules))
sys.argv = ["cutaway", "--help"]
main()
"""
    assert run(code).endswith("\nFalse\n")
