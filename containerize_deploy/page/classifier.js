// The model: from an image to probabilities and a score, the same as Python's.

import { loadAndCompile, loadLiteRt, Tensor } from "./litert/index.js";
import { readFacts } from "./metadata.js";
import { resize } from "./resize.js";

const MODEL = "scene-classifier-model.tflite";
const MAX_PIXELS = 64_000_000; // as in data_prep_eda/preprocessing.py

/** Something that a person can do something about; the message is a sentence for them. */
export class Problem extends Error {}

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
      "This browser has no WebAssembly, or it is switched off (as in a lockdown mode), and the network needs it.",
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
    const facts = await readFacts(bytes);
    return new Classifier(await loadAndCompile(bytes, { accelerator: "wasm" }), facts);
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
    const tensor = new Tensor(pixels, this.shape);
    let outputs = {};
    try {
      outputs = await this.model.run({ [this.input]: tensor });
      const probabilities = [...outputs.probabilities.toTypedArray()];
      const [score] = outputs.score.toTypedArray();
      return {
        label: this.facts.labels[probabilities.indexOf(Math.max(...probabilities))],
        probabilities,
        score,
        inScope: score >= this.facts.score_threshold,
        modelMs: performance.now() - start,
      };
    } finally {
      for (const used of [tensor, ...Object.values(outputs)]) used.delete();
    }
  }
}

/**
 * Decodes an image file as Pillow does: upright, colours as they are in the file.
 *
 * @param {Blob} file
 * @returns {Promise<{bitmap: ImageBitmap, jpeg: boolean}>} close the bitmap after use.
 * @throws {Problem} the file is no usable image; the message says why.
 */
export async function decode(file) {
  let head;
  try {
    head = new Uint8Array(await file.slice(0, 32).arrayBuffer());
  } catch {
    throw new Problem("It can’t be read. A folder? Choose the images in it.");
  }
  if (!head.length) throw new Problem("The file is empty.");
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new Problem(whyNot(head));
  }
  if (bitmap.width * bitmap.height > MAX_PIXELS) {
    const { width, height } = bitmap;
    bitmap.close();
    throw new Problem(`It has ${width} × ${height} pixels; at most 64 megapixels are taken.`);
  }
  return { bitmap, jpeg: head[0] === 0xff && head[1] === 0xd8 };
}

/** Why the browser refused a file, from its first bytes. */
function whyNot(head) {
  const text = String.fromCharCode(...head);
  if (/^....ftyp(hei|hev|mif1|msf1)/s.test(text)) {
    return "It is a HEIC image, which this browser can’t show. Save or share it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible).";
  }
  if (/^(II\*\0|MM\0\*)/.test(text)) return "It is a TIFF or raw image, which this browser can’t show. Save it as JPEG or PNG.";
  if (/^%PDF/.test(text)) return "It is a PDF, not an image. Save the page as JPEG or PNG.";
  if (/^\s*<(\?xml|svg)/i.test(text)) return "It is a drawing (SVG). Save it as JPEG or PNG.";
  if (/^(\xff\xd8|\x89PNG|GIF8|BM|RIFF....WEBP|....ftypavi)/s.test(text)) {
    return "The image is broken or incomplete, or too large for this browser.";
  }
  return "It is no image that this browser knows: expected JPEG, PNG, WebP or AVIF.";
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
    return context.getImageData(0, 0, width, count).data;
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
