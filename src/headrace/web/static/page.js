// The page's script: sends the form, shows what comes, stops it. Without it the form works too:
// the server renders the same answer. No library, nothing kept in the browser.
"use strict";

const $ = (id) => document.getElementById(id);
const form = $("ask"), go = $("go"), stop = $("stop"), state = $("status"), result = $("result");
let running = null; // the AbortController of the question that is being answered

document.documentElement.classList.add("scripted");
$("keys").hidden = false;

// "spoken": for screen readers only, because the page already shows it.
function say(text, how = "") {
  state.textContent = text;
  state.className = `status ${how}`;
}

function busy(on) {
  go.disabled = on;
  stop.hidden = !on;
  result.setAttribute("aria-busy", String(on));
}

function fail(message, hint) {
  say("");
  result.replaceChildren();
  $("failed-message").textContent = message;
  $("failed-hint").textContent = hint || "";
  $("failed").hidden = false;
}

function offline() {
  say("");
  for (const draft of result.querySelectorAll(".draft")) draft.remove();
  $("offline").hidden = false;
}

// Server-sent events out of a response's body: calls take(type, data) for each.
async function events(response, take) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      let type = "message", data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) type = line.slice(7);
        else if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data) take(type, JSON.parse(data));
    }
  }
}

async function ask() {
  if (running) return;
  const control = (running = new AbortController());
  $("failed").hidden = $("offline").hidden = true;
  result.replaceChildren();
  busy(true);
  say("Looking in the documents…", "working");
  let draft = null, ended = false;
  const take = (type, data) => {
    if (type === "delta") {
      if (!draft) {
        result.replaceChildren($("draft-template").content.cloneNode(true));
        draft = result.querySelector(".streaming");
        say("Answering…", "working");
      }
      draft.append(data.text);
    } else if (type === "step") {
      if (!draft) say(data.text === "end" ? `${data.name}: done` : `${data.name}…`, "working");
    } else if (type === "answer") {
      ended = true;
      result.innerHTML = data.html; // our own template, escaped on the server
      const count = data.sources === 1 ? "1 source" : `${data.sources} sources`;
      say(data.abstained ? "No answer was found in the documents." : `Answered, with ${count}.`, "spoken");
    } else if (type === "error") {
      ended = true;
      fail(data.error.message, data.error.hint);
    }
  };
  try {
    const response = await fetch("/", {
      method: "POST",
      headers: { accept: "text/event-stream" },
      body: new URLSearchParams(new FormData(form)),
      signal: control.signal,
    });
    if (!response.ok) {
      const { error } = await response.json();
      fail(error.message, error.hint);
    } else {
      await events(response, take);
      if (!ended) offline();
    }
  } catch (problem) {
    if (control.signal.aborted) {
      say("Stopped.");
      for (const part of result.querySelectorAll(".draft")) part.classList.add("stopped");
    } else if (problem instanceof TypeError) offline();
    else fail("The answer could not be shown.", String(problem));
  } finally {
    running = null;
    busy(false);
  }
}

async function vote(box) {
  const line = box.querySelector(".status"), button = box.querySelector("button");
  button.disabled = true;
  try {
    const response = await fetch("/feedback", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(Object.fromEntries(new FormData(box))),
    });
    if (response.ok) {
      box.querySelector("fieldset").remove();
      line.textContent = "Thank you. It is recorded with this answer.";
      return;
    }
    line.textContent = (await response.json()).error.message;
  } catch {
    line.textContent = "The server cannot be reached; nothing was recorded.";
  }
  button.disabled = false;
}

document.addEventListener("submit", (event) => {
  if (event.target === form) {
    event.preventDefault();
    ask();
  } else if (event.target.matches(".feedback")) {
    event.preventDefault();
    vote(event.target);
  }
});

stop.addEventListener("click", () => running?.abort());

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running) {
    running.abort();
    form.querySelector("textarea, input")?.focus();
  } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target.matches("[data-enter]")) {
    event.preventDefault();
    event.target.form.requestSubmit();
  }
});

window.addEventListener("online", () => { $("offline").hidden = true; });
