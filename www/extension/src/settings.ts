/** What the user has chosen on the options page. */

export interface Settings {
  /** How many passages of a page are encoded before it is asked whether to go on. */
  readonly budget: number;
}

const DEFAULTS: Settings = { budget: 2000 };
export const BUDGETS = [500, 2000, 5000, 20_000] as const;

export async function readSettings(): Promise<Settings> {
  const { budget } = await chrome.storage.local.get({ ...DEFAULTS });
  return { budget: BUDGETS.some((known) => known === budget) ? (budget as number) : DEFAULTS.budget };
}

export function writeSettings(settings: Partial<Settings>): Promise<void> {
  return chrome.storage.local.set(settings);
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
  const others = (await allAsked()).filter((other) => other.tabId !== tabId);
  await chrome.storage.session.set({ asked: [{ tabId, ...asked }, ...others].slice(0, MAX_ASKED) });
}

async function allAsked(): Promise<AskedIn[]> {
  const { asked } = await chrome.storage.session.get({ asked: [] });
  return asked as AskedIn[];
}

/** Whether pages may be saved in private windows, as long as these are open. */
export async function maySavePrivately(): Promise<boolean> {
  return (await chrome.storage.session.get({ privateSaving: false }))["privateSaving"] === true;
}

export function allowSavingPrivately(): Promise<void> {
  return chrome.storage.session.set({ privateSaving: true });
}
