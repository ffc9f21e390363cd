"""Products beside what their ledger says of them: whether each file is still the one that a stage made."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from dhr.core.errors import InputError
from dhr.dataset.audit.finding import Notes, problem_of
from dhr.disk.products import Products

BATCH = 256  # files in flight


def open_products(folder: Path, cure: str, what: str, notes: Notes) -> Products:
    """What is known of a folder; settings that its files were not made with go into `notes`."""
    products = Products.at(folder, cure)
    try:
        products.check_settings()
    except InputError as error:
        settings = products.ledger.settings
        notes.broken(f"{what}: settings", settings, problem_of(error, settings), cure)
    return products


def note_changes(products: Products, ids: Iterable[str], what: str, notes: Notes) -> None:
    """Reads the file of every id, <folder>/<id>.png; those that are not what was made go into `notes`."""
    if products.known is None:
        return
    source, folder = iter(ids), products.ledger.folder
    with ThreadPoolExecutor() as pool:
        for batch in iter(lambda: list(islice(source, BATCH)), []):
            paths = [folder / f"{image_id}.png" for image_id in batch]
            problems = pool.map(partial(change, products), paths)
            for image_id, path, problem in zip(batch, paths, problems, strict=True):
                note_change(problem, path, what, products.cure, notes, image_id=image_id)


def change(products: Products, path: Path) -> str | None:
    """What is wrong with a file that is there; that one is missing is found out otherwise."""
    return products.problem(path, thorough=True) if path.is_file() else None


def note_change(problem: str | None, path: Path, what: str, cure: str, notes: Notes, *, image_id: str) -> None:
    """Adds what `change` found."""
    if problem is not None:
        notes.broken(f"{what}: changed", path, problem, cure, image_id=image_id)
