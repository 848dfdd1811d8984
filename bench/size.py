"""`make size`: lines per folder, the longest files and functions. Counts lines with code, not blank lines, comments or docstrings."""

import ast
import io
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LONGEST = 12


def main() -> None:
    """Print the tables."""
    files = subprocess.run(["git", "ls-files", "*.py"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()
    lines = {file: code_lines((PROJECT / file).read_text()) for file in files}
    print(f"{'folder':38} files  lines of code")
    for folder, members in sorted(_by_folder(files).items()):
        print(f"{folder:38} {len(members):5}  {sum(lines[file] for file in members):6}")
    production = [file for file in files if file.startswith(("kanal/", "services/"))]
    print(f"\n{'longest files':70} lines")
    for file in sorted(production, key=lambda file: -lines[file])[:LONGEST]:
        print(f"{file:70} {lines[file]:5}")
    functions = sorted((length, name) for file in production for name, length in _functions(file))
    lengths = [length for length, _ in functions]
    print(f"\nfunctions: {len(lengths)}, median {lengths[len(lengths) // 2]} lines, 90th percentile {lengths[len(lengths) * 9 // 10]}")
    for length, name in functions[: -LONGEST - 1 : -1]:
        print(f"{name:70} {length:5}")


def code_lines(source: str) -> int:
    """Lines that hold something else than blanks, comments and docstrings."""
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    ignored = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    used = {line for token in tokens if token.type not in ignored for line in range(token.start[0], token.end[0] + 1)}
    return len(used - docstrings)


def _by_folder(files: list[str]) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = {}
    for file in files:
        parts = Path(file).parts
        depth = 2 if parts[0] in ("services", "tests") and len(parts) > 2 else 1
        folders.setdefault("/".join(parts[:depth]) if len(parts) > 1 else ".", []).append(file)
    return folders


def _functions(file: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse((PROJECT / file).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{file}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


if __name__ == "__main__":
    main()
