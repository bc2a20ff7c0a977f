"""The pages without scripts: forms, sources, runs, and their .json twins."""

from __future__ import annotations

from urllib.parse import urlsplit

from lxml import html

from headrace.types import Document, Section
from headrace.web.records import AROUND, opened


def page(reply) -> html.HtmlElement:
    assert reply.headers["content-type"].startswith("text/html"), reply.text
    return html.fromstring(reply.text)


def words(element) -> str:
    return " ".join(element.text_content().split())


HTML = {"accept": "text/html"}


def test_asking_without_scripts(serve):
    with serve("handbook").client(headers=HTML) as http:
        empty = page(http.get("/"))
        assert empty.xpath("//label[@for='field-question']")
        assert "harbour" in words(empty.xpath("//h1")[0])
        reply = http.post("/", data={"question": "How much does the large crane lift?"})
        answered = page(reply)
        assert "40 tonnes" in words(answered.xpath("//div[@class='prose']")[0])
        assert answered.xpath("//textarea[@name='question']")[0].text.strip().startswith("How much")
        (link,) = answered.xpath("//ol[@class='sources']/li[1]/a/@href")
        assert urlsplit(link).fragment == "cited"
        opened = page(http.get(link))
        (mark,) = opened.xpath("//mark[@id='cited']")
        assert "40 tonnes" in mark.text_content()


def test_feedback_without_scripts(serve):
    server = serve("handbook")
    with server.client(headers=HTML) as http:
        answered = page(http.post("/", data={"question": "How much does the large crane lift?"}))
        (trace_id,) = answered.xpath("//form[@class='feedback']//input[@name='trace_id']/@value")
        sent = {"trace_id": trace_id, "value": "down", "comment": "<b>no</b>", "": ""}
        del sent[""]
        thanks = http.post("/feedback", data=sent)
        assert thanks.status_code == 201
        assert "Thank you" in thanks.text
        run = http.get(f"/traces/{trace_id}")
        assert "&lt;b&gt;no&lt;/b&gt;" in run.text
        assert "40 tonnes" in words(page(run))


def test_a_form_that_does_not_fit_comes_back_filled(serve):
    with serve("typed").client(headers=HTML) as http:
        reply = http.post("/", data={"name": "Ana & Co", "count": "three", "size": "small"})
        assert reply.status_code == 422
        again = page(reply)
        assert "count" in words(again.xpath("//section[@id='result']//*[@role='alert']")[0])
        assert again.xpath("//textarea[@name='name']")[0].text.strip() == "Ana & Co"
        good = page(http.post("/", data={"name": "Ana", "count": "3", "size": "large", "urgent": "on"}))
        row = good.xpath("//tbody/tr")[0]
        assert [words(cell) for cell in row][:5] == ["Ana", "3", "large", "1.5", "True"]


def test_states(serve):
    with serve("silent").client(headers=HTML) as http:
        assert "No answer in the documents" in http.post("/", data={"question": "?"}).text
    with serve("broken").client(headers=HTML) as http:
        reply = http.post("/", data={"question": "?"})
        assert reply.status_code == 500
        assert "ValueError" in words(page(reply))
        assert reply.headers["content-security-policy"]
    with serve("handbook").client(headers=HTML) as http:
        missing = http.get("/nothing")
        assert missing.status_code == 404
        assert "Not found" in words(page(missing))


def test_what_a_stranger_wrote_is_text(serve):
    with serve("hostile").client(headers=HTML) as http:
        reply = http.post("/", data={"question": '"><script>alert(1)</script>'})
        shown = page(reply)
        assert [s.get("src") for s in shown.xpath("//script")] == ["/static/page.js"]
        assert shown.xpath("//div[@class='prose']//img") == []
        assert shown.xpath("//div[@class='prose']//strong")[0].text == "bold"
        for path in ("/traces", "/traces?search=<script>"):
            listed = page(http.get(path))
            assert listed.xpath("//script") == []


def test_twins(serve):
    with serve("handbook").client() as http:
        form = http.get("/index.json").json()
        assert form["fields"][0]["name"] == "question"
        reply = http.post("/index.json", data={"question": "How much does the large crane lift?"}).json()
        answer = reply["answer"]
        assert "40 tonnes" in answer["text"]
        place = answer["citations"][0]
        where = {"document": place["document"], "start": place["start"], "end": place["end"]}
        source = http.get("/source.json", params=where).json()
        assert "".join(piece["text"] for piece in source["pieces"] if piece["mark"]) == place["text"]
        by_trace = http.get("/source.json", params={"trace": answer["trace_id"], "n": place["number"]}).json()
        assert (by_trace["start"], by_trace["end"]) == (place["start"], place["end"])
        rows = http.get("/traces.json").json()["rows"]
        assert answer["trace_id"] in [row["id"] for row in rows]
        run = http.get(f"/traces/{answer['trace_id']}.json").json()
        assert run["bars"][0]["depth"] == 0
        assert http.get("/sign-in.json").json()["next"] == "/"


def test_runs_of_this_application_only_and_searchable(serve):
    with serve("chatty").client() as other, serve("handbook").client() as http:
        foreign = other.post("/v1/apps/chatty/invoke", json={"question": "a walrus"}).json()["trace_id"]
        own = http.post("/v1/apps/handbook/invoke", json={"question": "When does the office open?"}).json()
        ids = [row["id"] for row in http.get("/traces.json").json()["rows"]]
        assert own["trace_id"] in ids
        assert foreign not in ids
        assert http.get(f"/traces/{foreign}").status_code == 404
        assert http.get("/traces.json", params={"search": "office open"}).json()["rows"]
        assert http.get("/traces.json", params={"search": "walrus"}).json()["rows"] == []
        assert http.get("/traces/nonsense").status_code == 404


def test_source_parameters_that_do_not_fit(serve):
    with serve("handbook").client() as http:
        for query in (
            "",
            "document=x&start=-1",
            "document=x&start=x",
            "trace=1&n=9",
            "trace=&n=1",
            "trace=1",
        ):
            assert http.get(f"/source.json?{query}").status_code in (404, 422), query


def document(text: str) -> Document:
    return Document(text, {}, "d", sections=(Section(start=0, level=1, title="Top"),))


def test_an_opened_document_is_whole_marked_and_within_bounds():
    text = "# Top\n\nalpha beta gamma\n"
    shown = opened("a", "kb", "d", document(text), 7, 12)
    assert "".join(piece.text for piece in shown.pieces) == text
    assert [piece.text for piece in shown.pieces if piece.mark] == ["alpha"]
    assert [piece.text for piece in shown.pieces if piece.level] == ["# Top"]
    assert shown.heading == "Top"
    for start, end in ((0, 0), (5, 2), (3, 10**9), (10**9, 10**9 + 1)):
        shown = opened("a", "kb", "d", document(text), start, end)
        assert "".join(piece.text for piece in shown.pieces) == text


def test_a_mark_over_a_heading_is_one_mark_with_one_id():
    text = "# Top\n\nalpha"
    shown = opened("a", "kb", "d", document(text), 2, 9)
    assert "".join(piece.text for piece in shown.pieces if piece.mark) == text[2:9]
    assert [piece.first for piece in shown.pieces if piece.mark] == [True, False]


def test_a_long_document_is_cut_around_the_place():
    text = "x" * 500_000
    shown = opened("a", "kb", "d", document(text), 250_000, 250_010)
    assert sum(len(piece.text) for piece in shown.pieces) == 2 * AROUND + 10
    assert shown.before == 150_000
    assert shown.after == 500_000 - 250_010 - AROUND


def test_a_document_that_changed_says_so():
    from headrace.web.records import fingerprint

    text = "# Top\n\nalpha beta"
    assert not opened("a", "kb", "d", document(text), 7, 12, fingerprint("alpha")).changed
    assert opened("a", "kb", "d", document(text), 7, 12, fingerprint("gamma")).changed
