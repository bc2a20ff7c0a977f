"""LangChain's side: HuggingFaceEmbeddings and a persistent Chroma collection, their defaults."""

import common

NAME = "chunks"


def store(folder, chunks, vectors):
    from langchain_chroma import Chroma

    kept = Chroma(collection_name=NAME, persist_directory=folder)
    for at in range(0, len(chunks), 5000):  # Chroma's largest batch is 5,461
        some = chunks[at : at + 5000]
        kept._collection.add(
            ids=[c["id"] for c in some],
            embeddings=vectors[at : at + 5000],
            documents=[c["text"] for c in some],
        )


def opened(folder, model):
    from langchain_chroma import Chroma
    from langchain_huggingface import HuggingFaceEmbeddings

    kept = Chroma(
        collection_name=NAME,
        persist_directory=folder,
        embedding_function=HuggingFaceEmbeddings(model_name=model),
    )
    return lambda question: [found.page_content for found in kept.similarity_search(question, k=4)]


def ingest(folder, model):
    from langchain_chroma import Chroma
    from langchain_core.documents import Document
    from langchain_huggingface import HuggingFaceEmbeddings

    embeddings = HuggingFaceEmbeddings(model_name=model)
    embeddings.embed_query("warm")
    kept = Chroma(collection_name=NAME, persist_directory=folder, embedding_function=embeddings)

    def write(chunks):
        kept.add_documents([Document(page_content=c["text"], id=c["id"]) for c in chunks])

    return write


if __name__ == "__main__":
    common.main(store, opened, ingest)
