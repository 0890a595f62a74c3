"""Compares public names and signatures with those of a commit, and names what breaks a user's code.

    python tests/public_api.py [COMMIT]

Public is what `docs/api.md` documents, where it says that it is imported from; of a class, what has no underscore. The
commit is the newest tag unless one is given, and the last commit where there is no tag. A break that the changelog
announces, as `Retry` or `Retry.parts` under the heading "Breaking", is printed and accepted.
"""

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import griffe

PACKAGE = "resilient_tasks"
ROOT = Path(__file__).resolve().parents[1]
DIRECTIVE = re.compile(r"^\.\. (currentmodule|auto\w+):: (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Break:
    """A change that breaks code which uses a public name.

    Attributes:
        name: the name as the page on the API has it.
        change: what has changed, in a sentence.
    """

    name: str
    change: str

    def is_announced(self, changelog: str) -> bool:
        """Return whether the changelog names it under "Breaking", in its first section."""
        section = changelog.partition("\n## ")[2].partition("\n## ")[0]
        announced = section.partition("\n### Breaking\n")[2].partition("\n### ")[0]
        names = self.name.removeprefix(f"{PACKAGE}.").removesuffix(".__init__")
        return f"`{names}`" in announced


def documented(page: str) -> list[str]:
    """Return the addresses of all names that a page on the API documents."""
    names, module = [], PACKAGE
    for directive, name in DIRECTIVE.findall(page):
        if directive == "currentmodule":
            module = name
        else:
            names.append(name if name.startswith(f"{PACKAGE}.") else f"{module}.{name}")
    return names


def loaded(root: Path) -> griffe.Module:
    """Return the package in a folder as its source describes it: nothing of it is imported."""
    logging.getLogger("griffe").setLevel(logging.ERROR)
    module = griffe.load(PACKAGE, search_paths=[root], try_relative_path=False, allow_inspection=False)
    assert isinstance(module, griffe.Module)
    return module


def found(package: griffe.Module, address: str) -> griffe.Object | None:
    """Return what stands at an address, through all imports; None if nothing does."""
    try:
        member = package[address.removeprefix(f"{PACKAGE}.")]
        return member.final_target if isinstance(member, griffe.Alias) else member
    except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
        return None


def breaks(old: griffe.Module, new: griffe.Module, names: list[str]) -> Iterator[Break]:
    """Yield what breaks users of these names."""
    for name in names:
        before, after = found(old, name), found(new, name)
        if before is None:
            continue
        if after is None:
            yield Break(name, "it was removed, or is imported from elsewhere")
            continue
        # griffe compares the members of a pair: each is put into a module that holds nothing else.
        for change in griffe.find_breaking_changes(_alone(before), _alone(after)):
            yield Break(_named(change.obj, after, name), _said(change))


def _alone(found: griffe.Object) -> griffe.Module:
    holder = griffe.Module("public")
    holder.members["it"] = found
    holder.exports = ["it"]
    return holder


def _named(changed: griffe.Object, whole: griffe.Object, name: str) -> str:
    """Return the name of what has changed: that of the whole, or one of its members."""
    inside = changed.path.removeprefix(whole.path)
    return name + inside if inside != changed.path else f"{name}.{changed.name}"


def _said(change: griffe.Breakage) -> str:
    what = change.kind.value.lower()
    parameter = getattr(change, "old_value", None) or getattr(change, "new_value", None)
    if isinstance(parameter, griffe.Parameter):
        before, after = (_written(getattr(change, side, None)) for side in ("old_value", "new_value"))
        return f"{what}: {before} -> {after}"
    return what


def _written(parameter: griffe.Parameter | None) -> str:
    if parameter is None:
        return "none"
    return parameter.name if parameter.required else f"{parameter.name}={parameter.default}"


def main(commit: str = "") -> int:
    """Print every break since a commit, and return how many of them are not announced."""
    commit = commit or _git("describe", "--tags", "--abbrev=0") or "HEAD"
    if not _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"):
        print(f"there is no commit {commit!r} here; in a clone without history: git fetch --unshallow --tags")
        return 1
    names = documented(_git("show", f"{commit}:docs/api.md"))
    with TemporaryDirectory() as folder:
        _unpack(commit, Path(folder))
        broken = list(breaks(loaded(Path(folder)), loaded(ROOT), names))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unannounced = [each for each in broken if not each.is_announced(changelog)]
    for each in broken:
        print(f"{each.name}: {each.change}{'' if each in unannounced else ' (announced in CHANGELOG.md)'}")
    print(f"{len(names)} public names since {commit}: {len(broken)} breaks, {len(unannounced)} of them not announced")
    return len(unannounced)


def _unpack(commit: str, folder: Path) -> None:
    """Write the package as it was at a commit."""
    packed = subprocess.run(["git", "archive", commit, PACKAGE], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 1))
