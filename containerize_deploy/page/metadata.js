// What the model's file says of itself: TFLite metadata includes a zip archive that follows the model's bytes.

/**
 * Labels, threshold and version of a model.
 *
 * @param {Uint8Array} bytes of the `.tflite` file.
 * @returns {{labels: string[], score_threshold: number, version: string}} an image is in scope where its score is at
 *     least the threshold.
 * @throws {Error} the file is no TFLite model, or its metadata lacks something.
 */
export function readFacts(bytes) {
  if (String.fromCharCode(...bytes.subarray(4, 8)) !== "TFL3") throw new Error("it is no TFLite model");
  const files = unzip(bytes);
  for (const name of ["labels.txt", "scene.json"]) {
    if (!(name in files)) throw new Error(`its metadata has no ${name}`);
  }
  return { ...JSON.parse(files["scene.json"]), labels: files["labels.txt"].replace(/\n$/, "").split("\n") };
}

/** The texts in the archive at the end of a file, by name; they are stored there, not compressed. */
function unzip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (from, length) => new TextDecoder().decode(bytes.subarray(from, from + length));
  const files = {};
  const end = bytes.length - 22; // the last record, where the archive has no comment
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) return files;
  let entry = end - view.getUint32(end + 12, true);
  const before = entry - view.getUint32(end + 16, true); // 0 unless offsets count from the archive's own start
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    const [size, nameLength] = [view.getUint32(entry + 24, true), view.getUint16(entry + 28, true)];
    const local = before + view.getUint32(entry + 42, true);
    const data = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    if (view.getUint16(entry + 10, true) === 0) files[text(entry + 46, nameLength)] = text(data, size);
    entry += 46 + nameLength + view.getUint16(entry + 30, true) + view.getUint16(entry + 32, true);
  }
  return files;
}
