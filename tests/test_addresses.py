import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewmask.addresses import address_digest, address_name, is_address, showable, showable_text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://cam/1", "rtsp://cam/1"),
        ("rtsp://user:secret@cam:554/1", "rtsp://cam:554/1"),
        ("rtsp://secret@cam/1", "rtsp://cam/1"),
        ("rtsp://user:sec@ret@cam/1", "rtsp://cam/1"),
        ("rtsp://user:sec/ret@cam/1", "rtsp://cam/1"),
        ("rtsp://user:sec?ret@cam/1", "rtsp://cam/1"),
        ("rtsp://user:sec#ret@cam/1", "rtsp://cam/1"),
        ("http://host/v.mp4?token=secret", "http://host/v.mp4?token=***"),
        ("http://host/v.mp4?a=secret&b=secret;c=secret", "http://host/v.mp4?a=***&b=***&c=***"),
        ("http://host/v.mp4?secret", "http://host/v.mp4?***"),
        ("http://host/v.mp4#secret", "http://host/v.mp4"),
        ("http://host/some@name.mp4", "http://host/some@name.mp4"),
        ("http://user:secret@[::1]:80/v.mp4", "http://[::1]:80/v.mp4"),
        ("rtsp://[::1", "rtsp://[::1"),
        ("http:/user:secret@host/v.mp4?t=secret", "http:/host/v.mp4?t=***"),  # as a Path spells it
        ("rtsp://", "rtsp://"),
        ("clip.mp4", "clip.mp4"),
        ("C:/Users/a@b/clip.mp4", "C:/Users/a@b/clip.mp4"),
        ("folder with://", "folder with://"),
    ],
)
def test_showable(address, shown):
    assert showable(address) == shown
    assert "secret" not in showable_text(f"{address}: cannot be opened")


def test_text_around_addresses_stays():
    assert (
        showable_text("http://u:secret@h/v?t=secret: gone (rtsp://c/1), or.")
        == "http://h/v?t=***: gone (rtsp://c/1), or."
    )
    said = 'a.mp4, {"url": "http://u:secret@h/v?token=secret", "n": 3} and (rtsp://secret@cam/1)'
    assert showable_text(said) == 'a.mp4, {"url": "http://h/v?token=***", "n": 3} and (rtsp://cam/1)'


@given(st.text(string.ascii_letters + string.digits + "!$%*+-.,;:&=@~", min_size=1))
def test_no_password_gets_out(password):
    address = f"rtsp://someone:SECRET{password}SECRET@cam/live?key=SECRET{password}"
    assert "SECRET" not in showable(address)
    assert "SECRET" not in address_name(address)
    assert showable(showable(address)) == showable(address)


def test_names_and_digests():
    assert address_name("http://u:p@h/a/dog.run.mp4?token=a.b/c#x") == "dog.run"
    assert address_name("rtsp://cam") == "cam"
    assert address_name("rtsp://") == "stream"
    assert address_digest("HTTP://u:p@h/v?a=1") == address_digest("http://h/v?a=1")
    assert len({address_digest(f"http://h/{rest}") for rest in ("v", "v?a=1", "v?a=2", "w?a=1")}) == 4
    assert is_address("rtsp://cam")
    assert not any(map(is_address, ("a.mp4", 3, None)))
