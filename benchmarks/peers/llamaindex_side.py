"""LlamaIndex's side: HuggingFaceEmbedding and its own vector store, persisted to a folder.

Opening takes about a minute of CPU over 20,000 chunks: the store is a JSON file of 172 MB whose
7.7 million numbers go through dataclasses_json one by one.
"""

import common


def _nodes(chunks, vectors=None):
    from llama_index.core.schema import TextNode

    if vectors is None:
        return [TextNode(id_=c["id"], text=c["text"]) for c in chunks]
    return [
        TextNode(id_=c["id"], text=c["text"], embedding=row.tolist())
        for c, row in zip(chunks, vectors, strict=True)
    ]


def _embedding(model):
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    return HuggingFaceEmbedding(model_name=model)


def store(folder, chunks, vectors):
    from llama_index.core import MockEmbedding, VectorStoreIndex

    index = VectorStoreIndex(_nodes(chunks, vectors), embed_model=MockEmbedding(embed_dim=384))
    index.storage_context.persist(folder)


def opened(folder, model):
    from llama_index.core import StorageContext, load_index_from_storage

    context = StorageContext.from_defaults(persist_dir=folder)
    index = load_index_from_storage(context, embed_model=_embedding(model))
    retriever = index.as_retriever(similarity_top_k=4)
    return lambda question: [found.node.text for found in retriever.retrieve(question)]


def ingest(folder, model):
    from llama_index.core import VectorStoreIndex

    embedding = _embedding(model)
    embedding.get_text_embedding("warm")

    def write(chunks):
        index = VectorStoreIndex(_nodes(chunks), embed_model=embedding)
        index.storage_context.persist(folder)

    return write


if __name__ == "__main__":
    common.main(store, opened, ingest)
