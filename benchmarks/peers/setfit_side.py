"""SetFit's side of learning labels from a few examples: its defaults for one epoch, nothing tuned.

    setfit_side.py MODEL DRAWS TEST      DRAWS: JSON lines, each a list of {"text", "label"}; TEST alike

Prints for each draw the accuracy on TEST and the seconds of training (loading and judging apart).
"""

import json
import sys
import time


def main():
    import torch
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model_folder, draws, test = sys.argv[1:]
    with open(draws, encoding="utf-8") as file:
        samples = [json.loads(line) for line in file]
    with open(test, encoding="utf-8") as file:
        asked = [json.loads(line) for line in file]
    found = []
    for seed, pairs in enumerate(samples):
        torch.manual_seed(seed)
        model = SetFitModel.from_pretrained(model_folder)
        settings = TrainingArguments(
            output_dir="unused", num_epochs=1, seed=seed, save_strategy="no", report_to="none"
        )
        trainer = Trainer(model=model, args=settings, train_dataset=Dataset.from_list(pairs))
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
        guessed = model.predict([row["text"] for row in asked])
        right = sum(str(a) == row["label"] for a, row in zip(guessed, asked))
        found.append({"accuracy": right / len(asked), "seconds": seconds})
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
