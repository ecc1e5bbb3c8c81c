"""A studio in tests: over one small run, asked as its own page would."""

from starlette.testclient import TestClient

from fewmask.studio.app import create_app
from fewmask.studio.context import Context

TOKEN = "a-token-for-tests-only"
BASE = "http://127.0.0.1:8765"


def studio(tmp_path, *paths, **changes):
    """(client that has visited the printed address, context)."""
    context = Context(tmp_path / "studio", cache=tmp_path / "cache", **changes)
    for path in paths:
        context.library.open(path)
    client = stranger(context)
    assert client.get(f"/?token={TOKEN}").status_code == 200
    client.headers["origin"] = BASE
    return client, context


def stranger(context, **options):
    """A client that knows no token."""
    return TestClient(create_app(context, token=TOKEN), base_url=BASE, raise_server_exceptions=False, **options)


def only(client, kind):
    """The one thing of a kind in the library."""
    (thing,) = [thing for thing in client.get("/api/library").json()["things"] if thing["kind"] == kind]
    return thing["id"]
