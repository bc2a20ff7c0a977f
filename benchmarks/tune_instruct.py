"""tune instruct on a small real model: perplexity of rows it never saw, ends, kill -9 and going on.

    python benchmarks/tune_instruct.py [--rows 800] [--steps 120] [--kills 3]

The base is stories260K (260,032 parameters; it continues stories and was never instructed). The rows are
made here: an instruction that names an animal, a place and a thing, and a short story of four sentences
about them, each sentence drawn from several. What the model writes afterwards are such stories and nothing
else: the figures show that training, formatter, marker and resuming work, not that 260,000 parameters are
of use. The kill test ends a whole process with SIGKILL at random moments, starts the same command again
each time, and compares every step's loss with those of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT.parent / "shared" / "models" / "stories260K"
WORK = ROOT / ".bench" / "tune_instruct"
GOALS = {"ratio_high": "< 1", "stops": ">= 0.95", "largest_difference_of_losses": "<= 1e-4"}

ANIMALS = "dog cat bird frog bear fish duck rabbit mouse fox".split()
NAMES = "Tim Lily Sam Mia Ben Anna Tom Sue Max Lucy Jack Amy".split()
PLACES = "park garden house forest river hill school barn".split()
THINGS = "ball hat kite cake book toy boat flower box cup".split()
KINDS = "red big small happy blue old soft shiny".split()
SENTENCES = (
    ("{n} was a {a}.", "Once there was a {a} named {n}.", "There was a little {a}. The name was {n}."),
    ("One day {n} went to the {p}.", "{n} liked to play in the {p}.", "{n} ran to the {p} in the morning."),
    ("There was a {k} {t}.", "{n} saw a {k} {t}.", "A {k} {t} was on the ground."),
    ("{n} took the {t} home.", "{n} was very happy.", "{n} gave the {t} to a friend.", "They all played."),
)


def rows_of(count: int, seed: int = 5) -> list[dict[str, str]]:
    """So many instructions, no two alike, each with a story."""
    rng = random.Random(seed)
    made: dict[str, dict[str, str]] = {}
    while len(made) < count:
        words = {
            "a": rng.choice(ANIMALS),
            "n": rng.choice(NAMES),
            "p": rng.choice(PLACES),
            "t": rng.choice(THINGS),
            "k": rng.choice(KINDS),
        }
        instruction = "Tell of {n} the {a} and a {k} {t} in the {p}.".format(**words)
        story = " ".join(rng.choice(choices).format(**words) for choices in SENTENCES)
        made.setdefault(instruction, {"instruction": instruction, "response": story})
    return list(made.values())


def command(data: Path, out: Path, steps: int) -> list[str]:
    """The command line of one run."""
    words = [sys.executable, "-m", "headrace", "tune", "instruct", str(data), "--model", str(BASE)]
    return [*words, "--out", str(out), "--steps", str(steps), "--json"]


def losses(folder: Path) -> list[dict[str, Any]]:
    """What was written after each step; a torn line is left out."""
    found = []
    if folder.is_file():
        for line in folder.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def killed(data: Path, out: Path, steps: int, kills: int) -> tuple[dict[str, Any], list[int]]:
    """The result of a run that was killed so many times, and the steps it had reached each time."""
    rng = random.Random(11)
    reached: list[int] = []
    for number in range(kills):
        aim = steps * (number + 1) // (kills + 1) + rng.randint(-3, 3)
        process = subprocess.Popen(
            command(data, out, steps), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        file = out / "training" / "losses.jsonl"
        while process.poll() is None and not (losses(file) and losses(file)[-1]["step"] >= aim):
            time.sleep(0.02)
        time.sleep(rng.random() * 0.3)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        reached.append(losses(file)[-1]["step"])
        print(f"  killed at step {reached[-1]}", flush=True)
    done = subprocess.run(command(data, out, steps), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout), reached


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--kills", type=int, default=3)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    data = WORK / "stories.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows_of(options.rows)), encoding="utf-8")
    done = subprocess.run(
        command(data, WORK / "whole", options.steps),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    whole = json.loads(done.stdout)
    for name in ("baseline", "tuned", "ratio", "stops", "stops_base"):
        got = whole[name]
        print(f"{name:10} {got['value']:.3f} [{got['low']:.3f}, {got['high']:.3f}]", flush=True)
    print(f"parity {whole['parity']:.7f}, {whole['seconds']:.0f} s", flush=True)
    again, reached = killed(data, WORK / "killed", options.steps, options.kills)
    one = {entry["step"]: entry["loss"] for entry in losses(WORK / "whole" / "losses.jsonl")}
    two = {entry["step"]: entry["loss"] for entry in losses(WORK / "killed" / "losses.jsonl")}
    assert set(one) == set(two) == set(range(1, options.steps + 1)), "a step is missing or there twice"
    largest = max(abs(one[step] - two[step]) for step in one)
    print(f"killed {options.kills} times: losses differ by at most {largest:.1e} over {len(one)} steps")
    kept = ("baseline", "tuned", "ratio", "stops", "stops_base", "exact", "parity", "parity_of", "seconds")
    result = {
        "goals": GOALS,
        "load_at_start": load,
        **{key: whole[key] for key in kept},
        "data": whole["data"],
        "settings": whole["settings"],
        "loss": whole["loss"],
        "killed": {
            "times": options.kills,
            "reached": reached,
            "went_on_from": again["resumed_from"],
            "largest_difference_of_losses": largest,
            "tuned": again["tuned"],
        },
    }
    words = f"--rows {options.rows} --steps {options.steps} --kills {options.kills}"
    machine.save("tune_instruct", result, command=f"python benchmarks/tune_instruct.py {words}")


if __name__ == "__main__":
    main()
