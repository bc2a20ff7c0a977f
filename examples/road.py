"""The road to production, once: measure, compare, release, refuse, serve, vote, fix, canary, roll back.

    python examples/road.py [FOLDER]        # no network, about a minute

A project with eleven made-up documents and twenty-five questions is made in FOLDER (default: a
temporary one); everything after that are commands as a person would type them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

BEGAN = time.monotonic()
HEADRACE = [sys.executable, "-m", "headrace"]
GATES = "".join(f'\n[[release.gates]]\nmetric = "{m}"\nmin = 0.55\n' for m in ("abstention", "contains"))
DOGS = "# Dogs\n\nYou may bring your dog to the office on Fridays if everybody agrees.\n"


def chapter(text: str) -> None:
    print(f"\n=== {text}  [{time.monotonic() - BEGAN:.0f} s]", flush=True)


def headrace(*words: str, code: int = 0) -> str:
    """Run a command, show what it says, and insist on how it ends."""
    print(f"\n$ headrace {' '.join(words)}", flush=True)
    ran = subprocess.run([*HEADRACE, *words], capture_output=True, text=True)
    print((ran.stdout + ran.stderr).rstrip(), flush=True)
    assert ran.returncode == code, f"exit code {ran.returncode} instead of {code}"
    return ran.stdout


def asked(command: str) -> dict:
    return json.loads(subprocess.run([*HEADRACE, *command.split(), "--json"], capture_output=True).stdout)


def road(server: httpx.Client) -> None:
    def ask(question: str, user: str = "ana") -> dict:
        body, headers = {"question": question}, {"X-Headrace-User": user}
        return server.post("/v1/apps/handbook/invoke", json=body, headers=headers).raise_for_status().json()

    chapter("5  A question that the handbook does not answer gets a thumbs down")
    given = ask("May I bring my dog to the office?")
    print(f"{given['output']['text']}\n  release {given['release'][:12]}")
    vote = {"trace_id": given["trace_id"], "value": "down", "correction": "on Fridays if everybody agrees"}
    server.post("/feedback", json=vote).raise_for_status()
    headrace("why", given["trace_id"])

    chapter("6  The vote becomes an example, the fix a release, half of the users try it")
    headrace("examples", "add", given["trace_id"], "--to", "evals/questions.jsonl")
    Path("docs/dogs.md").write_text(DOGS)
    headrace("ingest", "docs/")
    headrace("eval", "--metrics", "contains,abstention,hit@4")
    fixed = asked("release")["release_id"]
    headrace("promote", "handbook@production", "--release", fixed[:12], "--canary", "50%")
    users = [f"user-{n}" for n in range(20)]
    while fixed not in {ask("When is the salary paid?", user)["release"] for user in users}:
        time.sleep(0.1)  # the canary's process is being started; production answers meanwhile
    one, two = ({user: ask("May I bring my dog?", user)["release"] for user in users} for _ in range(2))
    print("each user keeps to one release:", one == two, dict(Counter(r[:12] for r in one.values())))
    headrace("monitor", "handbook")
    headrace("promote", "handbook@production")
    began = time.monotonic()
    headrace("rollback", "handbook")
    while ask("May I bring my dog to the office?")["release"] == fixed:
        pass
    print(f"rolled back and answering from the release before after {time.monotonic() - began:.2f} s")


def main(folder: Path) -> None:
    os.chdir(folder)
    chapter("1  A project: documents, questions, an application")
    headrace("new", "handbook")
    os.chdir("handbook")
    headrace("ingest", "docs/")
    chapter("2  How good is it?")
    headrace("eval", "--metrics", "contains,answer_f1,hit@1,hit@4,abstention,latency")
    chapter("3  A worse variant: one passage, and no threshold")
    text = Path("app.py").read_text()
    worse = text.replace("top_k=4", "top_k=1").replace("model=llm)", "model=llm, threshold=0)")
    Path("worse.py").write_text(worse)
    headrace("compare", "worse.py", "app.py", "--metrics", "contains,abstention,hit@4")
    Path("same.py").write_text(text + "# says nothing new\n")
    headrace("compare", "same.py", "app.py", "--metrics", "contains,abstention,hit@4")
    chapter("4  Released, gated, promoted; the worse one is refused")
    Path("headrace.toml").write_text(Path("headrace.toml").read_text() + GATES)
    headrace("eval", "--metrics", "contains,abstention,hit@4")
    headrace("release")
    headrace("promote", "handbook@staging")
    headrace("promote", "handbook@production")
    headrace("eval", "worse.py", "--metrics", "contains,abstention,hit@4")
    bad = asked("release worse.py")["release_id"][:12]
    headrace("promote", "handbook@production", "--release", bad, code=3)
    headrace("promote", "handbook@production", "--release", bad, "--override", "to show the log")
    headrace("rollback", "handbook")
    headrace("releases", "handbook")
    command = [*HEADRACE, "serve", "handbook@production", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        try:
            url = json.loads(serving.stdout.readline())["url"]
            with httpx.Client(base_url=url, timeout=60) as server:
                while server.get("/readyz").status_code != 200:
                    time.sleep(0.1)
                road(server)
        finally:
            serving.terminate()
    chapter("done")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory(prefix="headrace-road-") as place:
            main(Path(place))
