// Draws the pictures that a store wants, of 1280 x 800 pixels, from the extension as it is built: `npx tsx tests/store-pictures.ts FOLDER`.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import type { Page } from "playwright-core";

import { best, copyOfExtension, openExtension, servePages } from "./support/extension.ts";
import { temporaryFolder } from "./support/temporary.ts";

const SIZE = { width: 1280, height: 800 };
/** Of the side panel. */
const PANEL_WIDTH = 400;

const article = (title: string, paragraphs: readonly string[]) => `<!doctype html><title>${title}</title>
  <style>body { max-width: 38rem; margin: 3rem 0 3rem 4rem; font: 1.15rem/1.6 Georgia, serif; color: #222; background: #fdfcf9 }
  h1 { font-weight: 400 }</style><main><h1>${title}</h1>${paragraphs.map((text) => `<p>${text}</p>`).join("")}</main>`;

const PAGES = {
  "/bread": {
    body: article("Notes on bread", [
      "Feed the starter with flour and water twice a day, and keep it in a warm corner of the kitchen.",
      "When the dough stays flat, the yeast was too old or the water too hot: wake it in lukewarm water with a little sugar first.",
      "A heavy iron pot keeps the steam of the loaf inside, which makes the crust crisp.",
      "Rye flour takes up more water than wheat, so the same recipe gives a stickier crumb.",
      "Let the loaf cool on a rack for an hour before the first slice, or the crumb turns gummy.",
    ]),
  },
  "/harbour": {
    body: article("The harbour", [
      "Fishermen mend their nets in the morning sun.",
      "The ferry to the island leaves at noon, unless the wind is too strong.",
      "Tickets cost four crowns and are sold on the quay.",
      "In winter the lighthouse keeper walks over the ice.",
    ]),
  },
};

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("Name the folder for the pictures: npx tsx tests/store-pictures.ts FOLDER");
await mkdir(folder, { recursive: true });
const site = await servePages(PAGES);
const opened = await openExtension(await copyOfExtension(), { profile: await temporaryFolder() });
const { context } = opened;

const save = (page: Page, name: string) => page.screenshot({ path: join(folder, `${name}.png`) });

async function open(path: keyof typeof PAGES): Promise<Page> {
  const page = await opened.openSite(site.origin, path);
  await page.setViewportSize(SIZE);
  return page;
}

/** The page with the panel where the browser shows it, which no screenshot of the page holds. */
async function saveBeside(page: Page, panel: Page, style: string, name: string): Promise<void> {
  const [back, front] = await Promise.all(
    [page, panel].map(async (shown) => (await shown.screenshot()).toString("base64")),
  );
  const composed = await context.newPage();
  await composed.setViewportSize(SIZE);
  await composed.setContent(`<body style="margin: 0"><img src="data:image/png;base64,${back}">
    <img style="position: fixed; ${style}" src="data:image/png;base64,${front}">`);
  await save(composed, name);
  await composed.close();
}

try {
  const harbour = await open("/harbour");
  const saving = await opened.openPanel(harbour);
  await saving.getByRole("button", { name: "Save this page" }).click();
  await saving.getByRole("button", { name: "Saved", exact: true }).waitFor({ timeout: 60_000 });
  await saving.close();
  await harbour.close();

  const bread = await open("/bread");
  const popup = await opened.openPanel(bread);
  await best(popup, "my bread does not rise");
  await saveBeside(bread, popup, "top: 8px; right: 24px; border-radius: 12px; box-shadow: 0 8px 32px #0006", "1-popup");

  await popup.locator(".hit-target").first().click();
  await bread.locator("embervec-hits").waitFor();
  await save(bread, "2-mark");
  await popup.close();

  const side = await opened.openPanel(bread, "side-panel.html");
  await side.setViewportSize({ width: PANEL_WIDTH, height: SIZE.height });
  await side.getByRole("radio", { name: "Both" }).check({ force: true });
  await best(side, "when does the boat sail");
  await saveBeside(bread, side, "top: 0; right: 0; border-left: 1px solid #0003", "3-side-panel");

  const [reader] = await Promise.all([context.waitForEvent("page"), side.locator("a.hit-target").first().click()]);
  await reader.setViewportSize(SIZE);
  await reader.locator("mark").waitFor();
  await save(reader, "4-saved-page");

  const options = await context.newPage();
  await options.setViewportSize(SIZE);
  await options.goto(`chrome-extension://${opened.id}/options.html`);
  await options.getByText(/^1 page with/).waitFor();
  await save(options, "5-options");
} finally {
  await context.close();
  site.close();
}
