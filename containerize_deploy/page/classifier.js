// The model: from an image to probabilities and a score, the same as Python's.

import { Problem } from "./decode.js";
import { loadAndCompile, loadLiteRt, Tensor } from "./litert/index.js";
import { readFacts } from "./metadata.js";
import { resize } from "./resize.js";

const MODEL = "scene-classifier-model.tflite";

/**
 * Loads LiteRT.js and the model.
 *
 * @returns {Promise<Classifier>}
 * @throws {Problem} the browser lacks something, or a file did not come.
 */
export async function load() {
  if (typeof createImageBitmap !== "function") {
    throw new Problem("This browser is too old: one from 2022 or later will do.");
  }
  if (typeof WebAssembly !== "object") {
    throw new Problem(
      "This browser has no WebAssembly, or it is switched off (as in a lockdown mode), and the model needs it.",
    );
  }
  if (!canvasIsHonest()) {
    throw new Problem(
      "This browser changes the pixels that pages read, as a protection against tracking, and answers would be " +
        "wrong. Allow this page to read canvas data, then load it again.",
    );
  }
  // LiteRT.js reports its progress as errors.
  self.Module = { printErr: (line) => /^(INFO|WARNING): /.test(line) || console.error(line) };
  const [bytes] = await Promise.all([
    fetchModel(),
    loadLiteRt("./litert/").catch(() => {
      throw new Problem("The runtime, LiteRT.js, did not load. Check the connection, or try a newer browser.");
    }),
  ]);
  try {
    const facts = readFacts(bytes);
    const classifier = new Classifier(await loadAndCompile(bytes, { accelerator: "wasm" }), facts);
    // The first run is slower than the others, and tells whether the model is one of this kind.
    const { probabilities } = await classifier.run(new Uint8Array(classifier.size ** 2 * 3));
    if (probabilities.length !== facts.labels.length) throw new Error("it has not one output per label");
    return classifier;
  } catch (error) {
    throw new Problem(`The model’s file came, but it can’t be used (${error.message}).`);
  }
}

async function fetchModel() {
  let response;
  try {
    response = await fetch(MODEL);
  } catch {
    throw new Problem("The model did not load. Check the connection.");
  }
  if (!response.ok) throw new Problem(`The model did not load: the server answered ${response.status}.`);
  return new Uint8Array(await response.arrayBuffer());
}

class Classifier {
  /**
   * @param model a compiled LiteRT.js model.
   * @param {{labels: string[], score_threshold: number, version: string}} facts what its metadata says.
   */
  constructor(model, facts) {
    this.facts = facts;
    this.model = model;
    const [input] = model.getInputDetails();
    this.input = input.name;
    this.shape = [...input.shape];
    this.size = this.shape[1];
  }

  /**
   * Classifies what a canvas can draw.
   *
   * @param {ImageBitmap|HTMLVideoElement} image upright.
   * @param {number} width of it in pixels.
   * @param {number} height of it in pixels.
   * @param {boolean} jpeg whether it comes from a JPEG file.
   * @returns {Promise<{label: string, probabilities: number[], score: number, inScope: boolean, modelMs: number}>}
   */
  async classify(image, width, height, jpeg = false) {
    const pixels = resize(rowsOf(image, width), width, height, this.size, jpeg);
    const start = performance.now();
    const { probabilities, score } = await this.run(pixels);
    return {
      label: this.facts.labels[probabilities.indexOf(Math.max(...probabilities))],
      probabilities,
      score,
      inScope: score >= this.facts.score_threshold,
      modelMs: performance.now() - start,
    };
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

/** Rows of an image as `resize` asks for them; what is transparent is laid over white. */
function rowsOf(image, width) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  return (top, count) => {
    canvas.height = count;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = false;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, count);
    context.drawImage(image, 0, top, width, count, 0, 0, width, count);
    const { data } = context.getImageData(0, 0, width, count);
    if (data[3] !== 255) throw new Problem("It is too large for this browser. Make it smaller first.");
    return data;
  };
}

/** Whether the pixels that are read are those that were drawn. */
function canvasIsHonest() {
  const drawn = new ImageData(16, 16);
  drawn.data.forEach((_, index) => (drawn.data[index] = index % 4 === 3 ? 255 : (index * 37) % 256));
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  context.putImageData(drawn, 0, 0);
  const read = context.getImageData(0, 0, 16, 16).data;
  return drawn.data.every((level, index) => level === read[index]);
}
