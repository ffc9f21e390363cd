"""The page of an audit: one HTML file that needs no network, no script and no other file."""

from collections.abc import Sequence
from pathlib import Path

from dhr.core.labels import IGNORE
from dhr.dataset.audit.finding import Kind, severities
from dhr.dataset.audit.split import SplitAudit
from dhr.dataset.classes import ClassTable
from dhr.evaluation.tables import count
from dhr.page.audit_examples import example_section
from dhr.page.audit_record import HEAD, Audited, split_rows
from dhr.page.markup import Markup, element, join
from dhr.page.plots import Bars, bar_chart
from dhr.page.report import POLICY, STYLE
from dhr.page.scores import MANY, fold, note, table

OWN_STYLE = Path(__file__).with_name("page.css")
LISTED = 20  # findings of one kind on the page; all are in audit.json
RARE = 20  # bars at each end where there are more than MANY classes
OPEN = 5  # findings of a kind up to which they are not folded away


def page_of(audited: Audited) -> Markup:
    """The whole page; the same files give the same bytes."""
    sections = [
        ("splits", "Splits", _splits(audited)),
        ("findings", "Findings", _findings(audited)),
        ("classes", "Classes", _classes(audited)),
        ("examples", "Examples", example_section(audited)),
    ]
    links = [element("a", title, href=f"#{anchor}") for anchor, title, _ in sections]
    body = [
        element("section", element("h2", title), content, id=anchor, class_="part")
        for anchor, title, content in sections
    ]
    main = element("main", _header(audited), element("nav", *links, aria_label="Sections"), *body)
    return join([Markup("<!doctype html>\n"), element("html", _head(audited), element("body", main), lang="en")])


def _head(audited: Audited) -> Markup:
    style = "".join(path.read_text(encoding="utf-8") for path in (STYLE, OWN_STYLE))
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", f"{audited.dataset} - audit"),
        element("style", Markup(style)),
    )


def _header(audited: Audited) -> Markup:
    counts = severities(audited.findings)
    images = sum(len(split.listing.ids) for split in audited.splits)
    facts = [("images", images, None), ("broken", counts["broken"], "bad" if counts["broken"] else None)]
    facts.append(("remarks", counts["remark"], None))
    big = [element("div", element("dt", name), element("dd", count(value)), class_=kind) for name, value, kind in facts]
    lead = f"{len(audited.table.names)} classes, in {audited.layout.home}"
    return element(
        "header",
        element("p", "dhr audit", class_="brow"),
        element("h1", audited.dataset),
        element("p", lead, class_="lead"),
        element("dl", *big, class_="headline"),
        note(element("code", audited.command)),
    )


def _splits(audited: Audited) -> Markup:
    numeric = [False] + [True] * (len(HEAD) - 2) + [False]
    said = note("Broken: a stage stops at it, or what it makes is spoilt. Remark: worth knowing, nothing stops.")
    return join([table(HEAD, split_rows(audited), numeric), said])


def _findings(audited: Audited) -> Markup:
    if not audited.findings:
        return note("Nothing is wrong.")
    return join(map(_kind, audited.kinds))


def _kind(kind: Kind) -> Markup:
    rows = [[each.split, each.id or "-", each.problem, element("code", each.file)] for each in kind.findings[:LISTED]]
    title = element(
        "summary",
        element("span", kind.severity, class_=f"mark {kind.severity}"),
        kind.name,
        element("span", count(len(kind.findings)), class_="count"),
    )
    parts = [title, element("p", "Cure: ", kind.first.cure, class_="note")]
    parts.append(table(("split", "id", "what is wrong", "file"), rows, [False] * 4))
    if len(kind.findings) > LISTED:
        parts.append(note(f"The first {LISTED} of {len(kind.findings):,}; all are in audit.json."))
    is_open = kind.severity == "broken" or len(kind.findings) <= OPEN
    return element("details", *parts, class_="kind", open="" if is_open else None)


def _classes(audited: Audited) -> Markup:
    known = [split for split in audited.splits if split.statistics.tagged_images or split.statistics.masked_images]
    if not known:
        return note("No split has tags or masks that can be read.")
    return join(fold(split.name, _split_classes(split, audited.table), is_open=split is known[0]) for split in known)


def _split_classes(split: SplitAudit, classes: ClassTable) -> Markup:
    statistics = split.statistics
    images = statistics.tagged if statistics.tagged_images else statistics.shown
    real = range(classes.first_tag, classes.num_classes)
    there = [index for index in real if statistics.tagged[index] or statistics.pixels[index]]
    order = sorted(there, key=lambda index: (-images[index], index))
    parts = [note(_summary(split, classes))]
    absent = [classes.names[index] for index in real if index not in there]
    if absent:
        parts.append(note(f"In no image: {', '.join(absent)}."))
    if len(order) > MANY:
        parts.append(element("h3", f"The {RARE} most frequent classes"))
        parts.append(_bars(split, classes, order[:RARE]))
        parts.append(element("h3", f"The {RARE} rarest classes"))
        parts.append(_bars(split, classes, order[-RARE:]))
    else:
        parts.append(_bars(split, classes, order))
    parts.append(_class_table(split, classes, order))
    return join(parts)


def _summary(split: SplitAudit, classes: ClassTable) -> str:
    """What the bars leave out: they would be too small beside the background."""
    statistics = split.statistics
    said = (
        f"{count(statistics.tagged_images)} images with readable tags, {count(statistics.masked_images)} with a mask."
    )
    if statistics.masked_images:
        background = f"{100 * statistics.shares[0]:.1f} % are background and " if classes.has_background else ""
        said += f" Of all pixels {background}{100 * statistics.shares[IGNORE]:.1f} % are ignored; they have no bar."
    return said


def _bars(split: SplitAudit, classes: ClassTable, order: Sequence[int]) -> Markup:
    names, statistics = [classes.names[index] for index in order], split.statistics
    figures = []
    drawn = (
        ("Images per class, by tags", statistics.tagged, statistics.tagged_images, 0),
        ("Share of pixels per class, %", 100 * statistics.shares, statistics.masked_images, 2),
    )
    for title, values, images, decimals in drawn:
        if images:
            about = f"{title} in {split.name}, the class with the most images first."
            bars = [Bars(title, 0, [float(values[index]) for index in order])]
            plot = bar_chart(names, bars, title=title, description=about, decimals=decimals)
            figures.append(element("figure", element("figcaption", title), plot))
    return element("div", *figures, class_="pair")


def _class_table(split: SplitAudit, classes: ClassTable, order: Sequence[int]) -> Markup:
    statistics = split.statistics
    rows = [
        [
            classes.names[index],
            count(int(statistics.tagged[index])),
            count(int(statistics.shown[index])),
            count(int(statistics.pixels[index])),
            f"{100 * statistics.shares[index]:.3f}",
        ]
        for index in [*range(classes.first_tag), *order]
    ]
    head = ("class", "tagged images", "images with pixels", "pixels", "share %")
    return fold("Numbers per class", table(head, rows, [False] + [True] * 4), is_open=False)
