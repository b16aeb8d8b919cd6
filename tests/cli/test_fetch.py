"""`negprompt fetch`: weights come whole or not at all, runs find them; the publisher is a server here."""

from __future__ import annotations

import http.server
import json
import threading
from functools import partial

import open_clip
import pytest
import torch
from helpers import TEXT, VISION, tiny_clip
from open_clip import pretrained as registry

from negprompt.backbones.openclip import OpenClipSettings

MODEL, TAG = "negprompt-fetched", "random"
NAME = f"{MODEL}--{TAG}.pt"
WORDS = ("backbone=open_clip", f"backbone.model_name={MODEL}", f"backbone.pretrained={TAG}")


class Publisher(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word; `cut` ends the connection in the middle of a file."""

    cut = False

    def log_message(self, *args):
        pass

    def copyfile(self, source, outputfile):
        outputfile.write(source.read(1000 if Publisher.cut else -1))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A model that open_clip knows by name and whose weights a server on loopback has; the served folder."""
    (tmp_path / "configs").mkdir()
    config = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
    (tmp_path / "configs" / f"{MODEL}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "configs")
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save(tiny_clip(7).state_dict(), folder / "weights.pt")
    monkeypatch.setattr(Publisher, "cut", False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Publisher, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = {"url": f"http://127.0.0.1:{server.server_port}/weights.pt"}
    monkeypatch.setitem(registry._PRETRAINED, MODEL, {TAG: source})
    yield folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetched(negprompt, tmp_path):
    """`negprompt fetch` of that model into a folder; what was said."""
    return lambda *words: negprompt("fetch", *WORDS, f"paths.weights_dir={tmp_path / 'weights'}", *words)


def left(folder):
    """Files in a folder, without the lock."""
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(".lock"))


def test_what_is_fetched_is_found_without_a_network(published, fetched, tmp_path):
    said = fetched()
    assert said.code == 0, said.err
    assert f"written to {tmp_path / 'weights' / NAME}" in said.out
    assert f"export NEGPROMPT_WEIGHTS={tmp_path / 'weights'}" in said.out
    (published / "weights.pt").unlink()
    settings = OpenClipSettings(name="some", model_name=MODEL, pretrained=TAG, weights_dir=str(tmp_path / "weights"))
    assert settings.weights().path == tmp_path / "weights" / NAME
    expected = tiny_clip(7).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in settings.build().model.state_dict().items())


def test_what_is_there_is_not_fetched_again(published, fetched):
    assert fetched().code == 0
    (published / "weights.pt").unlink()
    said = fetched()
    assert (said.code, "already there" in said.out) == (0, True)


@pytest.mark.parametrize("wrong", ["cut", "another model", "page"])
def test_what_is_not_the_weights_leaves_nothing(published, fetched, tmp_path, monkeypatch, wrong):
    file = published / "weights.pt"
    if wrong == "cut":
        monkeypatch.setattr(Publisher, "cut", True)
    elif wrong == "page":
        file.write_text("<html>moved</html>")
    else:
        torch.save(tiny_clip(width=64).state_dict(), file)
    said = fetched()
    assert said.code == 1
    assert len(said.messages) == 1
    assert "Traceback" not in said.err
    assert left(tmp_path / "weights") == []


def test_no_network_is_one_message_with_the_page_and_the_place(published, fetched, tmp_path, monkeypatch):
    monkeypatch.setitem(registry._PRETRAINED, MODEL, {TAG: {"url": "http://127.0.0.1:9/weights.pt"}})
    said = fetched()
    (line,) = said.messages
    assert said.code == 1
    assert "http://127.0.0.1:9/weights.pt" in line
    assert str(tmp_path / "weights" / MODEL) in line
    assert left(tmp_path / "weights") == []


def test_remains_of_a_killed_fetch_are_swept_away(published, fetched, tmp_path):
    remains = tmp_path / "weights" / f".{MODEL}--{TAG}.partial"
    remains.mkdir(parents=True)
    (remains / "weights.pt").write_bytes(b"half")
    assert fetched().code == 0
    assert left(tmp_path / "weights") == [NAME]


def test_an_embedded_backbone_has_nothing_to_fetch(negprompt):
    said = negprompt("fetch", "backbone=tiny_vit")
    assert (said.code, said.err) == (0, "")
    assert "nothing to fetch" in said.out


def test_a_backbone_must_be_named(negprompt):
    said = negprompt("fetch")
    assert said.code == 2
    assert "backbone=vit_b16_laion2b" in said.err
