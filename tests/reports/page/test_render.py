"""The page as text: whole, safe, alone, and the same for the same report."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from reports.page import sample

from negprompt.reports.document import Cell, Column, Report, Row, RunNote, Table
from negprompt.reports.page.render import render

VOID = {"meta", "link", "img", "input", "br", "hr", "col"}
ADDRESSES = ("src", "href", "srcset", "action", "poster", "data", "xlink:href", "formaction")


class Reader(HTMLParser):
    """All elements with attributes, in order, and the text between them; complains of tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self._open, self.scripts = [], [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self._open[-1:] in (["script"], ["style"]) else self.texts).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def having(self, tag=None, **wanted):
        wanted = {name.rstrip("_"): value for name, value in wanted.items()}
        return [
            attributes
            for name, attributes in self.elements
            if tag in (None, name) and all(attributes.get(key) == value for key, value in wanted.items())
        ]


@pytest.fixture(scope="module")
def html():
    return render(sample.report())


@pytest.fixture(scope="module")
def read(html):
    return Reader(html)


def test_every_part_of_the_report_is_on_the_page(read):
    report = sample.report()
    for table in report.tables:
        assert table.title in read.text
        assert table.caption in read.text
    for row in (row for table in report.tables for row in table.rows):
        for cell in row.cells:
            assert cell.text in "".join(read.texts)
    assert [one["alt"] for one in read.having("img")][:3] == [plot.description for plot in report.plots]
    assert len(read.having("img")) == len(report.plots) + sum(len(one.pictures) for one in report.mistakes)
    for note in report.runs:
        for text in (note.key, note.folder, note.command, *note.settings, *note.settings.values(), *note.results):
            assert text in read.text
    for words in report.words:
        assert all(word in read.text for vector in words.words for word, _ in vector)
    for sentence in (*report.summary, *(text for pair in report.skipped for text in pair)):
        assert sentence in read.text


def test_the_summary_and_the_main_table_come_first(html):
    order = ['id="summary"', 'id="table-table2-conventional"', 'id="tables"', 'id="table-shots"', 'id="figures"']
    order += ['id="mistakes"', 'id="words"', 'id="runs"', 'id="skipped"']
    places = [html.index(part) for part in order]
    assert places == sorted(places)


def test_ids_are_unique_and_every_link_within_the_page_resolves(read):
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = [one["href"][1:] for one in read.having("a") if one["href"].startswith("#")]
    assert len(targets) > 60
    references = [
        name
        for _, attributes in read.elements
        for key in ("aria-labelledby", "aria-describedby", "for")
        for name in attributes.get(key, "").split()
    ]
    assert set(targets) | set(references) <= set(ids)


def test_nothing_is_asked_of_another_file_or_machine(html, read):
    addresses = [value for _, attributes in read.elements for key in ADDRESSES if (value := attributes.get(key))]
    assert {address.partition(":")[0] if address[0] != "#" else "#" for address in addresses} == {"data", "#"}
    assert not re.search(r"url\(|@import|https?:", "".join(read.scripts))
    assert "http:" not in html
    assert "https:" not in html


def test_the_policy_allows_this_style_and_this_script_only(html, read):
    (policy,) = [one["content"] for one in read.having("meta") if "http-equiv" in one]
    assert "default-src 'none'" in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert not any(name.startswith("on") or name == "style" for _, attributes in read.elements for name in attributes)


def test_equal_reports_give_equal_bytes_also_in_another_process(html):
    code = (
        "import sys; sys.path.insert(0, 'tests'); from reports.page import sample;"
        "from negprompt.reports.page.render import render; sys.stdout.buffer.write(render(sample.report()).encode())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == html.encode()


EVIL = '<script>alert("x")</script>\'"&</style></details><img src=http://x.y/z onerror=x>'


def test_html_in_names_is_shown_and_not_obeyed():
    table = Table(
        EVIL,
        EVIL,
        EVIL,
        (Column(EVIL), Column(EVIL, EVIL, "higher")),
        (Row((Cell(EVIL, note=EVIL), Cell(f"1 ± {EVIL}", 1.0, "best", (EVIL,))), EVIL),),
    )
    plot = sample.plot("x", "x")._replace(key=EVIL, title=EVIL, caption=EVIL, description=EVIL)
    mistakes = sample.mistakes("CoOp")
    mistakes = mistakes._replace(run=EVIL, score=EVIL)
    picture = mistakes.pictures[0]._replace(key=EVIL, label=EVIL, data_set=EVIL, positive=EVIL, negative=EVIL)
    words = sample.words("CoOp")[1]._replace(
        run=EVIL, prompt=EVIL, words=(((EVIL, 0.1),),), nearest_classes=((EVIL, 0.1),)
    )
    report = Report(
        EVIL,
        (EVIL,),
        EVIL,
        (table,),
        (plot,),
        (mistakes._replace(pictures=(picture,)),),
        (words,),
        (RunNote(EVIL, EVIL, EVIL, {EVIL: EVIL}, {EVIL: EVIL}),),
        ((EVIL, EVIL),),
    )
    read = Reader(render(report))
    assert [tag for tag, _ in read.elements].count("script") == 1
    assert not any("onerror" in attributes for _, attributes in read.elements)
    assert read.text.count('alert("x")') > 20


def cells(read):
    return [attributes for tag, attributes in read.elements if tag in ("td", "th") and "data-value" in attributes]


TWO = (Column("Method"), Column("AUROC"))


def small(*rows, columns=TWO, runs=()):
    table = Table("t", "T", "C", columns, rows)
    return render(Report("R", (), "", (table,), runs=runs))


def test_a_cell_sorts_by_its_value_and_not_by_its_text():
    numbers = (0.1 + 0.2, -1e-7, float("inf"), float("-inf"), 3)
    read = Reader(small(*(Row((Cell("m"), Cell("0.3 ± 0.1", value))) for value in numbers)))
    values = [one["data-value"] for one in cells(read)]
    assert values == ["0.30000000000000004", "-1e-07", "Infinity", "-Infinity", "3.0"]


@pytest.mark.parametrize(
    ("text", "spread"),
    [("90.0 ± 0.2", " ± 0.2"), ("90.0 [88.9, 91.1]", " [88.9, 91.1]"), ("90.0", None), ("± 1", None)],
)
def test_a_spread_stands_apart_from_its_value(text, spread):
    html = small(Row((Cell("m ± n"), Cell(text, 90.0))))
    assert re.findall('<span class="spread">(.*?)</span>', html) == ([] if spread is None else [spread])
    assert text in Reader(html).text.replace(f"{text[:4]} {spread}", text)


def test_a_value_that_is_no_number_sorts_with_the_empty_cells():
    read = Reader(small(Row((Cell("m"), Cell("nan", float("nan"))))))
    assert cells(read) == []


def test_equal_footnotes_share_a_number():
    rows = [Row((Cell("m", note=note), Cell("1", 1.0))) for note in ("first", "second", "first", "")]
    read = Reader(small(*rows))
    assert [one["href"] for one in read.having("a", class_="note-link")] == ["#note-t-1", "#note-t-2", "#note-t-1"]


def test_columns_under_one_head_are_spanned_and_columns_alone_are_not():
    columns = (Column("Method"), Column("AUROC", "SUN"), Column("FPR95", "SUN"), Column("AUROC", "LSUN"), Column("s"))
    read = Reader(small(Row(tuple(Cell("x") for _ in columns)), columns=columns))
    heads = [one["colspan"] for one in read.having("th", scope="colgroup")]
    assert heads == ["2", "1"]
    assert sum(int(one["span"]) for one in read.having("colgroup")) == len(columns)
    assert len(read.having("th", scope="col")) == len(columns)


def test_one_run_is_linked_and_several_are_listed_once():
    runs = tuple(RunNote(key, key, "negprompt train", {}, {}) for key in ("a/1", "a/2", "b"))
    rows = (
        Row((Cell("m"), Cell("1", 1.0, runs=("b", "b")))),
        Row((Cell("n"), Cell("2", 2.0, runs=("a/1", "a/2")))),
        Row((Cell("o"), Cell("3", 3.0, runs=("a/1", "a/2")))),
    )
    read = Reader(small(*rows, runs=runs))
    links = [(one["href"], "data-several" in one) for one in read.having("a", class_="run-link")]
    assert links == [("#run-b", False), ("#runs-1", True), ("#runs-1", True)]
    assert read.text.count("n, T") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"main": "table9"}, "'table9' is none of its tables: shots, table2_conventional"),
        ({"runs": ()}, "cites the run 'icons/coop/tiny_rn/seed1-"),
        ({"tables": sample.report().tables * 2}, "Two tables of the report share the key 'shots'"),
        ({"tables": (Table("t", "", "", (Column("a"),), (Row(()),)),), "main": ""}, "1 columns and a row of 0 cells"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        render(sample.report()._replace(**change))


def test_parts_that_are_empty_have_no_section_and_no_link():
    read = Reader(render(Report("Nothing", ("No run.",), "", ())))
    assert [one["href"] for one in read.having("a")] == ["#content", "#summary"]


@pytest.mark.parametrize(
    ("kind", "score", "wrong"), [("id", 0.41, 1), ("id", 0.42, 0), ("ood", 0.42, 1), ("ood", 0.41, 0)]
)
def test_a_picture_at_the_threshold_counts_as_id(kind, score, wrong):
    mistakes = sample.mistakes("CoOp")
    picture = mistakes.pictures[0]._replace(kind=kind, score=score)
    only = mistakes._replace(threshold=0.42, pictures=(picture,))
    read = Reader(render(sample.report()._replace(mistakes=(only,))))
    assert len(read.having("p", class_="verdict wrong")) == wrong
