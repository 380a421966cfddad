// The answers on the page: cards for a few images, a table for many, counts, files to save, a larger view.

import { NONE, UNSURE, percent, verdict } from "./verdict.js";

const CARDS = 6; // as many images are shown as cards; more as a table
const BARS = 5; // of the likeliest labels, where there are many
const COLOURS = 6; // in style.css
const LARGE = 1024; // pixels of the longer side of the larger view

export const find = (selector, root = document) => root.querySelector(selector);

export function element(tag, text = "", name = "") {
  const made = Object.assign(document.createElement(tag), { textContent: text });
  if (name) made.className = name;
  return made;
}

/** Labels come in any script, and a long one may be cut anywhere. */
function labelled(tag, text, name) {
  return Object.assign(element(tag, text, name), { dir: "auto" });
}

let facts = { labels: [], score_threshold: 0 };
let threshold = 0;
let records = [];
let order = null; // what the table is sorted by; null for the order in which images came, the last batch first
let descending = false;

const SORTS = {
  name: ({ name }) => name,
  label: (record) => kindOf(record),
  doubt: ({ probabilities }) => (probabilities ? Math.max(...probabilities) : Infinity),
  score: ({ score }) => score ?? Infinity,
};

export function start(given) {
  facts = given;
  threshold = facts.score_threshold;
  const slider = find("#threshold");
  [slider.min, slider.max] = [threshold - 5, threshold + 5]; // scores lie between -6 and 7
  slider.value = threshold;
  const judge = (limit) => {
    threshold = limit;
    find("#limit output").textContent = limit.toFixed(1);
    for (const record of records) show(record);
    count();
    sort();
  };
  judge(threshold);
  slider.addEventListener("input", () => judge(Number(slider.value)));
  find("#reset").addEventListener("click", () => judge((slider.value = facts.score_threshold)));
  for (const button of document.querySelectorAll("[data-sort]")) {
    button.addEventListener("click", () => {
      descending = order === button.dataset.sort && !descending;
      order = button.dataset.sort;
      sort();
    });
  }
  find("#save-json").addEventListener("click", () => save("answers.json", "application/json", JSON.stringify(records.filter(isDone).map(asJson), null, 1)));
  find("#save-csv").addEventListener("click", () => save("answers.csv", "text/csv", asCsv()));
  const larger = find("dialog");
  find("button", larger).addEventListener("click", () => larger.close());
}

/** Adds images that wait for their answers, above the earlier ones. */
export function add(names) {
  const added = names.map((name) => ({ name }));
  records.unshift(...added);
  layOut();
  return added;
}

export function clear() {
  for (const { thumbnail } of records) URL.revokeObjectURL(thumbnail);
  records = [];
  order = null;
  layOut();
}

/** Sets what is known of an image; `source` is what the larger view shows. */
export function settle(record, { answer, error, source }) {
  if (!records.includes(record)) return; // cleared in the meantime
  const thumbnail = answer && URL.createObjectURL(answer.thumbnail);
  Object.assign(record, answer, { error, source, thumbnail });
  show(record);
}

export const isDone = ({ probabilities, error }) => Boolean(probabilities || error);

export const kindOf = (record) => (record.probabilities ? verdict(record, threshold).kind : "no answer");

/** The counts as a sentence, of all images or of some. */
export function count(some = records) {
  const done = some.filter(isDone);
  const counts = new Map();
  for (const record of done) counts.set(kindOf(record), (counts.get(kindOf(record)) ?? 0) + 1);
  const last = [UNSURE, NONE, "no answer"];
  const rank = (kind) => last.indexOf(kind);
  const ranked = [...counts].sort((one, other) => rank(one[0]) - rank(other[0]) || other[1] - one[1]);
  const sentence = `${done.length} image${done.length === 1 ? "" : "s"}: ${ranked.map(([kind, number]) => `${kind} ${number}`).join(", ")}.`;
  if (some === records) find("#counts").textContent = done.length > 1 ? sentence : "";
  return sentence;
}

// Cards and table ---------------------------------------------------------------------------------------------

function layOut() {
  const many = records.length > CARDS;
  find("#answers").hidden = !records.length;
  find("#many").hidden = !many;
  const [list, body, made] = [find("#cards"), find("#many tbody"), document.createDocumentFragment()];
  (many ? list : body).replaceChildren();
  for (const record of records) {
    const kind = many ? "row" : "card";
    if (record.shown?.dataset.kind !== kind) {
      record.shown = find(`#${kind}`).content.cloneNode(true).firstElementChild;
      record.shown.dataset.kind = kind;
      find(".look", record.shown).addEventListener("click", () => enlarge(record));
      show(record);
    }
    made.append(record.shown);
  }
  (many ? body : list).replaceChildren(made);
  if (many) sort();
  count();
}

function show(record) {
  const { shown, name, thumbnail, error } = record;
  const look = find(".look", shown);
  look.hidden = !thumbnail;
  look.ariaLabel = `Larger: ${name}`;
  if (thumbnail) find("img", look).src = thumbnail;
  shown.dataset.state = error ? "failed" : record.probabilities ? "answered" : "waiting";
  if (shown.dataset.kind === "card") return describe(find(".answer", shown), record);
  const { kind, title } = record.probabilities ? verdict(record, threshold) : { title: error ? "No answer" : "Looking…" };
  find(".name", shown).replaceChildren(labelled("span", name));
  find(".label", shown).replaceChildren(labelled("span", title), ...(error ? [element("p", error, "bad")] : []));
  find(".share", shown).textContent = record.probabilities ? percent(Math.max(...record.probabilities)) : "";
  find(".score", shown).textContent = record.score?.toFixed(1) ?? "";
  shown.classList.toggle("doubtful", kind === UNSURE || kind === NONE);
}

/** Describes an answer, in a card, in the larger view or beside the camera; returns it as a sentence. */
export function describe(into, record) {
  const { name, probabilities, error, ms, modelMs } = record;
  const heading = (title) => [labelled("h3", title), element("p", name, "name")];
  if (error) {
    into.replaceChildren(...heading("No answer"), element("p", error, "bad"));
    return `${name}: no answer. ${error}`;
  }
  if (!probabilities) return into.replaceChildren(...heading("Looking…"));
  const { kind, title, why, bars } = verdict(record, threshold);
  const open = Boolean(find("details", into)?.open); // of the frame before
  into.replaceChildren(...heading(title), ...(why ? [element("p", why, "why")] : []));
  if (bars) into.append(barsOf(probabilities));
  else {
    const anyway = Object.assign(document.createElement("details"), { open });
    anyway.append(element("summary", "Show anyway"), barsOf(probabilities));
    into.append(anyway);
  }
  into.append(element("p", `Score ${record.score.toFixed(1)}, ${ms.toFixed(0)} ms (model ${modelMs.toFixed(0)} ms)`, "time"));
  into.dataset.label = kind;
  return `${name}: ${kind === NONE ? NONE : `${title}, ${percent(Math.max(...probabilities))}`}.`;
}

function barsOf(probabilities) {
  const list = element("ul", "", "bars");
  const few = facts.labels.length <= COLOURS;
  const ranked = [...facts.labels.keys()].sort((one, other) => few || probabilities[other] - probabilities[one]);
  const shown = few ? [...facts.labels.keys()] : ranked.slice(0, BARS);
  for (const index of shown) list.append(bar(facts.labels[index], probabilities[index], few ? `c${index}` : ""));
  const rest = shown.length - facts.labels.length && 1 - shown.reduce((sum, index) => sum + probabilities[index], 0);
  if (rest) list.append(bar(`${facts.labels.length - BARS} others`, Math.max(0, rest), "rest"));
  return list;
}

function bar(label, share, colour) {
  const item = element("li", "", colour);
  const [track, fill] = [element("span", "", "track"), element("span", "", "fill")];
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  item.append(labelled("span", label), element("span", percent(share), "share"), track);
  return item;
}

function sort() {
  for (const header of document.querySelectorAll("#many th")) {
    if (find("button", header)?.dataset.sort === order) header.ariaSort = descending ? "descending" : "ascending";
    else header.removeAttribute("aria-sort");
  }
  if (!order || find("#many").hidden) return;
  const key = SORTS[order];
  const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
  const sorted = [...records].sort((one, other) => (descending ? -1 : 1) * compare(key(one), key(other)));
  find("#many tbody").append(...sorted.map(({ shown }) => shown));
}

async function enlarge(record) {
  const [dialog, canvas] = [find("dialog"), find("dialog canvas")];
  find("#larger-title").textContent = record.name;
  describe(find(".answer", dialog), record);
  find(".answer .name", dialog).remove();
  canvas.ariaLabel = record.name;
  dialog.showModal();
  const image = await createImageBitmap(record.source, { colorSpaceConversion: "none" });
  const scale = Math.min(1, LARGE / Math.max(image.width, image.height));
  [canvas.width, canvas.height] = [image.width, image.height].map((edge) => Math.max(1, Math.round(edge * scale)));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
}

// Files to save -----------------------------------------------------------------------------------------------

/** As `python -m containerize_deploy.classify --json` prints it. */
function asJson({ name, label, probabilities, score, error }) {
  if (error) return { file: name, error: { message: error } };
  const named = Object.fromEntries(facts.labels.map((each, index) => [each, probabilities[index]]));
  return { file: name, label, probabilities: named, in_scope: score >= threshold, score };
}

/** As `--csv` writes it. */
function asCsv() {
  const quote = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const rows = [["file", "label", "in_scope", "score", ...facts.labels.map((label) => `probability_${label}`), "error"]];
  for (const record of records.filter(isDone)) {
    const { file, label, probabilities, in_scope: inScope, score, error } = asJson(record);
    const known = error ? ["", "", ""] : [label, inScope ? "True" : "False", score];
    rows.push([file, ...known, ...facts.labels.map((each) => probabilities?.[each] ?? ""), error?.message ?? ""]);
  }
  return rows.map((row) => row.map((value) => quote(String(value))).join(",") + "\n").join("");
}

function save(name, type, text) {
  const href = URL.createObjectURL(new Blob([text], { type }));
  Object.assign(document.createElement("a"), { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // the download has begun by then
}
