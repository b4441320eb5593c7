// What a browser can tell of a round's certificate without its pairings: specs/rounds.md §2.
import { need } from "./refusal.js";

/** How many of the committee the certificate names. Refuses a bitmap that does not fit, and too few. */
export const countSigners = (bitmap, committee) => {
  const width = Math.ceil(committee.size / 8);
  const bits = Array.from({ length: 8 * bitmap.length }, (_, at) => (bitmap[at >> 3] >> (at & 7)) & 1);
  const isFitting = bitmap.length === width && bits.slice(committee.size).every((bit) => bit === 0);
  need(
    isFitting,
    "the certificate does not fit the committee",
    `${width} bytes for ${committee.size} members`,
    `${bitmap.length} bytes`,
  );
  const count = bits.filter((bit) => bit === 1).length;
  need(
    count >= committee.quorum,
    "too few members certified",
    `${committee.quorum} of ${committee.size}`,
    `${count}`,
  );
  return count;
};
