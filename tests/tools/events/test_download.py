"""Downloads from a server on this machine: whole, broken off, wrong, absent, unreachable."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bumpscout_tools.errors import ConfigurationError, InputDataError
from bumpscout_tools.events.catalogue import DataFile
from bumpscout_tools.events.download import CACHE_VARIABLE, cache_folder, fetch_file

BLOCK = 65_536
CONTENT = bytes(range(256)) * 4096
MD5 = "md5:" + hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; ``cuts`` says after how many bytes each answer breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.asked: list[str | None] = []
        self.ranges = True
        self.etag = '"one"'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data.h5"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.server.statuses and (status := self.server.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        start = 0
        same = self.headers.get("If-Range", self.server.etag) == self.server.etag
        if asked and self.server.ranges and same:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("ETag", self.server.etag)
        self.end_headers()
        end = len(CONTENT)
        if self.server.cuts:
            end = start + self.server.cuts.pop(0)
        self.wfile.write(CONTENT[start:end])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def entry(url: str, checksum: str | None = MD5, size: int | None = None) -> DataFile:
    return DataFile(
        name="data.h5", url=url, about="numbers", checksum=checksum, bytes=size, default=True
    )


def fetch(folder: Path, file: DataFile):
    told: list[tuple[int, int | None]] = []
    waits: list[float] = []
    got = fetch_file(folder, "set", file, lambda *seen: told.append(seen), wait=waits.append)
    return got, told, waits


def test_a_file_is_downloaded_checked_and_then_there_without_a_network(
    server: Server, tmp_path: Path
) -> None:
    got, told, _ = fetch(tmp_path, entry(server.url, size=len(CONTENT)))
    assert got.path.read_bytes() == CONTENT
    assert (got.was_cached, got.pinned_now, got.checksum) == (False, False, MD5)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    server.statuses = [500] * 9
    again, told, _ = fetch(tmp_path, entry(server.url))
    assert again.was_cached
    assert told == []
    assert len(server.asked) == 1


def test_a_broken_transfer_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.cuts = [4 * BLOCK, 2 * BLOCK + 1]
    got, _, waits = fetch(tmp_path, entry(server.url))
    assert got.path.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={4 * BLOCK}-", f"bytes={6 * BLOCK}-"]
    assert waits == [1.0, 2.0]
    assert not list(got.path.parent.glob("*.part*"))


def test_the_next_run_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.cuts = [2 * BLOCK, 0, 0, 0, 0]
    with pytest.raises(
        InputDataError, match=f"{2 * BLOCK} bytes are kept, and the same command goes"
    ):
        fetch(tmp_path, entry(server.url))
    assert not (tmp_path / "set" / "data.h5").exists()
    got, _, _ = fetch(tmp_path, entry(server.url))
    assert got.path.read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={2 * BLOCK}-"


def test_a_file_that_changed_on_the_server_is_downloaded_anew(
    server: Server, tmp_path: Path
) -> None:
    server.cuts = [2 * BLOCK, 0, 0, 0, 0]
    with pytest.raises(InputDataError):
        fetch(tmp_path, entry(server.url))
    server.etag = '"two"'
    (tmp_path / "set" / "data.h5.part").write_bytes(b"x" * 2 * BLOCK)
    got, _, _ = fetch(tmp_path, entry(server.url))
    assert got.path.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [300_000]
    got, _, _ = fetch(tmp_path, entry(server.url))
    assert got.path.read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.h5.part").write_bytes(CONTENT)
    got, _, _ = fetch(tmp_path, entry(server.url))
    assert got.path.read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429, 200]
    got, _, waits = fetch(tmp_path, entry(server.url))
    assert got.path.read_bytes() == CONTENT
    assert len(waits) == 2


def test_a_wrong_checksum_leaves_no_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="its checksum is another one") as caught:
        fetch(tmp_path, entry(server.url, "md5:" + "0" * 32))
    assert caught.value.exit_code == 3
    assert [p.name for p in (tmp_path / "set").iterdir()] == [".data.h5.lock"]


def test_another_size_is_told_before_the_download(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=f"has {len(CONTENT)} bytes and the catalogue says 7"):
        fetch(tmp_path, entry(server.url, size=7))


def test_a_file_that_is_not_there_is_an_error_at_once(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(InputDataError, match=r"is not at http.*404"):
        fetch(tmp_path, entry(server.url))
    assert len(server.asked) == 1


def test_without_a_network_the_error_says_so(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/data.h5"
    with pytest.raises(InputDataError, match="Check the network; 0 bytes are kept") as caught:
        fetch(tmp_path, entry(url))
    assert caught.value.exit_code == 3


def test_an_unknown_checksum_is_kept_at_the_first_download_and_checked_ever_after(
    server: Server, tmp_path: Path
) -> None:
    got, _, _ = fetch(tmp_path, entry(server.url, None))
    assert (got.pinned_now, got.checksum) == (True, SHA256)
    assert json.loads((tmp_path / "set" / "pins.json").read_text()) == {"data.h5": SHA256}
    again, _, _ = fetch(tmp_path, entry(server.url, None))
    assert (again.was_cached, again.pinned_now) == (True, False)
    got.path.write_bytes(CONTENT[:-1])
    anew, _, _ = fetch(tmp_path, entry(server.url, None))
    assert not anew.was_cached
    assert anew.path.read_bytes() == CONTENT
    (tmp_path / "set" / "pins.json").write_text(json.dumps({"data.h5": "sha256:" + "0" * 64}))
    anew.path.unlink()
    with pytest.raises(InputDataError, match=r"look at the record or at .*pins\.json"):
        fetch(tmp_path, entry(server.url, None))


def test_a_cache_that_cannot_be_written_is_a_usage_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").write_text("in the way")
    with pytest.raises(ConfigurationError, match=CACHE_VARIABLE):
        fetch(tmp_path, entry(server.url))


def test_the_cache_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "bumpscout" / "data"
