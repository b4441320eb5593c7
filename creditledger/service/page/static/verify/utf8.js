// Text in UTF-8, read strictly.
import { Refusal } from "./refusal.js";

/** The text of these bytes, a mark of byte order included. */
export const decodeText = (bytes) => {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refusal("it is not UTF-8", { expected: "UTF-8", found: "other bytes" });
  }
};

export const encodeText = (text) => new TextEncoder().encode(text);
