"""Documents as chunks: what a reader sees of them, under which headings, and how much at once."""

import io
import zipfile

import pytest

from tasks.engine.errors import UserError
from tasks.synthesis.documents import Document, chunks, documents

GUIDE = """---
title: "The kiln"
---
# Firing

A kiln fires [clay](https://example.org). It *glows*.
<!-- nobody sees this -->

## Cones

- **Cone 6**: 1222 °C
- cone 10

| cone | degrees |
|---|---|
| 6 | 1222 |
| 10 | 1285 |

```python
# not a heading
```
"""


def cut(text, most=1000, suffix=".md"):
    return chunks(Document("guide.md", "", text.encode(), suffix), most, None)


def test_a_chunk_stands_under_its_headings_and_has_the_text_that_a_reader_sees():
    firing, cones = cut(GUIDE)
    assert (firing.title, firing.path, firing.text) == ("The kiln", ["Firing"], "A kiln fires clay. It glows.")
    assert cones.path == ["Firing", "Cones"] and cones.passage.startswith(
        "Firing > Cones\n\n- Cone 6: 1222 °C\n- cone 10"
    )
    assert "| cone | degrees |\n| 6 | 1222 |" in cones.text and "# not a heading" in cones.text
    assert "nobody" not in firing.text


def test_a_chunk_is_no_longer_than_said_but_for_one_long_block():
    found = cut("\n\n".join(f"Paragraph {number} has forty characters or so." for number in range(20)), most=30)
    assert all(len(each.text) <= 4 * 33 for each in found) and len(found) == 7
    assert [each.number for each in found] == list(range(7))


def test_a_folder_is_its_files_and_a_jsonl_its_lines(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.md").write_text("One.")
    (tmp_path / ".hidden.md").write_text("None.")
    (tmp_path / "rows.jsonl").write_text('{"id": "P-1", "title": "Pump P-1", "text": "It pumps."}\n\n')
    assert [(each.id, each.title) for each in documents(tmp_path)] == [("a/one.md", ""), ("P-1", "Pump P-1")]
    (tmp_path / "rows.jsonl").write_text('{"id": "P-1"}\n')
    with pytest.raises(UserError, match=r"rows.jsonl:1 is no document"):
        list(documents(tmp_path))


def test_html_is_read_without_its_menus():
    (only,) = cut("<html><body><nav>Home Shop</nav><h1>Kiln</h1><p>It <b>glows</b>.</p></body></html>", suffix=".html")
    assert (only.path, only.text) == (["Kiln"], "It glows.")


WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PARTS = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default '
    'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override '
    'PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.'
    'document.main+xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship '
    'Id="r" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>',
    "word/document.xml": f'<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>A kiln glows at night.</w:t></w:r>'
    "</w:p></w:body></w:document>",
}


def docx() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        for name, text in PARTS.items():
            file.writestr(name, text)
    return held.getvalue()


def pdf() -> bytes:
    """A page of a line, as a PDF writer has it."""
    drawn = b"BT /F1 24 Tf 72 700 Td (A kiln glows at night.) Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 6\n0000000000 65535 f \n"
    return out + head + table + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(out)


@pytest.mark.parametrize(("suffix", "data"), [(".docx", docx()), (".pdf", pdf())])
def test_other_formats_are_read(suffix, data):
    (only,) = chunks(Document(f"kiln{suffix}", "", data, suffix), 1000, None)
    assert only.text == "A kiln glows at night."


def test_what_cannot_be_read_is_named():
    with pytest.raises(UserError, match=r"guide.md cannot be read"):
        cut("no PDF at all", suffix=".pdf")
