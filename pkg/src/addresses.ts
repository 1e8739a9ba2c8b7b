// What is known of addresses without a page or a model.

export const DEFAULT_HUB = "https://huggingface.co";

/** As a page has it that was opened with a name and a password. Next.js gives addresses of its assets without an origin. */
export function withoutCredentials(address: string | URL): URL {
  const url = String(address).startsWith("/") ? new URL(address, location.origin) : new URL(address);
  url.username = url.password = "";
  return url;
}
