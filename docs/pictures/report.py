# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""Pictures of the example's report, on a desktop and on a phone, after `make demo`.

python docs/pictures/report.py out/report.html [--folder docs/images] [--browser chromium] [--whole]
"""

import argparse
import shutil
from pathlib import Path

from browser import browser
from prefect_ui import shrink


def main() -> None:
    """Take both pictures.

    Raises:
        ValueError: The page is wider than the window.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    parser.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--whole", action="store_true", help="the whole page, down to its end")
    chosen = parser.parse_args()
    if chosen.browser is None:
        parser.error("no Chromium is installed here: give --browser")
    with browser(chosen.browser) as seen:
        for name, size in {
            "report_desktop": {"width": 1280, "height": 1240},
            "report_phone": {"width": 390, "height": 1240},
        }.items():
            seen.open(chosen.report.resolve().as_uri(), **size, phone=name == "report_phone")
            seen.wait_for("Month by month")
            wide = seen.run("document.documentElement.scrollWidth")
            if wide > size["width"]:
                raise ValueError(f"{name}: the page is {wide} wide in a window of {size['width']}")
            file = chosen.folder / f"{name}.png"
            seen.take(file, whole=chosen.whole)
            shrink(file)


if __name__ == "__main__":
    main()
