// Which parts a bundle carries, by what it is about: specs/bundle.md §1 and §2.
import { need } from "./refusal.js";
import { decodeRecord } from "./record.js";

export const SUBJECTS = { 1: "receipt", 2: "batch", 3: "hold", 4: "account", 5: "key", 6: "absent" };
const STATES_MAX = { receipt: 7, hold: 2 };

/** The bundle that these bytes spell, `subject` in words. Refuses other parts than its subject asks for. */
export const openBundle = (encoded) => {
  const bundle = decodeRecord(encoded, "bundle");
  const subject = SUBJECTS[bundle.subject];
  need(subject !== undefined, "the bundle is about nothing known", "subject 1 to 6", `${bundle.subject}`);
  for (const [holds, part] of rules(bundle, subject)) {
    need(holds, "the bundle carries other parts than its subject asks for", part, `a bundle of: ${subject}`);
  }
  return { ...bundle, subject };
};

function* rules(it, subject) {
  const isReceipt = subject === "receipt";
  const hasEntry = isReceipt || subject === "batch" || subject === "hold";
  const [isLogged, isCertified] = [it.checkpoint.length > 0, it.certified.length > 0];
  const placed = [...it.entry, ...it.certified.map((part) => part.round)];
  yield [(it.leaf.length === 1) === isReceipt, "a leaf with a receipt only"];
  yield [(it.entry.length === 1) === hasEntry, "an entry with a receipt, batch or hold only"];
  yield [
    isReceipt ? it.body.length > 0 : it.body.length === (hasEntry ? 0 : 32),
    "a receipt, an id of 32 bytes, or nothing",
  ];
  yield [
    isReceipt || it.job.length + it.delivery.length + it.verdicts.length === 0,
    "job, delivery and verdicts with a receipt only",
  ];
  yield [it.delivery.length <= it.job.length, "a delivery with its job only"];
  yield [isLogged || !isCertified, "a certified round with a checkpoint only"];
  yield [it.states.length > 0 === isCertified, "states exactly with a certified round"];
  yield [it.states.length <= (STATES_MAX[subject] ?? 1), "no more states than its subject has"];
  yield [isCertified || it.verdicts.length === 0, "verdicts with a certified round only"];
  yield [placed.every((part) => (part.place.length === 1) === isLogged), "places exactly with a checkpoint"];
  yield [isCertified || isReceipt || subject === "batch", "a certified round"];
}
