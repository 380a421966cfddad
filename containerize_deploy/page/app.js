// The page: images in, answers out. Nothing here talks to a network but for the page's own files.

import { load } from "./classifier.js";
import { decode, Problem } from "./decode.js";

const THUMBNAIL = 320; // pixels of its longer side
const READY = "Ready.";
const STEADY = 10; // frames that must agree before the camera's answer is read aloud

const find = (selector, root = document) => root.querySelector(selector);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const capital = (text) => text[0].toUpperCase() + text.slice(1);

document.documentElement.dataset.started = "";
window.addEventListener("unhandledrejection", ({ reason }) => say(`Something went wrong: ${reason}. Load the page again.`));

const ready = load();
ready.then(whenReady, whenFailed);
enableInputs();

function whenReady({ facts }) {
  find("#about").textContent = `Model ${facts.version}`;
  say(READY);
  document.documentElement.dataset.ready = "";
  makeOffline();
}

function whenFailed(error) {
  say(error instanceof Problem ? error.message : `The model could not be started: ${error.message ?? error}.`);
  find("#state").classList.add("bad");
  const again = Object.assign(document.createElement("button"), { id: "again", textContent: "Try again" });
  again.addEventListener("click", () => location.reload());
  find("#state").after(again);
}

function say(sentence) {
  find("#state").textContent = sentence;
}

/** For the ears alone: what those who see read off the cards. */
function tell(sentence) {
  find("#news").textContent = sentence;
}

async function makeOffline() {
  if (!navigator.serviceWorker) return; // not over plain http, nor in some private windows
  try {
    await navigator.serviceWorker.register("service-worker.js", { updateViaCache: "none" });
    await navigator.serviceWorker.ready;
    if (find("#state").textContent === READY) say("Ready. From now on it works offline too.");
    document.documentElement.dataset.offline = "";
  } catch {
    // Storage is full or forbidden: the page works, but needs its server the next time.
  }
}

// Images ------------------------------------------------------------------------------------------------------

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
  find("#open-camera").addEventListener("click", openCamera);
  find("#close-camera").addEventListener("click", () => closeCamera());
  find("#keep").addEventListener("click", () => (keeping = true));
  find("#clear").addEventListener("click", () => {
    find("#answers ol").replaceChildren();
    find("#answers").hidden = true;
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
  else say("That held no image file. An address is not fetched: save the image first, or copy the image itself.");
}

async function answerExample(name) {
  const response = await fetch(`examples/${name}`).catch(() => ({ ok: false }));
  if (!response.ok) return say("The example did not load. Check the connection.");
  return answerAll([new File([await response.blob()], name)]);
}

let queue = Promise.resolve(); // one image at a time, since a big one takes a lot of memory

/** Answers files in their order, above the answers to earlier ones. */
function answerAll(files) {
  const next = find("#answers ol").firstChild;
  const cards = files.map((file) => addCard(file.name, next));
  queue = queue.then(async () => {
    const verdicts = [];
    for (const [index, file] of files.entries()) verdicts.push(await answerFile(file, cards[index]));
    tell(verdicts.join(" "));
  });
  return queue;
}

/** Answers a file in its card; returns the answer as a sentence. */
async function answerFile(file, card) {
  try {
    const classifier = await ready;
    const start = performance.now();
    const { bitmap, jpeg } = await decode(file);
    try {
      const answer = await classifier.classify(bitmap, bitmap.width, bitmap.height, jpeg);
      const total = performance.now() - start;
      draw(find("canvas", card), bitmap, bitmap.width, bitmap.height, file.name);
      return show(find(".answer", card), file.name, answer, classifier.facts.labels, total);
    } finally {
      bitmap.close();
    }
  } catch (error) {
    const reason = error instanceof Problem ? error.message : `It could not be classified (${error.message ?? error}).`;
    find("canvas", card).remove();
    find(".answer", card).replaceChildren(element("h3", "No answer"), element("p", file.name, "name"), element("p", reason, "bad"));
    card.dataset.state = "failed";
    return `${file.name}: no answer. ${reason}`;
  }
}

function addCard(name, before = find("#answers ol").firstChild) {
  const card = find("#card").content.cloneNode(true).firstElementChild;
  find(".answer", card).append(element("h3", "Looking…"), element("p", name, "name"));
  find("#answers ol").insertBefore(card, before);
  find("#answers").hidden = false;
  return card;
}

/** Shows an answer; returns it as a sentence. */
function show(into, name, { label, probabilities, inScope, modelMs }, labels, totalMs) {
  const bars = element("ul");
  for (const [index, each] of labels.entries()) bars.append(bar(each, probabilities[index]));
  const title = inScope ? capital(label) : "None of these";
  into.replaceChildren(element("h3", title), element("p", name, "name"));
  if (!inScope) into.append(element("p", "It looks like none of the three, so the bars mean little.", "why"));
  into.append(bars, element("p", `${totalMs.toFixed(0)} ms (model ${modelMs.toFixed(0)} ms)`, "time"));
  into.dataset.label = inScope ? label : "none";
  const sure = percent(Math.max(...probabilities));
  return `${name}: ${inScope ? `${label}, ${sure}` : "none of these"}.`;
}

function bar(label, share) {
  const item = element("li");
  item.dataset.label = label;
  const fill = element("span", "", "fill");
  fill.style.width = `${100 * share}%`;
  const track = element("span", "", "track");
  track.append(fill);
  item.append(element("span", label), track, element("span", percent(share), "share"));
  return item;
}

function element(tag, text = "", name = "") {
  const made = Object.assign(document.createElement(tag), { textContent: text });
  if (name) made.className = name;
  return made;
}

function draw(canvas, image, width, height, name) {
  const scale = Math.min(1, THUMBNAIL / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.setAttribute("aria-label", name);
}

// Camera ------------------------------------------------------------------------------------------------------

const video = find("#camera video");
let stream = null;
let keeping = false; // whether the next frame gets a card of its own
let kept = 0;

const REFUSALS = {
  NotAllowedError: "The camera may not be used: permission was not given. Allow it in the browser’s settings for this page, or choose an image.",
  NotFoundError: "No camera was found. Choose an image instead.",
  NotReadableError: "The camera is in use by another program, or it failed. Close that program and try again.",
};

async function openCamera() {
  const opener = find("#open-camera");
  if (!navigator.mediaDevices) return say("The camera works on an https address only.");
  opener.disabled = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: { ideal: "environment" }, width: { ideal: 640 } }, // the camera at the back of a phone
    });
  } catch (error) {
    opener.disabled = false;
    opener.focus(); // a disabled button loses it
    return say(REFUSALS[error.name] ?? `The camera could not be opened (${error.name}).`);
  }
  stream.getVideoTracks()[0].addEventListener("ended", () => closeCamera("The camera was disconnected."));
  find("#camera").hidden = false;
  video.srcObject = stream;
  await video.play().catch(() => {}); // closed again before the first frame
  find("#close-camera").focus();
  return watch(stream);
}

function closeCamera(reason = "The camera is off.") {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = video.srcObject = null;
  find("#camera").hidden = true;
  find("#open-camera").disabled = false;
  find("#open-camera").focus();
  say(reason);
}

/** Answers one frame after the other until the camera is closed. */
async function watch(opened) {
  const classifier = await ready.catch(() => closeCamera("The camera is off, since the model could not be started."));
  const into = find("#camera .answer");
  let [last, same, rate, before] = ["", 0, 0, performance.now()];
  while (classifier && stream === opened) {
    await nextFrame();
    if (stream !== opened) return;
    const start = performance.now();
    const card = keeping && addCard("");
    if (card) draw(find("canvas", card), video, video.videoWidth, video.videoHeight, `Camera ${++kept}`);
    keeping = false;
    const answer = await classifier.classify(video, video.videoWidth, video.videoHeight);
    const now = performance.now();
    rate += (1000 / (now - before) - rate) / (rate ? 10 : 1);
    before = now;
    const { labels } = classifier.facts;
    const sentence = show(into, `${rate.toFixed(0)} answers per second`, answer, labels, now - start);
    if (card) tell(show(find(".answer", card), `Camera ${kept}`, answer, labels, now - start));
    same = into.dataset.label === last ? same + 1 : 0;
    last = into.dataset.label;
    if (same === STEADY) tell(sentence.replace(/^.*: /, "Camera: "));
  }
}

function nextFrame() {
  return new Promise((resolve) => {
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(resolve);
    else requestAnimationFrame(resolve);
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden && stream) closeCamera("The camera was switched off while the page was hidden.");
});
