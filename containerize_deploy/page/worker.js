// Off the page's own thread, which would stand still for half a second at each big photograph: from a file or a
// camera's frame to the model's pixels and a thumbnail.

import { decode, Problem } from "./decode.js";
import { resize } from "./resize.js";

self.postMessage({ honest: canvasIsHonest() });

self.addEventListener("message", async ({ data: { id, source, size, keep } }) => {
  try {
    const { bitmap, jpeg } = source instanceof ImageBitmap ? { bitmap: source } : await decode(source);
    try {
      const pixels = resize(rowsOf(bitmap), bitmap.width, bitmap.height, size, jpeg);
      self.postMessage({ id, pixels, thumbnail: keep && (await picture(pixels, size)) });
    } finally {
      bitmap.close();
    }
  } catch (error) {
    self.postMessage({ id, error: error instanceof Problem ? error.message : `It could not be read (${error.message ?? error}).` });
  }
});

/** The model's pixels `[size, size, 3]` as a small JPEG: the whole image, squeezed to a square. */
async function picture(pixels, size) {
  const image = new ImageData(size, size);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    image.data.set(pixels.subarray(from, from + 3), to);
    image.data[to + 3] = 255;
  }
  const canvas = new OffscreenCanvas(size, size);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

/** Rows of an image as `resize` asks for them; what is transparent is laid over white. */
function rowsOf(image) {
  const { width } = image;
  const canvas = new OffscreenCanvas(width, 1);
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
  const context = new OffscreenCanvas(16, 16).getContext("2d", { willReadFrequently: true });
  context.putImageData(drawn, 0, 0);
  const read = context.getImageData(0, 0, 16, 16).data;
  return drawn.data.every((level, index) => level === read[index]);
}
