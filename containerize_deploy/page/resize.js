// Pillow's resize in JavaScript, so that the model sees the pixels that it was trained on.
//
// A browser's own drawImage resizes in its own way, and probabilities then differ from Python's by up to 0.2.
// This takes the steps of load_image in data_prep_eda/preprocessing.py: a JPEG is decoded at reduced scale
// (Image.draft), whole blocks are averaged (Image.reduce), and two passes of bilinear interpolation with a
// support that grows with the reduction do the rest, in fixed point (Pillow's Reduce.c and Resample.c, MIT-CMU).

const BITS = 22; // of a coefficient: 32, less 8 of a pixel, less 2 of headroom
const HALF = 1 << (BITS - 1);
const REDUCING_GAP = 3; // how much of the reduction is left to the interpolation
const STRIP = 4_000_000; // pixels that are held at a time as RGBA: 16 MB
const STRIP_HEIGHT = 8192; // rows at a time, since canvases are limited in each direction too

/**
 * Resizes an image to a square; one that is not square is squeezed.
 *
 * @param {(top: number, count: number) => Uint8ClampedArray} rows gives `count` rows from `top` on as RGBA,
 *     transparency laid over white. Asked in strips, so that a big image does not lie in memory twice.
 * @param {number} width of the image in pixels.
 * @param {number} height of the image in pixels.
 * @param {number} size edge length of the result in pixels.
 * @param {boolean} jpeg whether Pillow would decode the image at 1/2, 1/4 or 1/8 scale where it is big enough.
 * @returns {Uint8Array} `[size, size, 3]`, RGB.
 */
export function resize(rows, width, height, size, jpeg = false) {
  const scale = jpeg ? draftScale(width, height, (3 * size) >> 1) : 1;
  const [draftWidth, draftHeight] = [Math.ceil(width / scale), Math.ceil(height / scale)];
  const factorX = Math.trunc(draftWidth / size / REDUCING_GAP) || 1;
  const factorY = Math.trunc(draftHeight / size / REDUCING_GAP) || 1;
  const [reducedWidth, reducedHeight] = [Math.ceil(draftWidth / factorX), Math.ceil(draftHeight / factorY)];

  const reduced = new Uint8ClampedArray(reducedWidth * reducedHeight * 3);
  const step = scale * factorY; // rows of the image in one row of `reduced`
  const stripHeight = step * Math.ceil(Math.min(STRIP / width, STRIP_HEIGHT) / step);
  for (let top = 0; top < height; top += stripHeight) {
    const count = Math.min(stripHeight, height - top);
    let strip = { pixels: rows(top, count), width, height: count, channels: 4 };
    if (scale > 1) strip = reduce(strip, scale, scale, storeAsJpeg);
    reduced.set(reduce(strip, factorX, factorY, storeAsReduce).pixels, (top / step) * reducedWidth * 3);
  }

  const across = kernels(reducedWidth, draftWidth / factorX, size);
  const down = kernels(reducedHeight, draftHeight / factorY, size);
  // Pillow 13 begins with the columns where the height shrinks, and by more than twice what the width does.
  if (reducedHeight - size > Math.max(0, 2 * (reducedWidth - size))) {
    return interpolateRows(interpolateColumns(reduced, reducedWidth, down), reducedWidth, across);
  }
  return interpolateColumns(interpolateRows(reduced, reducedWidth, across), size, down);
}

/** The scale at which Pillow has a JPEG decoded: at least `wanted` pixels are left of each side. */
function draftScale(width, height, wanted) {
  const scale = Math.min(width, height) / wanted;
  return [8, 4, 2].find((step) => scale >= step) ?? 1;
}

/** Averages blocks of factorX × factorY pixels; what is left over at the right and below is a smaller block. */
function reduce(image, factorX, factorY, store) {
  const { pixels, channels } = image;
  if (factorX === 1 && factorY === 1) return channels === 3 ? image : { ...image, pixels: withoutAlpha(pixels), channels: 3 };
  const [width, height] = [Math.ceil(image.width / factorX), Math.ceil(image.height / factorY)];
  const reduced = new Uint8ClampedArray(width * height * 3);
  const sums = new Uint32Array(width * 3);
  for (let y = 0; y < height; y++) {
    const [top, bottom] = [y * factorY, Math.min((y + 1) * factorY, image.height)];
    sums.fill(0);
    for (let row = top; row < bottom; row++) {
      let from = row * image.width * channels;
      for (let x = 0; x < width; x++) {
        const end = Math.min((x + 1) * factorX, image.width) - x * factorX;
        let [r, g, b] = [0, 0, 0];
        for (let column = 0; column < end; column++, from += channels) {
          r += pixels[from];
          g += pixels[from + 1];
          b += pixels[from + 2];
        }
        sums[3 * x] += r;
        sums[3 * x + 1] += g;
        sums[3 * x + 2] += b;
      }
    }
    for (let x = 0; x < width; x++) {
      const area = (bottom - top) * (Math.min((x + 1) * factorX, image.width) - x * factorX);
      store(sums, 3 * x, area, reduced, 3 * (y * width + x));
    }
  }
  return { pixels: reduced, width, height, channels: 3 };
}

function withoutAlpha(pixels) {
  const rgb = new Uint8ClampedArray((pixels.length / 4) * 3);
  for (let from = 0, to = 0; from < pixels.length; from += 4) {
    rgb[to++] = pixels[from];
    rgb[to++] = pixels[from + 1];
    rgb[to++] = pixels[from + 2];
  }
  return rgb;
}

/** Rounds as Image.reduce does: by a reciprocal that is a little too small, so whole results come out one less. */
function storeAsReduce(sums, from, area, into, to) {
  const reciprocal = Math.floor(2 ** 24 / area);
  for (let channel = 0; channel < 3; channel++) {
    into[to + channel] = Math.floor(((sums[from + channel] + (area >> 1)) * reciprocal) / 2 ** 24);
  }
}

/** Rounds as a JPEG decoder at reduced scale does: brightness and colour, from which red, green and blue follow. */
function storeAsJpeg(sums, from, area, into, to) {
  const [r, g, b] = [sums[from] / area, sums[from + 1] / area, sums[from + 2] / area];
  const y = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
  const cb = Math.round(-0.168736 * r - 0.331264 * g + 0.5 * b);
  const cr = Math.round(0.5 * r - 0.418688 * g - 0.081312 * b);
  into[to] = Math.round(y + 1.402 * cr);
  into[to + 1] = Math.round(y - 0.344136 * cb - 0.714136 * cr);
  into[to + 2] = Math.round(y + 1.772 * cb);
}

/**
 * The triangular kernel of each output pixel.
 *
 * @param {number} length input pixels.
 * @param {number} extent the part of them that the output covers; not whole after a reduction with a remainder.
 * @param {number} size output pixels.
 * @returns {{first: number, weights: Int32Array}[]} the first input pixel and the weights from there on.
 */
function kernels(length, extent, size) {
  const scale = Math.fround(extent) / size; // a float of 32 bits in Pillow
  const support = Math.max(scale, 1);
  return Array.from({ length: size }, (_, position) => {
    const centre = (position + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(length, Math.trunc(centre + support + 0.5));
    const triangle = Array.from({ length: last - first }, (_, tap) =>
      Math.max(0, 1 - Math.abs((first + tap - centre + 0.5) / support)),
    );
    const total = triangle.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: Int32Array.from(triangle, (weight) => 0.5 + (weight / total) * 2 ** BITS) };
  });
}

function interpolateRows(pixels, width, across) {
  const height = pixels.length / width / 3;
  const result = new Uint8Array(height * across.length * 3);
  let to = 0;
  for (let y = 0; y < height; y++) {
    for (const { first, weights } of across) {
      let from = (y * width + first) * 3;
      let [r, g, b] = [HALF, HALF, HALF];
      for (let tap = 0; tap < weights.length; tap++, from += 3) {
        r += pixels[from] * weights[tap];
        g += pixels[from + 1] * weights[tap];
        b += pixels[from + 2] * weights[tap];
      }
      result[to++] = r >> BITS;
      result[to++] = g >> BITS;
      result[to++] = b >> BITS;
    }
  }
  return result;
}

function interpolateColumns(pixels, width, down) {
  const result = new Uint8Array(width * down.length * 3);
  let to = 0;
  for (const { first, weights } of down) {
    for (let column = 0; column < width * 3; column++) {
      let sum = HALF;
      for (let tap = 0; tap < weights.length; tap++) sum += pixels[(first + tap) * width * 3 + column] * weights[tap];
      result[to++] = sum >> BITS;
    }
  }
  return result;
}
