// What the model's file says of itself. Older files say less: what is missing is left out.

import { element, find } from "./answers.js";

export async function showFacts({ labels, version, description, author, licence, trained_on: trained, threshold, score_threshold: limit, digest }) {
  const list = find("#about dl");
  const add = (term, ...details) => details[0] && list.append(element("dt", term), ...details.map((text) => element("dd", text)));
  add("Model", description);
  add(`Classes (${labels.length})`, labels.join(", "));
  add("Trained on", ...Object.entries(trained ?? {}).map(([source, counts]) => `${source}: ${images(counts)}`));
  add("Threshold", `An image counts as one of the classes from a score of ${limit.toFixed(1)} on.${keeps(threshold)}`);
  add("Version", version);
  add("By", author);
  add("Licence", licence);
  find("#about").hidden = false;
  const bytes = digest && new Uint8Array(await digest);
  add("SHA-256 of the file", bytes && [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(""));
}

const images = (counts) =>
  typeof counts === "number"
    ? `${counts} images`
    : Object.entries(counts).map(([label, number]) => `${label} ${number}`).join(", ");

function keeps(threshold) {
  if (!threshold?.keep) return "";
  const from = threshold.read_off ? `, read off ${threshold.read_off}` : "";
  return ` That keeps ${100 * threshold.keep} % of images of the classes${from}.`;
}
