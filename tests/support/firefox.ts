// Firefox, by WebDriver BiDi.

import puppeteer from "puppeteer-core";

import { callText, type Engine, findProgram, resultOf } from "./engine.ts";
import { temporaryFolder } from "./temporary.ts";

/** Blocks all cookies, and with them IndexedDB and locks. */
const BLOCKED = { "network.cookie.cookieBehavior": 2 };

/** A page may take as long as the test may. */
const NO_TIMEOUT = 0;

/**
 * Firefox's WebAssembly has SSE instructions. On some Intel processors each costs a hundred times as much once glibc
 * has used AVX-512, so glibc must not. Seen with Firefox 140 and glibc 2.36 on a Xeon with AVX-VNNI: 3 s for one short
 * text, where WebKit took 15 ms.
 */
const ENVIRONMENT = { GLIBC_TUNABLES: "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW" };

/** Starts the program, and ends it with all its processes when the input closes: with this process, whatever ends it. */
const START = `
  exec 3<&0
  { read -r _ <&3; kill -KILL 0; } &
  exec "$0" "$@" 3<&-
`;

const program = findProgram("FIREFOX", "firefox-esr", "firefox");

export const FIREFOX: Engine = {
  name: "Firefox",
  program,
  async start({ blocksStorage = false } = {}) {
    const home = await temporaryFolder();
    const args = ["--headless", "--profile", home];
    const hasShell = process.platform !== "win32";
    const browser = await puppeteer.launch({
      browser: "firefox",
      executablePath: hasShell ? "/bin/sh" : program!,
      args: hasShell ? ["-c", START, program!, ...args] : args,
      ignoreDefaultArgs: true,
      // Root does not run it in a home folder of somebody else's.
      env: { ...process.env, ...ENVIRONMENT, HOME: home },
      extraPrefsFirefox: blocksStorage ? BLOCKED : {},
      protocolTimeout: NO_TIMEOUT,
      // It would end the browser, but not the tests.
      handleSIGTERM: false,
    });
    const page = await browser.newPage();
    return {
      open: async (url) => void (await page.goto(url)),
      evaluate: async (action, argument) => resultOf(await page.evaluate(callText(action, argument))),
      close: () => browser.close(),
    };
  },
};
