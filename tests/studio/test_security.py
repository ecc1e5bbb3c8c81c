"""Who is let in: no token, foreign hosts and origins, ways out of the opened folders, scripts in names."""

from contextlib import suppress

import pytest
from made_runs import SIZE, dense_tracks, write_run, write_video
from starlette.requests import ClientDisconnect
from studios import BASE, TOKEN, only, stranger, studio

from fewmask.errors import ConfigError
from fewmask.studio.library import Library, NotOpenedError, inside
from fewmask.studio.security import check_address

NASTY = "<img src=x onerror=alert(1)>\"'&"


@pytest.fixture
def opened(tmp_path):
    video = write_video(tmp_path / "clip.mp4", 40)
    run = write_run(tmp_path / "run", dense_tracks(40), source=video, names=(NASTY,))
    return studio(tmp_path, run)


ROUTES = ["/", "/static/js/main.js", "/api/library", "/api/jobs", "/api/examples", "/api/nothing"]


@pytest.mark.parametrize("route", ROUTES)
def test_without_the_token_nothing_is_told(opened, route):
    client = stranger(opened[1])
    answer = client.get(route)
    assert answer.status_code == 401
    assert answer.json()["error"].startswith("no token")
    assert client.get(f"{route}?token=wrong").status_code in (401, 403)
    client.cookies.set("fewmask-studio-8765", "wrong")
    assert client.get(route).status_code == 401


def test_the_token_goes_from_the_address_into_a_cookie(opened):
    answer = stranger(opened[1], follow_redirects=False).get(f"/?token={TOKEN}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "10.0.0.1:8765", ""])
def test_foreign_names_that_resolve_here_are_refused(opened, host):
    answer = opened[0].get("/api/library", headers={"host": host})
    assert answer.status_code == 403
    assert "things" not in answer.text


@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://evil.example", "http://127.0.0.1:9999", "http://localhost:8765", "https://127.0.0.1"],
)
def test_writes_come_from_our_own_page(opened, origin):
    client, _ = opened
    del client.headers["origin"]
    run = only(client, "run")
    body = {"based_on": 0, "edit": {"kind": "delete", "track": 1}}
    headers = {} if origin is None else {"origin": origin}
    assert client.post(f"/api/runs/{run}/corrections", json=body, headers=headers).status_code == 403
    assert client.get(f"/api/runs/{run}").json()["version"] == 0
    assert client.post(f"/api/runs/{run}/corrections", json=body, headers={"origin": BASE}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_foreign_form_can_send_is_not_taken(opened, kind):
    client, _ = opened
    answer = client.post(
        f"/api/runs/{only(client, 'run')}/corrections",
        content='{"based_on": 0, "edit": {"kind": "delete", "track": 1}}',
        headers={"content-type": kind},
    )
    assert answer.status_code == 415


def test_bodies_are_bounded(opened):
    client, _ = opened
    route = f"/api/runs/{only(client, 'run')}/corrections"
    headers = {"content-type": "application/json"}
    assert client.post(route, content=b"[" * (49 << 20), headers=headers).status_code == 413

    def endless():
        for _ in range(60):
            yield b"1" * (1 << 20)

    with suppress(RuntimeError, ClientDisconnect):  # the connection is cut, or answered with an error
        assert client.post(route, content=endless(), headers=headers).status_code >= 400
    assert client.get(route.removesuffix("/corrections")).json()["version"] == 0


ESCAPES = [
    "../manifest.json",
    "..%2fmanifest.json",
    "%2e%2e/manifest.json",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "a/../../manifest.json",
    "..\\manifest.json",
    "\0",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_no_way_out_of_the_exports(opened, name):
    client, _ = opened
    run = only(client, "run")
    assert client.post(f"/api/runs/{run}/export", json={"format": "ytvis"}).status_code == 200
    assert client.get(f"/api/runs/{run}/exports/ytvis.json").status_code == 200
    answer = client.get(f"/api/runs/{run}/exports/{name.replace(chr(0), '%00')}")
    assert answer.status_code in (400, 404, 422)
    assert "root:" not in answer.text
    assert "inputs" not in answer.text


@pytest.mark.parametrize("name", ["../../app.py", "..%2f..%2fapp.py", "%2e%2e/%2e%2e/app.py", "//etc/passwd"])
def test_no_way_out_of_the_page(opened, name):
    answer = opened[0].get(f"/static/{name}")
    assert answer.status_code in (400, 404)


def test_links_lead_nowhere_else(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "open" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(NotOpenedError):
        inside(tmp_path / "open", "link")
    (tmp_path / "elsewhere").mkdir()
    write_run(tmp_path / "elsewhere" / "run", dense_tracks(5))
    (tmp_path / "open" / "away").symlink_to(tmp_path / "elsewhere")
    library = Library()
    assert library.open(tmp_path / "open") == []


def test_what_a_manifest_names_is_shown_only_if_it_is_a_video(tmp_path):
    (tmp_path / "passwords.txt").write_text("root:x:0:0")
    run = write_run(tmp_path / "run", dense_tracks(5), source=tmp_path / "passwords.txt")
    client, context = studio(tmp_path, run)
    assert client.get(f"/api/runs/{only(client, 'run')}").json()["media"] is None
    for thing in context.library.all():
        for part in ("", "/video", "/times", "/frame/0.jpg", "/clip.webp?first=0&last=1"):
            assert "root:" not in client.get(f"/api/media/{thing.id}{part}").text


def test_addresses_are_never_fetched(tmp_path):
    run = write_run(tmp_path / "run", dense_tracks(5))
    manifest = run / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"source": null', '"source": "http://169.254.169.254/x.mp4"'))
    client, _ = studio(tmp_path, run)
    assert client.get(f"/api/runs/{only(client, 'run')}").json()["media"] is None


def test_scripts_in_names_stay_text(opened):
    client, _ = opened
    answer = client.get(f"/api/runs/{only(client, 'run')}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["classes"] == [NASTY]
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


MARKUP = [
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "new Function",
    "http://",
    "https://",
]


def test_the_page_never_makes_markup_of_text():
    from fewmask.studio.app import STATIC

    for script in STATIC.rglob("*.js"):
        text = script.read_text()
        for way in MARKUP:
            assert way not in text.replace("http://www.w3.org/2000/svg", ""), f"{script.name}: {way}"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "studio.example"])
def test_others_are_let_in_with_a_token_alone(host):
    with pytest.raises(ConfigError, match="--token"):
        check_address(host, None)
    with pytest.raises(ConfigError, match="too short"):
        check_address(host, "short")
    check_address(host, "a-long-enough-secret")
    check_address("127.0.0.1", None)


def test_the_run_is_of_the_size_expected(opened):
    assert opened[0].get(f"/api/runs/{only(opened[0], 'run')}").json()["size"] == list(SIZE)
