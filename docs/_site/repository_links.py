"""Links of the pages to files of the repository that are no pages: on the site they lead to the repository."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\]\((?:\.\./)+((?:src|reproduce|benchmarks|recipes|tests)/[^)]+|[A-Z]+(?:\.md)?)\)")


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """MkDocs calls it with every page before it is rendered."""
    base = f"{config['repo_url']}/blob/main"
    markdown = _OUTSIDE.sub(lambda link: f"]({base}/{link[1]})", markdown)
    return re.sub(r"\]\((notebooks/[^)]+)\)", lambda link: f"]({base}/docs/{link[1]})", markdown)
