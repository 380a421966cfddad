// Resizes the images that the command line names as FILE:WIDTH:HEIGHT:JPEG (raw RGBA) and writes FILE.rgb beside each.
import { readFileSync, writeFileSync } from "node:fs";
import { resize } from "../../../containerize_deploy/page/resize.js";

for (const argument of process.argv.slice(2)) {
  const [file, width, height, jpeg] = argument.split(":");
  const rgba = new Uint8ClampedArray(readFileSync(file));
  const rows = (top, count) => rgba.subarray(4 * width * top, 4 * width * (top + count));
  writeFileSync(`${file}.rgb`, resize(rows, Number(width), Number(height), 224, jpeg === "true"));
}
