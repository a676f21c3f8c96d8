"""Which modules of the project a module imports, found by reading source and running none of it.

Two decisions rest on this: a build step runs again when any module that its code imports has
changed (`image.build_cache`), and the seed carries exactly the modules that the daemon can import
(`image.steps.python`). So the analysis errs towards too many modules: imports inside functions
count, and so does a string that names a module, because lazy imports and `python -m` name modules
that way. An import for annotations alone (`if TYPE_CHECKING`) never runs and does not count.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeGuard

FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True, slots=True)
class Imports:
    """What one module names.

    Attributes:
        eager: dotted names imported when the module is imported.
        lazy: dotted names imported by a function, or named by a string.
        tools: members of `image.tools.Tool` that the module uses.
    """

    eager: frozenset[str]
    lazy: frozenset[str]
    tools: frozenset[str]


@dataclass(slots=True)
class ImportGraph:
    """The imports of the project in the folder ``root``; each file is read once."""

    root: Path
    _imports: dict[str, Imports] = field(default_factory=dict)
    _files: dict[str, Path | None] = field(default_factory=dict)

    def file(self, module: str) -> Path | None:
        """Return the source of ``module``; None for a module that is not the project's."""
        if module not in self._files:
            self._files[module] = self._find(module)
        return self._files[module]

    def module(self, file: Path) -> str:
        """Return the dotted name of the module in ``file``.

        Raises:
            ValueError: ``file`` lies outside the project.
        """
        parts = file.resolve().relative_to(self.root.resolve()).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def modules(self, packages: Iterable[str]) -> frozenset[str]:
        """Return every module below the top-level ``packages``."""
        files = (path for name in packages for path in (self.root / name).rglob("*.py"))
        return frozenset(self.module(path) for path in files)

    def closure(
        self,
        roots: Iterable[str],
        *,
        boundary: Collection[str] = (),
        left_out: Collection[str] = (),
    ) -> frozenset[str]:
        """Return ``roots`` and every module of the project that they import, directly or not.

        The packages around a module belong to it: Python imports them first. Of a module in
        ``boundary`` only the eager imports are followed: a command table names every command, and
        starting it imports none of them. Packages in ``left_out`` are not followed at all.
        """
        found: set[str] = set()
        waiting = list(roots)
        while waiting:
            module = waiting.pop()
            if module in found or is_below(module, left_out) or self.file(module) is None:
                continue
            found.add(module)
            imports = self.imports(module)
            waiting += [module.rpartition(".")[0], *imports.eager]
            if module not in boundary:
                waiting += imports.lazy
        return frozenset(found)

    def external(self, modules: Iterable[str]) -> frozenset[str]:
        """Return the top-level names that ``modules`` import from outside of the project."""
        names = (name for each in modules for name in self._all_imports(each))
        return frozenset(name.partition(".")[0] for name in names if not self._is_project(name))

    def tools(self, modules: Iterable[str]) -> frozenset[str]:
        """Return the members of `image.tools.Tool` that ``modules`` use."""
        return frozenset(tool for each in modules for tool in self.imports(each).tools)

    def imports(self, module: str) -> Imports:
        """Return the imports of one module of the project."""
        if module not in self._imports:
            file = self.file(module)
            if file is None:
                raise ValueError(f"{module} is no module of {self.root}")
            package = module if file.name == "__init__.py" else module.rpartition(".")[0]
            self._imports[module] = self._read(file, package)
        return self._imports[module]

    def _find(self, module: str) -> Path | None:
        path = self.root.joinpath(*module.split("."))
        for file in (path / "__init__.py", path.with_name(path.name + ".py")):
            if module and file.is_file():
                return file
        return None

    def _read(self, file: Path, package: str) -> Imports:
        eager: set[str] = set()
        lazy: set[str] = set()
        tools: set[str] = set()
        for node, in_function in _running(ast.parse(file.read_bytes(), file)):
            match node:
                case ast.Import() | ast.ImportFrom():
                    (lazy if in_function else eager).update(_imported(node, package))
                case ast.Constant(value=str(text)):
                    lazy.update(self._mentioned(text))
                case ast.Attribute(value=ast.Name(id="Tool") | ast.Attribute(attr="Tool")):
                    tools.add(node.attr)
        return Imports(frozenset(eager), frozenset(lazy - eager), frozenset(tools))

    def _mentioned(self, text: str) -> Iterator[str]:
        """Yield the module that a string names: "package.module" or "package.module:function"."""
        name = text.partition(":")[0]
        dotted = "." in name and all(part.isidentifier() for part in name.split("."))
        if dotted and self.file(name) is not None:
            yield name

    def _all_imports(self, module: str) -> Iterator[str]:
        imports = self.imports(module)
        yield from imports.eager
        yield from imports.lazy

    def _is_project(self, name: str) -> bool:
        return self.file(name.partition(".")[0]) is not None


def is_below(module: str, packages: Iterable[str]) -> bool:
    """Return whether ``module`` is one of ``packages`` or below one."""
    return any(module == each or module.startswith(f"{each}.") for each in packages)


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    """Yield what an import statement may import; a name imported `from` may be a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        above = ".".join(parts[: len(parts) - node.level + 1])
        base = f"{above}.{base}" if base else above
    yield base
    yield from (f"{base}.{alias.name}" for alias in node.names)


def _running(tree: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Yield the nodes of ``tree`` that can run, and whether each is inside a function."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, in_function = waiting.pop()
        yield node, in_function
        inside = in_function or isinstance(node, FUNCTIONS)
        children = node.orelse if _is_for_types(node) else ast.iter_child_nodes(node)
        waiting += [(child, inside) for child in children]


def _is_for_types(node: ast.AST) -> TypeGuard[ast.If]:
    """Return whether ``node`` is `if TYPE_CHECKING`, whose body never runs."""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"
