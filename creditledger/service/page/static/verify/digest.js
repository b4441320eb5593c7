// SHA-256, by the browser.
import { concat } from "./octets.js";
import { Unable } from "./refusal.js";

/** The browser's own cryptography, which it lends to secure pages only. */
export const subtle = () => {
  if (globalThis.crypto?.subtle === undefined) {
    throw new Unable(
      "browsers lend their cryptography only to pages that come over HTTPS or from this machine",
    );
  }
  return globalThis.crypto.subtle;
};

export const sha256 = async (...parts) => new Uint8Array(await subtle().digest("SHA-256", concat(...parts)));
