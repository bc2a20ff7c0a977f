"""Haystack's side: sentence-transformers components and its Chroma document store on disk.

Haystack's own store lives in memory and is written as one JSON file; Chroma is the usual one that
persists without a server.
"""

import common


def _document_store(folder):
    from haystack_integrations.document_stores.chroma import ChromaDocumentStore

    return ChromaDocumentStore(collection_name="chunks", persist_path=folder)


def store(folder, chunks, vectors):
    kept = _document_store(folder)
    # write_documents adds one document at a time, which takes a quarter of an hour for 20,000; the
    # rows are put into its collection as it would, in batches (storing is not what is measured).
    kept._ensure_initialized()
    for at in range(0, len(chunks), 5000):
        some = chunks[at : at + 5000]
        kept._collection.add(
            ids=[c["id"] for c in some],
            embeddings=vectors[at : at + 5000],
            documents=[c["text"] for c in some],
        )


def opened(folder, model):
    from haystack import Pipeline
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersTextEmbedder,
    )
    from haystack_integrations.components.retrievers.chroma import ChromaEmbeddingRetriever

    pipeline = Pipeline()
    pipeline.add_component("embedder", SentenceTransformersTextEmbedder(model=model, progress_bar=False))
    pipeline.add_component("retriever", ChromaEmbeddingRetriever(_document_store(folder), top_k=4))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")

    def ask(question):
        found = pipeline.run({"embedder": {"text": question}})
        return [document.content for document in found["retriever"]["documents"]]

    return ask


def ingest(folder, model):
    from haystack import Document
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersDocumentEmbedder,
    )

    embedder = SentenceTransformersDocumentEmbedder(model=model, progress_bar=False)
    embedder.warm_up()
    kept = _document_store(folder)

    def write(chunks):
        documents = [Document(id=c["id"], content=c["text"]) for c in chunks]
        kept.write_documents(embedder.run(documents)["documents"])

    return write


if __name__ == "__main__":
    common.main(store, opened, ingest)
