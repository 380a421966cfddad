// What a browser shows of image files: reads paths from standard input, one a line, and writes one line of JSON for each:
// {"width", "height", "file"} with `file` beside the image, raw RGBA on white; or {"error"}. See tests/shown_by_browsers.py.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { CHROMIUM, PACKAGES } = process.env;
const packages = createRequire(`${PACKAGES}/`);
const { default: puppeteer } = await import(pathToFileURL(packages.resolve("puppeteer-core")));
const browser = await puppeteer.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
const page = await browser.newPage();

/** Runs in the page: an image as an <img> shows it. */
async function show(content) {
  const url = URL.createObjectURL(new Blob([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))]));
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return { error: "not shown" };
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let at = 0; at < data.length; at += 32768) text += String.fromCharCode(...data.subarray(at, at + 32768));
  return { width: canvas.width, height: canvas.height, pixels: btoa(text) };
}

for (const path of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const { pixels, ...shown } = await page.evaluate(show, readFileSync(path, "base64"));
  if (pixels) writeFileSync((shown.file = `${path}.rgba`), Buffer.from(pixels, "base64"));
  console.log(JSON.stringify(shown));
}
await browser.close();
