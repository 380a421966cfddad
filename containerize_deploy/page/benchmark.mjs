// Drives the page for benchmark.py, which sends lines of JSON, {"do": NAME, ...}, and gets a line of JSON for each.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [packages, chromium, address] = process.argv.slice(2);
const puppeteer = createRequire(`${packages}/`)("puppeteer-core");
const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--use-fake-device-for-media-stream=fps=60"], // faster than the page, to see its own bound
});
let page;

const commands = {
  /** Opens the page in a new profile, or again in the same one; milliseconds until it is ready. */
  async visit({ again = false }) {
    if (!again) {
      await page?.browserContext().close();
      const context = await browser.createBrowserContext();
      await context.overridePermissions(address, ["camera"]);
      page = await context.newPage();
    }
    await page.goto(address);
    const milliseconds = await page.evaluate(
      () =>
        new Promise((resolve) => {
          const look = () => ("ready" in document.documentElement.dataset ? resolve(performance.now()) : setTimeout(look));
          look();
        }),
    );
    await page.waitForSelector("[data-offline]");
    return milliseconds;
  },

  /** Answers of files: title, percentages, and milliseconds in all. */
  async answers({ files }) {
    const input = await page.$("#files");
    await input.uploadFile(...files);
    const cards = "#answers .answer[data-label], #answers [data-state=failed]";
    await page.waitForFunction((cards, count) => document.querySelectorAll(cards).length === count, {}, cards, files.length);
    const given = await page.$$eval("#answers ol > li", (cards) =>
      cards.map((card) => ({
        title: card.querySelector("h3").innerText,
        shares: [...card.querySelectorAll(".share")].map((share) => parseFloat(share.innerText)),
        milliseconds: parseFloat(card.querySelector(".time")?.innerText),
      })),
    );
    await page.click("#clear");
    return given;
  },

  /** Answers per second from a camera, over some seconds. */
  async camera({ seconds }) {
    await page.click("#open-camera");
    await page.waitForSelector("#camera .answer[data-label]");
    const rate = await page.evaluate(async (seconds) => {
      let count = 0;
      const observer = new MutationObserver(() => count++);
      observer.observe(document.querySelector("#camera .answer"), { childList: true, attributes: false });
      const start = performance.now();
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      observer.disconnect();
      return (1000 * count) / (performance.now() - start);
    }, seconds);
    await page.click("#close-camera");
    return rate;
  },

  /** A picture of the page with the drawn examples answered. */
  async screenshot({ path }) {
    await commands.visit({ again: true });
    await page.setViewport({ width: 960, height: 720 });
    for (const example of ["mountain", "forest", "coast"]) await page.click(`[data-example="${example}.jpg"]`);
    await page.waitForFunction(() => document.querySelectorAll("#answers .answer[data-label]").length === 3);
    await page.evaluate(() => document.activeElement.blur());
    await page.screenshot({ path, fullPage: true });
    await page.click("#clear");
    return path;
  },

  version: () => browser.version(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...options } = JSON.parse(line);
  console.log(JSON.stringify(await commands[name](options)));
}
await browser.close();
