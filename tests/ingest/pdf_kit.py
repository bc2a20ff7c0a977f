"""Small PDF files, written by hand: text pages, a picture page, an outline."""

from __future__ import annotations


def pdf(pages: list[list[str]], *, title: str = "", outline: list[tuple[str, int]] | None = None) -> bytes:
    """Pages of lines in Helvetica; a page without lines gets a grey square instead of text."""
    objects: list[bytes] = []

    def add(body: bytes) -> int:
        objects.append(body)
        return len(objects)

    catalog, tree = add(b""), add(b"")
    font = add(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    numbers = []
    for page_lines in pages:
        shown = b"0.5 g 72 72 200 200 re f"
        if page_lines:
            escaped = [
                line.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
                for line in page_lines
            ]
            shown = b"BT /F1 12 Tf 14 TL 72 720 Td " + b" ".join(b"(%s) Tj T*" % e for e in escaped) + b" ET"
        content = add(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(shown), shown))
        numbers.append(
            add(
                b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
                b"/Resources << /Font << /F1 %d 0 R >> >> >>" % (tree, content, font)
            )
        )
    kids = b" ".join(b"%d 0 R" % number for number in numbers)
    objects[tree - 1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(numbers))
    marks = b""
    if outline:
        root = add(b"")
        items = [add(b"") for _ in outline]
        for place, (number, (name, page)) in enumerate(zip(items, outline, strict=True)):
            links = b"/Next %d 0 R " % items[place + 1] if place + 1 < len(items) else b""
            links += b"/Prev %d 0 R " % items[place - 1] if place else b""
            objects[number - 1] = b"<< /Title (%s) /Parent %d 0 R %s/Dest [%d 0 R /Fit] >>" % (
                name.encode(),
                root,
                links,
                numbers[page],
            )
        objects[root - 1] = b"<< /Type /Outlines /First %d 0 R /Last %d 0 R /Count %d >>" % (
            items[0],
            items[-1],
            len(items),
        )
        marks = b" /Outlines %d 0 R" % root
    objects[catalog - 1] = b"<< /Type /Catalog /Pages %d 0 R%s >>" % (tree, marks)
    information = add(b"<< /Title (%s) >>" % title.encode())
    return assemble(objects, b"/Root %d 0 R /Info %d 0 R" % (catalog, information))


def assemble(objects: list[bytes], trailer: bytes) -> bytes:
    """The file around numbered objects: header, cross-reference table, trailer."""
    data = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return data + b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start)


def encrypted() -> bytes:
    """A PDF whose encryption dictionary no empty password opens."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [] /Count 0 >>",
        b"<< /Filter /Standard /V 1 /R 2 /Length 40 /P -4 /O <%s> /U <%s> >>" % (b"41" * 32, b"42" * 32),
    ]
    return assemble(objects, b"/Root 1 0 R /Encrypt 3 0 R /ID [<00112233> <00112233>]")
