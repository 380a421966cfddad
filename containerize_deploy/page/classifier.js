// The model: from an image to probabilities and a score, the same as Python's.

import { Problem } from "./decode.js";
import { loadAndCompile, loadLiteRt, Tensor } from "./litert/index.js";
import { readFacts } from "./metadata.js";

const PATIENCE = 10_000; // milliseconds without a byte after which a line counts as stalled

/**
 * Loads LiteRT.js and the model.
 *
 * @param {(sentence: string) => void} report is told how far it is.
 * @returns {Promise<Classifier>}
 * @throws {Problem} the browser lacks something, or a file did not come.
 */
export async function load(report) {
  if (typeof WebAssembly !== "object") {
    throw new Problem(
      "This browser has no WebAssembly, or it is switched off (as in a lockdown mode), and the model needs it.",
    );
  }
  if (typeof createImageBitmap !== "function" || typeof OffscreenCanvas !== "function") {
    throw new Problem("This browser is too old: one from 2023 or later will do.");
  }
  // LiteRT.js reports its progress as errors.
  self.Module = { printErr: (line) => /^(INFO|WARNING): /.test(line) || console.error(line) };
  const eye = openEye();
  eye.catch(() => {}); // the page hears of it, once it asks
  const [bytes] = await Promise.all([
    fetchModel(report),
    loadLiteRt("./litert/").catch(() => {
      throw new Problem("The runtime, LiteRT.js, did not load. Check the connection, or try a newer browser.");
    }),
  ]);
  try {
    const digest = crypto.subtle?.digest("SHA-256", bytes); // only on secure pages
    const facts = { ...readFacts(bytes), digest };
    const classifier = new Classifier(await loadAndCompile(bytes, { accelerator: "wasm" }), facts, eye);
    // The first run is slower than the others, and tells whether the model is one of this kind.
    const { probabilities } = await classifier.run(new Uint8Array(classifier.size ** 2 * 3));
    if (probabilities.length !== facts.labels.length) throw new Error("it has not one output per label");
    return classifier;
  } catch (error) {
    throw new Problem(`The model’s file came, but it can’t be used (${error.message}).`);
  }
}

async function fetchModel(report) {
  const { href, dataset } = document.querySelector("#model");
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  let [bytes, timer] = [0, 0];
  const stalled = () => report(`Loading the model: ${megabytes(bytes)} of ${megabytes(dataset.bytes)} MB. Nothing has come for a while: check the connection, or load the page again.`);
  timer = setTimeout(stalled, PATIENCE);
  try {
    const response = await fetch(href);
    if (!response.ok) throw new Problem(`The model did not load: the server answered ${response.status}.`);
    const chunks = [];
    const reader = response.body.getReader();
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
      chunks.push(step.value);
      bytes += step.value.length;
      clearTimeout(timer);
      timer = setTimeout(stalled, PATIENCE);
      report(`Loading the model: ${megabytes(bytes)} of ${megabytes(dataset.bytes)} MB…`);
    }
    report("Loading the runtime, about 3 MB…");
    return new Uint8Array(await new Blob(chunks).arrayBuffer());
  } catch (error) {
    throw error instanceof Problem ? error : new Problem("The model did not load. Check the connection.");
  } finally {
    clearTimeout(timer);
  }
}

/** Starts the worker that decodes and resizes images; resolves to a function that asks it. */
function openEye() {
  const worker = new Worker("worker.js", { type: "module" });
  const waiting = new Map();
  return new Promise((resolve, reject) => {
    worker.addEventListener("error", () => {
      const problem = new Problem("A part of the page is missing or broken. Load the page again.");
      reject(problem);
      for (const { reject } of waiting.values()) reject(problem);
    });
    worker.addEventListener("message", ({ data: { id, honest, error, ...seen } }) => {
      if (honest) return resolve(ask);
      if (honest === false) {
        return reject(
          new Problem(
            "This browser changes the pixels that pages read, as a protection against tracking, and answers would be " +
              "wrong. Allow this page to read canvas data, then load it again.",
          ),
        );
      }
      const { resolve: answer, reject: refuse } = waiting.get(id);
      waiting.delete(id);
      if (error) refuse(new Problem(error));
      else answer(seen);
    });
    let last = 0;
    const ask = (question) =>
      new Promise((resolve, reject) => {
        const id = ++last;
        waiting.set(id, { resolve, reject });
        worker.postMessage({ id, ...question }, question.source instanceof ImageBitmap ? [question.source] : []);
      });
  });
}

class Classifier {
  /**
   * @param model a compiled LiteRT.js model.
   * @param {object} facts what its metadata says, `labels` and `score_threshold` among them, and a promise of its `digest`.
   * @param {Promise<Function>} look what `openEye` gives; nobody has to wait for it before the first image.
   */
  constructor(model, facts, look) {
    this.facts = facts;
    this.model = model;
    this.look = look;
    const [input] = model.getInputDetails();
    this.input = input.name;
    this.shape = [...input.shape];
    this.size = this.shape[1];
  }

  /**
   * Classifies an image.
   *
   * @param {Blob|ImageBitmap} source a file, or a frame that is used up.
   * @param {boolean} keep whether a thumbnail is wanted.
   * @returns {Promise<{label: string, probabilities: number[], score: number, thumbnail?: Blob, ms: number, modelMs: number}>}
   * @throws {Problem} the file is no usable image; the message says why.
   */
  async classify(source, keep = true) {
    const start = performance.now();
    const { pixels, thumbnail } = await (await this.look)({ source, size: this.size, keep });
    const seen = performance.now();
    const { probabilities, score } = await this.run(pixels);
    const end = performance.now();
    const label = this.facts.labels[probabilities.indexOf(Math.max(...probabilities))];
    return { label, probabilities, score, thumbnail, ms: end - start, modelMs: end - seen };
  }

  /** The model's outputs for pixels `[size, size, 3]`. */
  async run(pixels) {
    const tensor = new Tensor(pixels, this.shape);
    let outputs = {};
    try {
      outputs = await this.model.run({ [this.input]: tensor });
      return { probabilities: [...outputs.probabilities.toTypedArray()], score: outputs.score.toTypedArray()[0] };
    } finally {
      for (const used of [tensor, ...Object.values(outputs)]) used.delete(); // WebAssembly's memory is not collected
    }
  }
}
