// The page: images in, answers out. Nothing here talks to a network but for the page's own files.

import { showFacts } from "./about.js";
import { add, clear, count, describe, find, settle, start } from "./answers.js";
import { enableCamera } from "./camera.js";
import { load } from "./classifier.js";
import { Problem } from "./decode.js";

const READY = "Ready.";
const PAUSE = 3000; // milliseconds between two announcements of how far it is

document.documentElement.dataset.started = "";
window.addEventListener("unhandledrejection", ({ reason }) => say(`Something went wrong: ${reason}. Load the page again.`, true));

const ready = load(say);
ready.then(whenReady, whenFailed);
enableInputs();
enableCamera(ready, say, tell);

function whenReady({ facts, look }) {
  start(facts);
  showFacts(facts);
  say(READY);
  document.documentElement.dataset.ready = "";
  look.catch(whenFailed);
  makeOffline();
}

function whenFailed(error) {
  say(error instanceof Problem ? error.message : `The model could not be started: ${error.message ?? error}.`, true);
  const again = Object.assign(document.createElement("button"), { id: "again", textContent: "Try again" });
  again.addEventListener("click", () => location.reload());
  find("#state").after(again);
}

function say(sentence, bad = false) {
  find("#state").textContent = sentence;
  find("#state").classList.toggle("bad", bad);
}

/** For the ears alone: what those who see read off the answers. */
function tell(sentence) {
  find("#news").textContent = sentence;
}

async function makeOffline() {
  if (!navigator.serviceWorker) return; // not over plain http, nor in some private windows
  const updating = Boolean(navigator.serviceWorker.controller);
  navigator.serviceWorker.addEventListener("controllerchange", () => (find("#newer").hidden = !updating));
  find("#newer button").addEventListener("click", () => location.reload());
  try {
    await navigator.serviceWorker.register("service-worker.js", { updateViaCache: "none" });
    await navigator.serviceWorker.ready;
    if (find("#state").textContent === READY) say("Ready. From now on it works offline too.");
    document.documentElement.dataset.offline = "";
  } catch {
    // Storage is full or forbidden: the page works, but needs its server the next time.
  }
}

function enableInputs() {
  for (const button of document.querySelectorAll("#input button")) button.disabled = false;
  const files = find("#files");
  find("#choose").addEventListener("click", () => files.click());
  files.addEventListener("change", () => {
    answerAll([...files.files]);
    files.value = ""; // so that the same file may be chosen again
  });
  for (const button of document.querySelectorAll("[data-example]")) {
    button.addEventListener("click", () => answerExample(button.dataset.example));
  }
  find("#clear").addEventListener("click", () => {
    turn++;
    clear();
    tell("Cleared.");
    find("#choose").focus();
  });

  document.addEventListener("paste", (event) => receive(event.clipboardData));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
  document.addEventListener("drop", (event) => {
    event.preventDefault(); // or the browser would leave the page and show the file
    document.body.classList.remove("dragging");
    receive(event.dataTransfer);
  });
}

/** Takes what was dropped or pasted. */
function receive({ files }) {
  if (files.length) answerAll([...files]);
  else say("That held no image file. An address is not fetched: save the image first, or copy the image itself.", true);
}

async function answerExample(name) {
  const response = await fetch(`examples/${name}`).catch(() => ({ ok: false }));
  if (!response.ok) return say("The example did not load. Check the connection.", true);
  return answerAll([new File([await response.blob()], name)]);
}

let queue = Promise.resolve(); // one image at a time, since a big one takes a lot of memory
let turn = 0; // of what is not cleared

/** Answers files in their order, above the answers to earlier ones. */
function answerAll(files) {
  const [mine, records] = [turn, add(files.map(({ name }) => name))];
  find("#answers").scrollIntoView({ block: "start" });
  queue = queue.then(async () => {
    let announced = performance.now();
    if (files.length > 1 && mine === turn) find("#counts").textContent = `0 of ${files.length}…`;
    for (const [index, file] of files.entries()) {
      if (mine !== turn) return;
      await answer(file, records[index]);
      if (performance.now() - announced < PAUSE) continue;
      announced = performance.now();
      tell(`${index + 1} of ${files.length}`);
      find("#counts").textContent = `${index + 1} of ${files.length}…`;
    }
    if (mine !== turn) return;
    count();
    tell(files.length === 1 ? describe(document.createElement("div"), records[0]) : count(records));
  });
  return queue;
}

async function answer(file, record) {
  let classifier;
  try {
    classifier = await ready;
    settle(record, { answer: await classifier.classify(file), source: file });
    if (find("#state").classList.contains("bad")) say(READY);
  } catch (error) {
    const reason = error instanceof Problem ? error.message : `It could not be classified (${error.message ?? error}).`;
    settle(record, { error: classifier ? reason : "The model could not be started." });
  }
}
