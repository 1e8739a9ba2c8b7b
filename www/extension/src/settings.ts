/** What the user has chosen on the options page. */

export interface Settings {
  /** How many passages of a page are encoded before it is asked whether to go on. */
  readonly budget: number;
  /** Whether saved pages and queries are kept in private windows, in memory, until the last of these is closed. */
  readonly isKeptPrivately: boolean;
}

const DEFAULTS: Settings = { budget: 2000, isKeptPrivately: false };
export const BUDGETS = [500, 2000, 5000, 20_000] as const;

export async function readSettings(): Promise<Settings> {
  const { budget, isKeptPrivately } = await chrome.storage.local.get({ ...DEFAULTS });
  return {
    budget: BUDGETS.some((known) => known === budget) ? (budget as number) : DEFAULTS.budget,
    isKeptPrivately: isKeptPrivately === true,
  };
}

export function writeSettings(settings: Partial<Settings>): Promise<void> {
  return chrome.storage.local.set(settings);
}

// Private windows. Their pages have a `localStorage` of their own, in memory, which ends with the last of them; `chrome.storage` is
// that of the ordinary windows, also its area `session`.

const isPrivate = chrome.extension.inIncognitoContext;
const ALLOWED = "storing is allowed";
const ASKED = "asked";

/** Whether anything may be stored: in a private window only what the person has allowed, here or on the options page. */
export async function mayStore(): Promise<boolean> {
  return !isPrivate || localStorage.getItem(ALLOWED) !== null || (await readSettings()).isKeptPrivately;
}

/** In private windows, until the last one is closed. */
export function allowStoring(): void {
  localStorage.setItem(ALLOWED, "yes");
}

// What was asked in which tab, as long as the browser runs.

export interface Asked {
  readonly query: string;
  readonly scope: string;
}

const MAX_ASKED = 50;

type AskedIn = Asked & { readonly tabId: number };

export async function readAsked(tabId: number): Promise<Asked | undefined> {
  return (await allAsked()).find((asked) => asked.tabId === tabId);
}

export async function writeAsked(tabId: number, asked: Asked): Promise<void> {
  if (!(await mayStore())) return;
  const others = (await allAsked()).filter((other) => other.tabId !== tabId);
  const all = [{ tabId, ...asked }, ...others].slice(0, MAX_ASKED);
  if (isPrivate) localStorage.setItem(ASKED, JSON.stringify(all));
  else await chrome.storage.session.set({ [ASKED]: all });
}

async function allAsked(): Promise<AskedIn[]> {
  if (isPrivate) return JSON.parse(localStorage.getItem(ASKED) ?? "[]") as AskedIn[];
  return (await chrome.storage.session.get({ [ASKED]: [] }))[ASKED] as AskedIn[];
}
