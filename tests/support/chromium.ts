// Chromium, by playwright.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { chromium } from "playwright-core";

import { FLAGS } from "./browser.ts";
import { callText, type Engine, findProgram, resultOf } from "./engine.ts";
import { temporaryFolder } from "./temporary.ts";

/** Of the setting "Block all cookies", which also blocks IndexedDB and locks. */
const BLOCKED = { profile: { default_content_setting_values: { cookies: 2 } } };

const program = findProgram("CHROME", "chromium");

export const CHROMIUM: Engine = {
  name: "Chromium",
  program,
  async start({ blocksStorage = false } = {}) {
    const profile = await temporaryFolder();
    if (blocksStorage) {
      await mkdir(join(profile, "Default"));
      await writeFile(join(profile, "Default/Preferences"), JSON.stringify(BLOCKED));
    }
    const context = await chromium.launchPersistentContext(profile, { executablePath: program!, args: FLAGS });
    const page = await context.newPage();
    return {
      open: async (url) => void (await page.goto(url)),
      evaluate: async (action, argument) => resultOf(await page.evaluate(callText(action, argument))),
      close: () => context.close(),
    };
  },
};
