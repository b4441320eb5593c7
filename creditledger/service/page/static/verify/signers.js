// Under which key each record must verify: an account's first, or one that the round shows: specs/bundle.md §5.
import { verifySignature } from "./ed25519.js";
import { ascii, concat, equal, hex, isAscending, toNumber } from "./octets.js";
import { decodeRecord, recordDigest, signingBytes } from "./record.js";
import { need } from "./refusal.js";
import { verifyMap } from "./sparse_map.js";

const INDEX_BYTES = 8;

/** The keys that a bundle shows, each proven under the map of `round`; none without a round. */
export class Signers {
  constructor(ledger, round, keys, indices) {
    this.ledger = ledger;
    this.round = round;
    this.keys = keys;
    this.indices = indices;
    this.unused = new Set(keys.map((state) => hex(state.key)));
  }

  /** `shown`: the bundle's states as `splitStates` tells them apart. */
  static async read(ledger, round, shown) {
    const keys = shown.keys.map((one) => decodeRecord(one.value, "key_state"));
    for (const [at, state] of keys.entries()) {
      await verifyMap(
        round.map_root,
        concat(ascii("key/"), state.key),
        shown.keys[at].value,
        shown.keys[at].proof,
      );
    }
    need(
      isAscending(keys.map((state) => state.key)),
      "keys are out of order",
      "ascending, each once",
      "others",
    );
    return new Signers(ledger, round, keys, [...shown.indices]);
  }

  /** Refuses a signature that is not by the key of `account` at the record's index.
   *  Answers whether that was a key that only the round speaks for. */
  async verify(signed, record, account) {
    const own = this.keys.filter((state) => equal(state.account, account));
    const key = own.length === 0 ? account : await this.keyInForce(own, signed, record);
    this.unused.delete(hex(key));
    await verifySignature(key, signingBytes(record, this.ledger), signed.signature);
    return { key, isLater: own.length > 0 };
  }

  async keyInForce(own, signed, record) {
    const index = signed.place.length === 1 ? signed.place[0].index : await this.readIndex(record);
    const size = this.round.log_size;
    const covers = (state) => state.from_index <= index && index < (state.until_index || size);
    const found = index < size ? own.find(covers) : undefined;
    need(
      found !== undefined,
      "no key that is shown signs at the record's index",
      own.map((state) => `${state.from_index} until ${state.until_index}`).join(", "),
      `entry ${index}`,
    );
    return found.key;
  }

  /** Where a record without a place stands: the next of the indices. */
  async readIndex(record) {
    const shown = this.indices.shift();
    need(
      shown !== undefined,
      "a record comes without the index of its entry",
      "its value under consumed/",
      "none",
    );
    const key = concat(ascii("consumed/"), await recordDigest(record, this.ledger));
    await verifyMap(this.round.map_root, key, shown.value, shown.proof);
    return toNumber(shown.value);
  }

  requireAllUsed() {
    need(
      this.unused.size === 0,
      "the bundle shows a key that signed nothing in it",
      "keys of its signers",
      [...this.unused][0],
    );
    need(
      this.indices.length === 0,
      "the bundle shows an index of nothing in it",
      "indices of its job and delivery",
      `${this.indices.length}`,
    );
  }
}

export const isIndex = (shown) => shown.value.length === INDEX_BYTES;
