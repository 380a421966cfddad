// Three pages of the site in Chromium, from files: nothing is fetched, so that any request but for a file is a fault.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";

const { CHROMIUM, PACKAGES, SITE, SCREENSHOTS } = process.env;
const packages = createRequire(`${PACKAGES}/`);
const puppeteer = packages("puppeteer-core");
const AXE = readFileSync(packages.resolve("axe-core/axe.min.js"), "utf8");

test("three pages, on a phone and a desktop, light and dark", async () => {
  const browser = await puppeteer.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--allow-file-access-from-files"] });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(60_000);
    page.on("request", (request) => assert.match(request.url(), /^(file|data|blob):/));
    for (const name of ["index", "notebooks/01_eda", "train_model/MODEL_CARD"]) {
      for (const mode of ["light", "dark"]) {
        for (const width of [360, 1280]) {
          await page.setViewport({ width, height: 900 });
          await page.goto(`file://${SITE}/${name}.html`);
          await page.evaluate((mode) => {
            localStorage.setItem("mode", mode);
            localStorage.setItem("theme", mode);
          }, mode);
          await page.reload();
          const where = `${name}, ${mode}, ${width} pixels`;
          assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), mode, where);
          if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/${name.replace("/", "_")}_${mode}_${width}.png` });
          assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, where);
          assert.ok(await page.$eval(".try", (link) => link.checkVisibility()), where);
          await page.evaluate(AXE);
          const { violations } = await page.evaluate(() => axe.run({ resultTypes: ["violations"] }));
          assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.slice(0, 5).map(({ html }) => html)]), [], where);
        }
      }
    }
    await page.goto(`file://${SITE}/search.html?q=threshold`);
    await page.waitForSelector("#search-results li a");
  } finally {
    await browser.close();
  }
});
