"""Print a paragraph of debian/copyright for each library beside us: who wrote it, and its licence as it names it."""

from __future__ import annotations

from importlib.metadata import Distribution, distributions


def _licence(library: Distribution) -> str:
    """Return the licence's short name: an expression, else the classifiers, else the first line of the text."""
    named = library.metadata
    if expression := named.get("License-Expression"):
        return str(expression)
    classifiers = [
        each.rpartition(" :: ")[2] for each in named.get_all("Classifier", ()) if each.startswith("License ::")
    ]
    return ", ".join(classifiers) or str(named.get("License") or "see its folder").splitlines()[0]


def _author(library: Distribution) -> str:
    named = library.metadata
    found = (
        named.get("Author") or named.get("Author-email") or named.get("Maintainer") or f"the authors of {named['Name']}"
    )
    return " ".join(str(found).split())


def main() -> None:
    """Print them by name."""
    for library in sorted(distributions(), key=lambda each: each.metadata["Name"].lower()):
        name = library.metadata["Name"]
        if name != "ringback":
            licence = f"{name}-{library.version}"
            print(f"\nFiles: usr/lib/ringback/lib/*/{name}*\nCopyright: {_author(library)}\nLicense: {licence}")
            print(f" {_licence(library)}; the text is in its dist-info folder.")


if __name__ == "__main__":
    main()
