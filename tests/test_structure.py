"""The rules of the house that can be read off the source: layers, budgets, no side effects, types."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import cutaway

SOURCE = Path(__file__).parents[1] / "src"

# A module may import from lower layers, and from its own as long as no cycle comes of it.
LAYER = {
    "cutaway.scores": 0,
    "cutaway.names": 0,
    "cutaway.heap": 0,
    "cutaway.compiled": 0,
    "cutaway.kernels": 1,
    "cutaway.parts": 2,
    "cutaway.families": 3,
    "cutaway.generate": 4,
    "cutaway.output": 4,
    "cutaway.storage": 4,
    "cutaway.swift": 3,
    "cutaway.text": 4,
    "cutaway.weights": 4,
    "cutaway.data": 5,
    "cutaway.model": 5,
    "cutaway.hub": 5,
    "cutaway.quantization": 5,
    "cutaway.anatomy": 6,
    "cutaway.bench": 6,
    "cutaway.costs": 6,
    "cutaway.looking": 6,
    "cutaway.tasks": 6,
    "cutaway.contracts": 6,
    "cutaway.train": 6,
    "cutaway": 6,
    "cutaway.cli": 7,
}
CORE = {"cutaway.scores", "cutaway.names", "cutaway.kernels", "cutaway.parts"}
CORE_LINES, COMPILED_LINES, FAMILY_LINES, FILE_LINES, FUNCTION_LINES = 2425, 1420, 120, 300, 50

OUTSIDE = {"httpx", "huggingface_hub", "os", "requests", "socket", "subprocess", "sys", "urllib"}
# A decorator that is not in this list might register what it decorates.
NUMBA = {"intrinsic", "njit", "overload", "register_model"}  # tells its compiler, and nothing of ours
DECORATORS = NUMBA | {
    "abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "dataclass", "lru_cache",
    "no_type_check", "overload", "override", "property", "staticmethod", "torch.inference_mode", "torch.no_grad",
    "wraps",
}  # fmt: skip


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in FILES.items()}
LINES = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}


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


def none_of(faults: Callable[[str], Collection[object]], modules: Iterable[str] = TREES) -> None:
    """Hold that these modules have none of these faults; if not, show all there are."""
    found = {name: wrong for name in modules if (wrong := faults(name))}
    assert not found, "\n".join(f"{name}: {wrong}" for name, wrong in found.items())


def up_to(layer: int) -> list[str]:
    return [name for name in TREES if LAYER[unit(name)] <= layer]


def test_imports_go_down():
    none_of(lambda name: {other for other in ours(name) if LAYER[unit(other)] > LAYER[unit(name)]})


def test_no_import_cycle():
    try:
        order = list(TopologicalSorter({name: ours(name) for name in TREES}).static_order())
    except CycleError as error:
        pytest.fail(" is imported by ".join(error.args[1]))
    assert set(order) == set(TREES)


def test_families_do_not_know_each_other():
    none_of(lambda name: ours(name) & families() - {name}, families())


def test_files_are_short():
    limit = {name: FAMILY_LINES if name in families() else FILE_LINES for name in TREES}
    none_of(lambda name: [f"{LINES[name]} > {limit[name]}"] * (LINES[name] > limit[name]))


def test_functions_are_short():
    lines = lambda f: f.end_lineno - f.lineno + 1
    none_of(lambda name: {f.name: lines(f) for f in functions(TREES[name]) if lines(f) > FUNCTION_LINES})


def test_the_core_is_small():
    core = {name: lines for name, lines in LINES.items() if unit(name) in CORE}
    assert sum(core.values()) <= CORE_LINES, core
    compiled = {name: lines for name, lines in LINES.items() if unit(name) == "cutaway.compiled"}
    assert sum(compiled.values()) <= COMPILED_LINES, compiled


def test_annotations_are_objects():
    """The shape checks cannot read annotations that are kept as text."""
    none_of(lambda name: {"__future__.annotations"} & set(imported(name)))


def probes(name: str) -> list[str]:
    """Where code guesses at an object or a machine: ``getattr`` with a default, the environment."""
    found = ["os.environ" for target in imported(name) if target in ("os.environ", "os.getenv")]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and dotted(node) in ("hasattr", "getattr", "os.getenv"):
            if dotted(node) != "getattr" or len(node.args) == 3:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Attribute) and dotted(node) == "os.environ":
            found.append(f"line {node.lineno}: os.environ")
    return found


def test_no_probing_below_the_door():
    none_of(probes, up_to(LAYER["cutaway.model"] - 1))


def test_the_inner_layers_stay_inside():
    inner = up_to(LAYER["cutaway.families"])
    none_of(lambda name: {target.partition(".")[0] for target in imported(name)} & OUTSIDE, inner)
    calls = lambda name: {dotted(node) for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)}
    none_of(lambda name: calls(name) & {"input", "open", "print"}, inner)


def test_transformers_is_only_a_reference():
    none_of(lambda name: {target for target in imported(name) if target.split(".")[0] == "transformers"})


def names_only(target: ast.expr) -> bool:
    return all(isinstance(node, ast.Name | ast.Tuple | ast.Store) for node in ast.walk(target))


def defines(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
            return names_only(target)
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.If():
            return for_types_only(node) or dotted(node.test) == "__name__ == '__main__'"
    return False


def test_the_top_level_only_defines():
    """Imports, definitions, named values, a docstring, and what runs as a script: nothing that acts."""
    none_of(lambda name: [f"line {node.lineno}" for node in TREES[name].body if not defines(node)])


def test_no_changing_globals():
    none_of(lambda name: [node.lineno for node in ast.walk(TREES[name]) if isinstance(node, ast.Global)])


def test_no_registration_decorators():
    decorators = lambda name: {
        dotted(d)
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for d in node.decorator_list
    }
    none_of(lambda name: {d for d in decorators(name) - DECORATORS if not d.endswith(".setter")})


def untyped(f: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    a = f.args
    arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]
    bare = [x.arg for x in arguments if x.annotation is None and x.arg not in ("self", "cls")]
    return bare + ["return"] * (f.returns is None and f.name != "__init__")


def test_public_functions_are_typed():
    none_of(lambda name: {f.name: untyped(f) for f in public(TREES[name].body) if untyped(f)})


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
import rich.live, torch, torch.distributed.tensor  # they change something themselves
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


@pytest.mark.parametrize("file", sorted((SOURCE.parent / "benchmarks").glob("*.py")), ids=lambda file: file.name)
def test_what_benchmarks_import_is_there(file):
    """They are run by hand, so nothing else would notice a name that has moved."""
    nodes = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom) and n.level == 0]
    for node in nodes:
        if node.module and node.module.split(".")[0] == "cutaway":
            for alias in node.names:
                exec(f"from {node.module} import {alias.name}", {})
