"""Candidate names: which tokens a picture proposes, which of them are words, and a plain loop as the oracle."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers import CLASS_NAMES, shared_backbone

from negprompt.errors import ConfigError
from negprompt.methods.caption_adapter import framed
from negprompt.methods.zoc import ZocSettings
from negprompt.prompts import candidates
from negprompt.prompts.candidates import Proposals, candidate_words, words_in
from negprompt.prompts.caption_decoder import CaptionDecoder, DecoderSettings
from negprompt.scores.zoc import zoc
from negprompt.types import PromptBundle, ScoreInputs

END, WIDTH = 49407, 16
NAMES = ("drum", "fire truck", "owl")
SENTENCES = (*CLASS_NAMES, "xylophone", "a photo of the", "1 piece, 2nd", "café", "this is")


def vocabulary():
    backbone = shared_backbone()
    return torch.tensor(sorted({token for text in SENTENCES for token in framed(backbone, text)[1:]}))


def random_decoder(seed=0):
    """A decoder whose captions depend on the picture."""
    decoder = CaptionDecoder(vocabulary(), WIDTH, 76, DecoderSettings(width=32, layers=2, heads=2), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        decoder.table.weight.copy_(torch.randn(decoder.table.weight.shape, generator=generator))
        decoder.picture.weight.mul_(4)
    return decoder


def pictures(count=30, seed=0):
    return 3 * torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def proposals(decoder, **settings):
    return Proposals(decoder, shared_backbone().word_ends(), END, **{"top_k": 4, "steps": 6, **settings})


# --- steps ---------------------------------------------------------------------------------------------------------


class Scripted(CaptionDecoder):
    """Step n has the words of `script[n]` as its most likely tokens, in their order."""

    def __init__(self, script):
        backbone = shared_backbone()
        self.ids = {"END": END, "xy": 0, "lo": 0}
        pieces = backbone.tokenize("xylophone")
        self.ids |= dict(zip(("xy", "lo", "phone"), pieces, strict=True))
        self.ids |= {word: backbone.tokenize(word)[0] for word in ("drum", "jar", "kite", "owl")}
        super().__init__(torch.tensor(sorted(self.ids.values())), WIDTH, 76, DecoderSettings(width=4, layers=1))
        self.script = script

    def forward(self, images, columns):
        return torch.full((len(images), columns.shape[1] + 1, 1), float(columns.shape[1]))

    def logits(self, hidden):
        order = self.script[int(hidden[0, 0])]
        row = torch.zeros(len(self.vocabulary), dtype=torch.double)
        for place, words in enumerate(order):
            for word in words.split("="):
                row[self.columns(torch.tensor([self.ids[word]]))] = 9.0 - place
        return row.expand(len(hidden), -1)

    def proposed(self, **settings):
        (row,) = proposals(self, **{"top_k": 2, "steps": len(self.script), **settings})(torch.ones(1, WIDTH))
        names = {int(self.columns(torch.tensor([token]))): name for name, token in self.ids.items()}
        return {names[column] for column in row.nonzero().flatten().tolist()}


def test_each_step_proposes_its_most_likely_tokens_until_the_caption_ends():
    script = [("drum", "jar"), ("xy", "lo"), ("lo", "owl"), ("phone", "owl"), ("END", "phone"), ("kite", "owl")]
    script.append(script[-1])  # "owl" would begin a word here
    assert Scripted(script).proposed() == {"drum", "jar", "xy", "lo", "END", "phone"}
    assert Scripted(script).proposed(steps=1) == {"drum", "jar"}
    assert Scripted(script).proposed(top_k=1, steps=2) == {"drum", "xy"}


def test_tokens_as_likely_as_the_last_are_proposed_too():
    assert Scripted([("drum", "jar=owl=kite")]).proposed() == {"drum", "jar", "owl", "kite"}


def test_more_tokens_than_there_are_is_all_of_them():
    assert Scripted([("drum", "jar")]).proposed(top_k=1000) == {
        "drum",
        "jar",
        "owl",
        "kite",
        "xy",
        "lo",
        "phone",
        "END",
    }


def test_more_steps_than_places_are_refused():
    with pytest.raises(ConfigError, match=r"method\.steps=77 is more than this decoder can write, 76"):
        proposals(random_decoder(), steps=77)


def test_captions_depend_on_the_picture():
    found = proposals(random_decoder())(pictures())
    assert len({tuple(row.tolist()) for row in found}) > 20


@pytest.mark.parametrize("size", [1, 7, 30])
def test_the_number_of_pictures_at_once_changes_no_proposal(monkeypatch, size):
    propose, features = proposals(random_decoder()), pictures()
    whole = propose(features)
    assert torch.equal(torch.cat([propose(some) for some in features.split(size)]), whole)
    monkeypatch.setattr(candidates, "_PICTURES_AT_ONCE", size)
    assert torch.equal(propose(features), whole)


def test_the_order_of_pictures_changes_no_proposal():
    propose, features = proposals(random_decoder()), pictures()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    assert torch.equal(propose(features[order]), propose(features)[order])


def test_logits_that_single_precision_takes_for_equal_are_told_apart():
    decoder = random_decoder()
    with torch.no_grad():
        decoder.bias.fill_(1.0)
        decoder.table.weight.mul_(1e-7)
    one = decoder.logits(decoder(F.normalize(pictures(), dim=1), torch.zeros(30, 0, dtype=torch.long))[:, -1])
    assert (one >= one.topk(4).values[:, -1:]).sum(dim=1).max() > 4
    assert proposals(decoder, steps=1)(pictures()).sum(dim=1).tolist() == [4] * 30


def test_autocast_and_the_length_of_features_change_no_proposal():
    propose, features = proposals(random_decoder()), pictures()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(propose(features), propose(8 * features))


def test_the_decoder_itself_stays_as_it_was():
    decoder = random_decoder()
    proposals(decoder)
    assert decoder.table.weight.dtype == torch.float32
    assert decoder.table.weight.requires_grad


# --- words ---------------------------------------------------------------------------------------------------------


def found_words(*no_candidates):
    decoder = random_decoder()
    words = candidate_words(decoder, shared_backbone(), no_candidates)
    backbone = shared_backbone()
    assert all(backbone.tokenize(word) == [int(decoder.vocabulary[column])] for column, word in words.items())
    return set(words.values())


def test_candidates_are_single_tokens_of_letters():
    words = found_words()
    assert {"drum", "fire", "truck", "phone", "the", "piece"} <= words
    assert not {"xy", "lo", "xylophone", "1", "2", ",", "café", ""} & words


def test_words_that_are_named_are_left_out():
    assert found_words() - found_words("fire", "the") == {"fire", "the"}


def test_tokens_that_the_backbone_never_saw_are_left_out(monkeypatch):
    (drum,) = shared_backbone().tokenize("drum")
    before = found_words()
    monkeypatch.setattr(type(shared_backbone()), "unknown_tokens", lambda _, tokens: [drum] if drum in tokens else [])
    assert before - found_words() == {"drum"}


def test_words_in_texts():
    assert words_in(["Ice_Cream", "T-shirt (blue)"]) == {"ice", "cream", "t", "shirt", "blue"}


# --- the reader ----------------------------------------------------------------------------------------------------


def reader(decoder, names=NAMES, **changes):
    settings = ZocSettings(
        name="zoc",
        num_context_tokens=6,
        context_init="words",
        context_words="this is a photo of a",
        **{"top_k": 4, "steps": 6, **changes},
    )
    backbone = shared_backbone()
    context = settings.module(backbone, names, 1, None).contexts().positive
    bundle = PromptBundle(context, None, {"class_token_position": "end", "full_stop": False})
    return settings.reader(backbone, bundle, decoder.tensors(), names)


def encoded(word):
    """Text feature of one sentence, with the model's own encoder."""
    backbone = shared_backbone()
    ids = framed(backbone, f"this is a photo of a {word}")
    whole = F.pad(torch.tensor([ids]), (0, 77 - len(ids)))
    with torch.no_grad():
        return F.normalize(backbone.model.encode_text(whole), dim=-1)[0]


def looped(decoder, image):
    """Candidates of one picture, step by step and word by word."""
    backbone = shared_backbone()
    letters, ids = backbone.word_ends(), decoder.vocabulary.tolist()
    taken = {"drum", "fire", "truck", "owl", "this", "is", "a", "photo", "of"}
    decoder, written, words = decoder.double(), [], set()
    for _ in range(6):
        with torch.no_grad():
            hidden = decoder(F.normalize(image.double(), dim=0)[None], torch.tensor([written], dtype=torch.long))
            row = decoder.logits(hidden[0, -1])
        best = sorted(range(len(ids)), key=lambda column: -float(row[column]))[:4]
        if not written or ids[written[-1]] in letters:
            words |= {letters[ids[column]] for column in best if ids[column] in letters}
        if ids[best[0]] == END:
            break
        written.append(best[0])
    return {word for word in words if word.isascii() and word.isalpha()} - taken


@pytest.mark.parametrize("seed", [0, 1])
def test_the_reader_is_a_loop_over_pictures_and_words(seed):
    features, one = pictures(12, seed), reader(random_decoder(seed))
    inputs = one.inputs(features)._replace(candidates=one.candidates(features))
    scale, sizes = shared_backbone().logit_scale, set()
    for row, image in enumerate(features):
        unit = F.normalize(image, dim=0)
        names = looped(random_decoder(seed), image)
        sizes.add(len(names))
        cosines = sorted(float(unit @ encoded(word)) for word in names)
        there = inputs.candidates[row][torch.isfinite(inputs.candidates[row])]
        torch.testing.assert_close(there.sort().values, torch.tensor(cosines), rtol=0, atol=1e-6)
        seen = sum(math.exp(scale * float(unit @ encoded(name))) for name in NAMES)
        unseen = sum(math.exp(scale * cosine) for cosine in cosines)
        assert float(zoc(inputs)[row]) == pytest.approx(seen / (seen + unseen), abs=1e-4)
    assert len(sizes) > 1


def test_a_seen_name_is_no_candidate():
    decoder, features = random_decoder(), pictures(40)
    some = reader(decoder, NAMES).candidates(features).shape[1]
    assert reader(decoder, ("owl",)).candidates(features).shape[1] > some > 0


def test_names_of_all_words_leave_no_candidate_and_everything_in_distribution():
    words = tuple(sorted(found_words()))
    one, features = reader(random_decoder(), words), pictures()
    cosines = one.candidates(features)
    assert cosines.shape == (30, 0)
    assert (zoc(one.inputs(features)._replace(candidates=cosines)) == 1).all()


@pytest.mark.parametrize("size", [1, 7])
def test_the_batch_changes_no_score(size):
    one, features = reader(random_decoder()), pictures()

    def scores(some):
        return zoc(one.inputs(some)._replace(candidates=one.candidates(some)))

    whole = scores(features)
    torch.testing.assert_close(torch.cat([scores(some) for some in features.split(size)]), whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(scores(features.flip(0)).flip(0), whole, rtol=0, atol=1e-5)


def test_words_are_encoded_once(monkeypatch):
    one = reader(random_decoder())
    monkeypatch.setattr(type(shared_backbone()), "text_tower", lambda _: pytest.fail("encoded again"))
    features = pictures()
    assert torch.equal(one.candidates(features), one.candidates(features))


def test_many_classes_are_warned_of_once(caplog):
    names = tuple(f"thing {number}" for number in range(301))
    for _ in range(2):
        reader(random_decoder(), names)
    assert [record.message for record in caplog.records if "up to 300 classes" in record.message] != []
    assert sum("this benchmark has 301" in record.message for record in caplog.records) == 1
    reader(random_decoder(), names[:300])
    assert not any("benchmark has 300" in record.message for record in caplog.records)


def test_a_scored_picture_has_candidates_only_where_they_are_asked_for():
    one, features = reader(random_decoder()), pictures()
    assert isinstance(one.inputs(features), ScoreInputs)
    assert one.inputs(features).candidates is None
