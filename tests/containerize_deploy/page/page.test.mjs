// The page in a real browser. test_page.py starts this with the environment variables below and reads the outcome of
// each test; `node --test-reporter=spec page.test.mjs` shows it by hand.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { appendFileSync, cpSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

const { CHROMIUM, PYTHON, IMAGES, SITE, PACKAGES } = process.env;
const packages = createRequire(`${PACKAGES}/`);
const { default: puppeteer } = await import(pathToFileURL(packages.resolve("puppeteer-core")));
const AXE = readFileSync(packages.resolve("axe-core/axe.min.js"), "utf8");

const SERVE = `
import sys
from pathlib import Path
from containerize_deploy.page.website import make_server
server = make_server(Path(sys.argv[1]), int(sys.argv[2]))
print("serving", flush=True)
server.serve_forever()`;

let browser, server, address;

before(async () => {
  server = spawn(PYTHON, ["-m", "containerize_deploy.page", "--port", "0", "--out", SITE]);
  server.stderr.pipe(process.stderr);
  const [line] = await once(server.stdout, "data");
  [address] = /http:\S+/.exec(line);
  browser = await puppeteer.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--use-fake-device-for-media-stream"],
  });
});

after(async () => {
  await browser?.close();
  server?.kill();
});

/** A page in a profile of its own: nothing cached, no service worker. */
async function visit({ permissions = [], prepare = async () => {}, wait = "[data-ready]" } = {}) {
  const context = await browser.createBrowserContext();
  if (permissions.length) await context.overridePermissions(address, permissions);
  const page = await context.newPage();
  page.on("pageerror", (error) => assert.fail(error));
  await prepare(page);
  await page.goto(address);
  await page.waitForSelector(wait);
  return page;
}

const text = (page, selector) => page.$eval(selector, (element) => element.innerText);

async function choose(page, ...names) {
  const input = await page.$("#files");
  await input.uploadFile(...names.map((name) => `${IMAGES}/${name}`));
}

/** The answers on the page, once there are that many: name, title, percentages and, where there is none, why. */
async function answers(page, count) {
  await page.waitForFunction(
    (count) => document.querySelectorAll("#answers .answer[data-label], #answers [data-state=failed]").length === count,
    {},
    count,
  );
  return page.$$eval("#answers ol > li", (cards) =>
    cards.map((card) => ({
      title: card.querySelector("h3").innerText,
      name: card.querySelector(".name").innerText,
      shares: [...card.querySelectorAll(".share")].map((share) => parseFloat(share.innerText)),
      why: card.querySelector("p.bad")?.innerText,
    })),
  );
}

/** Gives the page files as a drop or a paste would. */
const hand = (page, type, name, content) =>
  page.evaluate(
    (type, name, content) => {
      const data = new DataTransfer();
      if (name) data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
      else data.setData("text/plain", content);
      const event =
        type === "paste" ? new ClipboardEvent(type, { clipboardData: data, bubbles: true }) : new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
    },
    type,
    name,
    content,
  );

test("every kind of image is answered, in order, and no other address is asked", async () => {
  const asked = new Set();
  const page = await visit({
    prepare: async (page) => page.on("request", (request) => asked.add(new URL(request.url()).origin)),
  });
  const names = readdirSync(`${IMAGES}/sound`).sort();
  await choose(page, ...names.map((name) => `sound/${name}`));
  const given = await answers(page, names.length);
  assert.deepEqual(given.map(({ name }) => name), names);
  // test_page.py compares these with Python's.
  writeFileSync(`${IMAGES}/answers.json`, JSON.stringify({ about: await text(page, "#about"), answers: given }));
  assert.deepEqual([...asked], [new URL(address).origin]);
  const blocked = await page.evaluate(() => fetch("https://example.org/").then(() => "sent", () => "blocked"));
  assert.equal(blocked, "blocked");
});

test("images are taken by drop and by paste, and text is not", async () => {
  const page = await visit();
  const content = readFileSync(`${IMAGES}/sound/${readdirSync(`${IMAGES}/sound`)[0]}`, "base64");
  await hand(page, "drop", "dropped.jpg", content);
  await hand(page, "paste", "pasted.jpg", content);
  assert.deepEqual((await answers(page, 2)).map(({ name }) => name), ["pasted.jpg", "dropped.jpg"]);
  await hand(page, "paste", "", "https://example.org/a.jpg");
  assert.match(await text(page, "#state"), /held no image/);
});

test("a file that is no usable image gets a sentence, and the others their answers", async () => {
  const page = await visit();
  const names = readdirSync(`${IMAGES}/broken`).sort();
  await choose(page, ...names.map((name) => `broken/${name}`), "24_megapixels.jpg");
  const given = await answers(page, names.length + 1);
  const reasons = Object.fromEntries(given.map(({ name, why }) => [name, why]));
  assert.match(reasons["phone.heic"], /HEIC/);
  assert.match(reasons["empty.jpg"], /empty/);
  assert.match(reasons["page.jpg"], /no image/);
  assert.match(reasons["scan.tif"], /TIFF/);
  assert.match(reasons["truncated.jpg"], /broken or incomplete/);
  assert.match(reasons["one_bit.png"], /broken or incomplete/);
  for (const name of ["200_megapixels.jpg", "200_megapixels.webp"]) {
    assert.match(reasons[name], /16320 × 12240 pixels/); // by its header: what follows is missing
  }
  assert.equal(reasons["24_megapixels.jpg"], undefined);
  assert.equal(given.at(-1).shares.length, 3);
});

test("the camera is answered live, an answer can be kept, and the camera is let go", async () => {
  const page = await visit({ permissions: ["camera"] });
  await page.click("#open-camera");
  await page.waitForSelector("#camera .answer[data-label]");
  await page.click("#keep");
  assert.equal((await answers(page, 1))[0].name, "Camera 1");
  const track = await page.evaluateHandle(() => document.querySelector("video").srcObject.getTracks()[0]);
  await page.click("#close-camera");
  assert.equal(await track.evaluate((track) => track.readyState), "ended");
  assert.equal(await page.$eval("#camera", (section) => section.hidden), true);
});

test("a camera that may not be used gets a sentence", async () => {
  const page = await visit({ prepare: (page) => page.evaluateOnNewDocument(() => {
    navigator.mediaDevices.getUserMedia = async () => {
      await new Promise((resolve) => setTimeout(resolve, 50)); // as somebody who is asked
      throw new DOMException("", "NotAllowedError");
    };
  }) });
  await page.focus("#open-camera");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => /permission was not given/.test(document.querySelector("#state").innerText));
  assert.equal(await page.$eval("#open-camera", (button) => button.disabled), false);
  assert.equal(await page.evaluate(() => document.activeElement.id), "open-camera");
});

test("what keeps the model from starting gets a sentence", async () => {
  const refuse = (part, response) => async (page) => {
    await page.setRequestInterception(true);
    page.on("request", (request) => (request.url().endsWith(part) ? request.respond(response) : request.continue()));
  };
  const settled = () => document.querySelector("#state").innerText !== "Loading the model…";
  const remove = (code) => (page) => page.evaluateOnNewDocument(code);
  const cases = [
    [remove("delete window.WebAssembly"), /no WebAssembly/],
    [remove("delete window.createImageBitmap"), /too old/],
    [remove("CanvasRenderingContext2D.prototype.getImageData = () => new ImageData(16, 16)"), /canvas data/],
    [refuse(".tflite", { status: 404 }), /model did not load: the server answered 404/],
    [refuse(".tflite", { status: 200, body: "<!doctype html>" }), /no TFLite model/],
    [refuse("litert_wasm_internal.js", { status: 404 }), /LiteRT.js, did not load/],
    [refuse("litert_wasm_internal.wasm", { status: 404 }), /LiteRT.js, did not load/],
    [refuse("resize.js", { status: 404 }), /a file is missing/],
    [refuse("app.js", { status: 200, contentType: "text/javascript", body: "a syntax of the future" }), /browser is too old/],
    [(page) => page.setJavaScriptEnabled(false), /JavaScript is switched off/],
  ];
  for (const [prepare, sentence] of cases) {
    const page = await visit({ prepare, wait: "body" });
    if (page.isJavaScriptEnabled()) await page.waitForFunction(settled, { timeout: 5000 }).catch(() => {});
    assert.match(await text(page, "main"), sentence);
    await page.browserContext().close();
  }
});

test("axe finds no fault, light or dark, on a phone or a desktop, and nothing is cut off", async () => {
  const page = await visit({ permissions: ["camera"], prepare: (page) => page.setBypassCSP(true) });
  await page.click("[data-example='coast.jpg']");
  await choose(page, "broken/empty.jpg");
  await answers(page, 2);
  await page.click("#open-camera");
  await page.waitForSelector("#camera .answer[data-label]");
  await page.evaluate(AXE);
  for (const value of ["light", "dark"]) {
    for (const width of [320, 1200]) {
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
      await page.setViewport({ width, height: 800 });
      const { violations } = await page.evaluate(() => axe.run());
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    }
  }
});

test("it works by keyboard, and what it answers is announced", async () => {
  const page = await visit();
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.dataset.example);
  const reached = [];
  for (let presses = 0; presses < 5; presses++) {
    await page.keyboard.press("Tab");
    reached.push(await focused());
  }
  assert.deepEqual(reached, ["choose", "open-camera", "coast.jpg", "forest.jpg", "mountain.jpg"]);
  await page.keyboard.press("Enter");
  await answers(page, 1);
  assert.match(await text(page, "#news"), /^mountain.jpg: (mountain, [\d.]+ %|none of these)\.$/);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  assert.deepEqual(await answers(page, 0), []);
  assert.equal(await focused(), "choose");
});

test("it works without its server from the second visit on, and takes a new version whole or not at all", async () => {
  const page = await visit({ wait: "[data-offline]" });
  server.kill();
  await once(server, "exit");
  await page.reload();
  await page.waitForSelector("[data-ready]");
  await page.click("[data-example='forest.jpg']");
  assert.equal((await answers(page, 1))[0].shares.length, 3);

  const newer = `${SITE}.newer`;
  cpSync(SITE, newer, { recursive: true });
  const digest = () => `sha256-${createHash("sha256").update(readFileSync(`${newer}/style.css`)).digest("base64")}`;
  const [list, older] = [readFileSync(`${newer}/files.js`, "utf8"), digest()];
  const update = () =>
    page.evaluate(async () => {
      const registration = await navigator.serviceWorker.getRegistration();
      await registration.update().catch(() => {});
      const worker = registration.installing;
      const settled = () => /activated|redundant/.test(worker.state);
      while (!settled()) await new Promise((resolve) => worker.addEventListener("statechange", resolve, { once: true }));
      return worker.state;
    });

  appendFileSync(`${newer}/style.css`, "h1 { letter-spacing: 7px }");
  writeFileSync(`${newer}/files.js`, list.replace(older, `sha256-${"A".repeat(43)}=`)); // of yet another version
  server = spawn(PYTHON, ["-c", SERVE, newer, new URL(address).port]);
  await once(server.stdout, "data");
  assert.equal(await update(), "redundant");

  server.kill();
  await once(server, "exit");
  writeFileSync(`${newer}/files.js`, list.replace(older, digest()));
  server = spawn(PYTHON, ["-c", SERVE, newer, new URL(address).port]);
  await once(server.stdout, "data");
  assert.equal(await update(), "activated");
  await page.reload();
  await page.waitForSelector("[data-ready]");
  assert.equal(await page.$eval("h1", (title) => getComputedStyle(title).letterSpacing), "7px");
});
