// Records that stand in the log: specs/bundle.md §3, specs/records.md §14.
import { decode, encode } from "./canonical.js";
import { leafHash, verifyInclusion } from "./merkle.js";
import { need } from "./refusal.js";

/** Refuses a signed record that does not stand in the tree of `head` at the place it names. */
export const verifyPlace = async (signed, head) => {
  need(signed.place.length === 1, "a record has no place in the log", "one", "none");
  const [place] = signed.place;
  const entry = encode([1n, 1n, place.time_unix_ms, decode(signed.record), signed.signature]);
  await verifyInclusion(await leafHash(entry), place.index, head.size, head.root, place.path);
};
