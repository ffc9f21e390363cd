"""`dhr <verb> ...`: the same as `python -m dhr.<verb> ...`."""

import ast
import difflib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent
VERBS = sorted(path.stem for path in ROOT.glob("[a-z]*.py"))


def main() -> None:
    """Becomes the command that is named, so that all its processes are called in one way; or says which there are."""
    verb, *words = sys.argv[1:] or ["--help"]
    if verb in VERBS:
        os.execv(sys.executable, [sys.executable, "-m", f"dhr.{verb}", *words])
    if verb in {"-h", "--help"}:
        sys.stdout.write("".join(f"{line}\n" for line in _help()))
        return
    close = difflib.get_close_matches(verb, VERBS, n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    sys.stderr.write(f"dhr: {verb}: no such command; {guess}there are {', '.join(VERBS)}\n")
    raise SystemExit(2)


def _help() -> list[str]:
    """One line for every command, as its file describes it."""
    lines = ["dhr <command> <group>=<option> <key>=<value> ...; dhr <command> --help shows all keys", ""]
    for verb in VERBS:
        said = ast.get_docstring(ast.parse((ROOT / f"{verb}.py").read_text("utf-8"))) or ""
        lines.append(f"  {verb:<12} {said.partition(': ')[2]}")
    return lines


if __name__ == "__main__":
    main()
