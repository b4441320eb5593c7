// Numbers as notes and policies write them: specs/log.md.
import { need } from "./refusal.js";

/** A BigInt from 0 to 2^63-1, from digits without a leading zero. */
export const readDecimal = (text) => {
  const isDecimal = /^(?:0|[1-9][0-9]{0,18})$/.test(text) && BigInt(text) < 2n ** 63n;
  need(isDecimal, "it is no number", "a decimal below 2^63", text.slice(0, 40));
  return BigInt(text);
};
