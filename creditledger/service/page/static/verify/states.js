// What a certified round says of a bundle's subject: specs/bundle.md §3.
import { ascii, concat, equal, fromNumber, hex } from "./octets.js";
import { decodeRecord, kindOf, recordDigest } from "./record.js";
import { need } from "./refusal.js";
import { isIndex } from "./signers.js";
import { verifyMap } from "./sparse_map.js";

const KEY_STATE = 82n;
const LOT_STATE = 84n;
const REPEATED = {
  receipt: ["job", "node", "layer_start", "positions"],
  hold: ["holder", "job", "queue", "amount_micro", "expires_unix_ms"],
  lot: ["job", "node", "layer_start"],
  account: [],
  key: [],
};

/** A bundle's states by what they are: `own`, `lot`, `keys`, `indices`. Refuses any other order. */
export const splitStates = (bundle) => {
  const rest = [...bundle.states];
  const own = bundle.subject === "batch" ? null : (rest.shift() ?? null);
  const hasLot = bundle.subject === "receipt" && rest.length > 0 && kindOf(rest[0].value) === LOT_STATE;
  const lot = hasLot ? rest.shift() : null;
  const stop = rest.findIndex((shown) => kindOf(shown.value) !== KEY_STATE);
  const keys = stop < 0 ? rest : rest.slice(0, stop);
  const indices = stop < 0 ? [] : rest.slice(stop);
  const isOrdered = indices.every(isIndex) && (indices.length === 0 || keys.length > 0);
  need(
    isOrdered,
    "states are of other kinds or in another order",
    "the subject's, a lot, keys, indices",
    "others",
  );
  return { own, lot, keys, indices };
};

/** The certified states, `own` (null for a batch and an absence) and `lot`. `record`: the receipt or the hold. */
export const readStates = async (bundle, record, round, shown) => {
  const { subject, body, ledger } = bundle;
  if (shown.own === null) return { own: null, lot: null };
  if (subject === "absent") {
    need(shown.own.value.length === 0, "an absence has a value", "none", `${shown.own.value.length} bytes`);
    await verifyMap(round.map_root, concat(ascii("consumed/"), body), null, shown.own.proof);
    return { own: null, lot: null };
  }
  const id = record === null ? body : await recordDigest(record, ledger);
  const own = await readState(round, subject, shown.own, id, record);
  need(equal(own[subject], id), "the state is of something else", hex(id), hex(own[subject]));
  if (subject !== "receipt") return { own, lot: null };
  const { index } = bundle.entry[0].place[0];
  need(own.batch_index === index, "the state is of another entry", `${index}`, `${own.batch_index}`);
  need(own.outcome <= 3n, "the state has an unknown outcome", "0 to 3", `${own.outcome}`);
  return { own, lot: await readLot(round, shown.lot, record, own) };
};

const readLot = async (round, shown, receipt, state) => {
  if (shown === null) return null;
  need(state.settled > 0n, "only a settled receipt has a lot", "no lot", "one");
  return readState(round, "lot", shown, concat(receipt.job, fromNumber(receipt.layer_start, 2)), receipt);
};

const readState = async (round, name, shown, id, subject) => {
  need(shown.value.length > 0, "a state has no value", "one", "none");
  await verifyMap(round.map_root, concat(ascii(`${name}/`), id), shown.value, shown.proof);
  const state = decodeRecord(shown.value, `${name}_state`);
  for (const field of REPEATED[name]) {
    const isSame =
      typeof state[field] === "bigint"
        ? state[field] === subject[field]
        : equal(state[field], subject[field]);
    need(
      isSame,
      `the state names another ${field.replace("_", " ")}`,
      text(subject[field]),
      text(state[field]),
    );
  }
  return state;
};

const text = (value) => (typeof value === "bigint" ? `${value}` : hex(value));
