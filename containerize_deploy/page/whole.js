// Whether a JPEG or PNG is all there. Chromium refuses what isn't, Firefox shows a part of it without a word.

/** @param {Uint8Array} bytes of an image file. */
export function isWhole(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (view.getUint16(0) === 0xffd8) return jpegEnds(bytes, view);
    if (view.getUint32(0) === 0x89504e47) return pngEnds(bytes, view);
  } catch {
    return false; // it ends where a length or a marker should be
  }
  return true;
}

/** Follows a JPEG's segments and compressed data, with whatever lies between them, to its end marker. */
function jpegEnds(bytes, view) {
  for (let at = bytes.indexOf(0xff, 2); at >= 0; at = bytes.indexOf(0xff, at)) {
    const marker = bytes[at + 1];
    if (marker === 0xd9) return true;
    if (marker === 0xff) at += 1; // a filling byte
    else if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd7)) at += 2; // data, or a restart
    else at += 2 + view.getUint16(at + 2);
  }
  return false;
}

/** Follows a PNG's chunks to the last one, and holds each to its checksum. */
function pngEnds(bytes, view) {
  for (let at = 8; ; ) {
    const end = at + 8 + view.getUint32(at);
    if (crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) return false;
    if (view.getUint32(at + 4) === 0x49454e44) return true; // IEND
    at = end + 4;
  }
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
