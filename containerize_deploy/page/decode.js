// From an image file to pixels, as Pillow decodes them: upright, colours as they are in the file.

import { isWhole } from "./whole.js";

// As in data_prep_eda/image_checks.py.
const MAX_PIXELS = 64_000_000;
const MAX_EDGE = 32_768;
const HEADER = 1_000_000; // bytes in which a JPEG's size comes, behind its metadata
const BROKEN = "The image is broken or incomplete, or too large for this browser.";
const AS_IT_IS = { colorSpaceConversion: "none" }; // Pillow leaves colour profiles alone too

/** Something that a person can do something about; the message is a sentence for them. */
export class Problem extends Error {}

/**
 * Decodes an image file.
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
  check(sizeInHeader(new Uint8Array(await file.slice(0, HEADER).arrayBuffer()))); // before a phone runs out of memory
  if (!isWhole(new Uint8Array(await file.arrayBuffer()))) throw new Problem(BROKEN);
  let bitmap;
  try {
    const webp = /^RIFF....WEBP/s.test(String.fromCharCode(...head));
    bitmap = webp ? await decodeWebp(file) : await createImageBitmap(file, AS_IT_IS);
  } catch {
    throw new Problem(whyNot(head));
  }
  try {
    check(bitmap);
  } catch (problem) {
    bitmap.close();
    throw problem;
  }
  return { bitmap, jpeg: head[0] === 0xff && head[1] === 0xd8 };
}

/** Throws a Problem if that is more than is taken. */
function check({ width, height }) {
  if (width * height <= MAX_PIXELS && Math.max(width, height) <= MAX_EDGE) return;
  throw new Problem(`It has ${width} × ${height} pixels; at most 64 megapixels are taken, and ${MAX_EDGE} along an edge.`);
}

/** Width and height that a JPEG, PNG or WebP names at its start; 0 where it doesn't, which the decoder tells. */
function sizeInHeader(bytes) {
  const view = new DataView(bytes.buffer);
  try {
    if (view.getUint32(0) === 0x89504e47) return { width: view.getUint32(16), height: view.getUint32(20) };
    const kind = view.getUint32(0) === 0x52494646 && String.fromCharCode(...bytes.subarray(12, 16)); // RIFF: WebP
    const [low, high, bits] = [view.getUint16(26, true), view.getUint16(28, true), view.getUint32(21, true)];
    if (kind === "VP8 ") return { width: low & 0x3fff, height: high & 0x3fff };
    if (kind === "VP8L") return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
    if (kind === "VP8X") return { width: 1 + (view.getUint32(24, true) & 0xffffff), height: 1 + (view.getUint32(26, true) >>> 8) };
    if (view.getUint16(0) === 0xffd8) {
      for (let at = 2; ; at += 2 + view.getUint16(at + 2)) {
        const marker = view.getUint8(at + 1);
        if (marker < 0xc0 || marker > 0xcf || [0xc4, 0xc8, 0xcc].includes(marker)) continue; // no frame header
        return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
      }
    }
  } catch {
    // It ends before its size.
  }
  return { width: 0, height: 0 };
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
    return BROKEN;
  }
  return "It is no image that this browser knows: expected JPEG, PNG, WebP or AVIF.";
}

/** A WebP without its EXIF: Chromium and Firefox do not turn a WebP by it, nor does the service. */
async function decodeWebp(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const view = new DataView(bytes.buffer);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    if (String.fromCharCode(...bytes.subarray(at, at + 4)) === "EXIF") bytes.set([0x58, 0x58], at); // XXIF, which no browser knows
    at += 8 + size + (size % 2);
  }
  return createImageBitmap(new Blob([bytes]), AS_IT_IS);
}
