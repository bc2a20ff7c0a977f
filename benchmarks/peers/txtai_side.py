"""txtai's side: Embeddings with content in SQLite and vectors in FAISS, its defaults."""

import common

WINDOW = 256  # tokens: what the model's own settings say, and what the others read from them


def store(folder, chunks, vectors):
    from txtai import Embeddings

    place = {chunk["text"]: row for row, chunk in enumerate(chunks)}
    embeddings = Embeddings(
        {
            "method": "external",
            "transform": lambda texts: vectors[[place[text] for text in texts]],
            "content": True,
        }
    )
    embeddings.index((chunk["id"], chunk["text"]) for chunk in chunks)
    # From now on asked with the real model, which is txtai's default way for a local folder.
    embeddings.config.pop("transform")
    embeddings.config |= {"method": "transformers", "maxlength": WINDOW}
    embeddings.save(folder)


def opened(folder, model):
    from txtai import Embeddings

    embeddings = Embeddings()
    embeddings.load(folder, config={"path": model})
    return lambda question: [hit["text"] for hit in embeddings.search(question, 4)]


def ingest(folder, model):
    from txtai import Embeddings

    embeddings = Embeddings({"path": model, "content": True, "maxlength": WINDOW})
    embeddings.batchtransform(["warm"])

    def write(chunks):
        embeddings.index((chunk["id"], chunk["text"]) for chunk in chunks)
        embeddings.save(folder)

    return write


if __name__ == "__main__":
    common.main(store, opened, ingest)
