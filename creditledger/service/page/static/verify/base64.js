// Base64 in its one spelling: standard, padded, nothing else.
import { need } from "./refusal.js";

/** The bytes that `text` spells. Refuses what `btoa` would not have written. */
export const decodeBase64 = (text) => {
  const isSpelt = /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0;
  const raw = isSpelt ? atob(text) : "";
  need(isSpelt && btoa(raw) === text, "it is not base64", "its canonical spelling", text.slice(0, 40));
  return Uint8Array.from(raw, (char) => char.charCodeAt(0));
};
