// What a reader trusts: specs/log.md §10.
import { readDecimal } from "./decimal.js";
import { fromHex } from "./octets.js";
import { NO_QUORUM } from "./quorum.js";
import { need } from "./refusal.js";
import { COSIGNATURE, ED25519, ML_DSA, parseVerifierKey } from "./verifier_key.js";

export const POLICY_BYTES_MAX = 1_000_000;
const VALIDATORS_MAX = 1_024;
const DIRECTIVE = "#creditledger";

/** The policy that these bytes state. Refuses any other. */
export const parsePolicy = async (encoded) => {
  need(
    encoded.length <= POLICY_BYTES_MAX,
    "a policy is too long",
    `at most ${POLICY_BYTES_MAX} bytes`,
    `${encoded.length} bytes`,
  );
  const isAllowed = (byte) => byte === 0x09 || byte === 0x0a || (byte >= 0x20 && byte !== 0x7f);
  need(encoded.every(isAllowed), "a policy has control characters", "none but tabs and line feeds", "others");
  // One character for each byte: the words of a policy need not be text.
  const lines = Array.from(encoded, (byte) => String.fromCharCode(byte))
    .join("")
    .split("\n");
  need(lines.pop() === "", "a policy is cut short", "a line feed at its end", "none");
  const draft = new Draft();
  for (const line of lines) await draft.readLine(line.split(/[ \t]+/).filter((word) => word !== ""));
  return draft.finish();
};

class Draft {
  constructor() {
    this.logs = [];
    this.witnesses = new Map();
    this.groups = new Map();
    this.used = new Set();
    this.validators = [];
    this.once = new Map();
  }

  async readLine([verb, ...words]) {
    if (verb === undefined || (verb.startsWith("#") && !verb.startsWith(DIRECTIVE))) return;
    const name = verb === DIRECTIVE ? `${verb} ${words.shift() ?? ""}` : verb;
    const known = Object.hasOwn(LINES, name);
    const [least, most, read] = known ? LINES[name] : [1, 0, null];
    need(
      words.length >= least && words.length <= most,
      "a policy has an unknown line",
      "a line of the table",
      `${verb} ${words.join(" ")}`.slice(0, 60),
    );
    await read(this, words);
  }

  /** A new name, which nobody has. */
  requireNew(name) {
    const isTaken = name === NO_QUORUM || this.witnesses.has(name) || this.groups.has(name);
    need(!isTaken, "a policy gives a name twice", "a new name", name.slice(0, 40));
  }

  requireDefined(name) {
    const isDefined = this.witnesses.has(name) || this.groups.has(name);
    need(isDefined, "a policy names nobody", "a name of an earlier line", name.slice(0, 40));
  }

  putOnce(field, value) {
    need(!this.once.has(field), `a policy has two ${field} lines`, "one", "a second");
    this.once.set(field, value);
  }

  finish() {
    const { logs, witnesses, groups, validators, once } = this;
    const keys = [...logs.map((log) => log.key), ...witnesses.values()];
    const distinct = new Set(keys.map((key) => key.text.slice(2)));
    const members = new Set(validators);
    const needed = once.get("validators' quorum");
    need(once.has("quorum"), "a policy has no quorum", "one quorum line", "none");
    need(
      distinct.size === keys.length && members.size === validators.length,
      "a policy names a key twice",
      "each key once",
      "a second time",
    );
    need(
      validators.length <= VALIDATORS_MAX,
      "a policy has too many validators",
      `at most ${VALIDATORS_MAX}`,
      `${validators.length}`,
    );
    const isCommittee =
      validators.length === 0 ? needed === undefined : needed >= 1n && needed <= BigInt(validators.length);
    need(
      isCommittee,
      "a policy's validators have no quorum",
      "a quorum of the validators",
      `${needed ?? "none"}`,
    );
    return {
      logs,
      witnesses,
      groups,
      keys,
      quorum: once.get("quorum"),
      ledger: once.get("ledger") ?? null,
      maxAgeMs: once.get("max-age-ms") ?? null,
      committee: validators.length === 0 ? null : { size: validators.length, quorum: Number(needed) },
    };
  }
}

const readHex = (text, size) => {
  const bytes = fromHex(text);
  need(
    bytes !== null && bytes.length === size,
    "a policy has other words than hex",
    `${2 * size} lower-case digits`,
    text.slice(0, 60),
  );
  return bytes;
};

const readGroup = (draft, [name, count, ...members]) => {
  for (const member of members) draft.requireDefined(member);
  draft.requireNew(name);
  const isOnce =
    new Set(members).size === members.length && !members.some((member) => draft.used.has(member));
  need(isOnce, "a policy counts somebody twice", "a member of one group", name.slice(0, 40));
  for (const member of members) draft.used.add(member);
  const least = count === "all" ? members.length : count === "any" ? 1 : Number(readDecimal(count));
  need(
    least >= 1 && least <= members.length,
    "a group asks for more than it has",
    `1 to ${members.length}`,
    `${least}`,
  );
  draft.groups.set(name, { least, members });
};

const readKeyRange = (draft, [key, from, until]) => {
  const [first, stop] = [readDecimal(from), readDecimal(until)];
  readHex(key, 32);
  const log = draft.logs.find((one) => one.key.text.slice(2) === key && one.sizes === null);
  need(log !== undefined, "a policy limits no key", "one range for an earlier log's key", key);
  need(
    stop === 0n || first < stop,
    "a key's range is empty",
    "a size, then a larger one or 0",
    `${first} ${stop}`,
  );
  log.sizes = { first, stop };
};

/** Of each line's first words: the least and the most words behind them, and what becomes of these. */
const LINES = {
  log: [
    1,
    2,
    async (draft, [key]) => draft.logs.push({ key: await parseVerifierKey(key, [ED25519]), sizes: null }),
  ],
  witness: [
    2,
    3,
    async (draft, [name, key]) => {
      draft.requireNew(name);
      draft.witnesses.set(name, await parseVerifierKey(key, [COSIGNATURE, ML_DSA]));
    },
  ],
  group: [3, POLICY_BYTES_MAX, readGroup],
  quorum: [
    1,
    1,
    (draft, [name]) => {
      if (name !== NO_QUORUM) draft.requireDefined(name);
      draft.putOnce("quorum", name);
    },
  ],
  [`${DIRECTIVE} key`]: [3, 3, readKeyRange],
  [`${DIRECTIVE} ledger`]: [1, 1, (draft, [id]) => draft.putOnce("ledger", readHex(id, 32))],
  [`${DIRECTIVE} validator`]: [
    2,
    2,
    (draft, [key, proof]) => {
      readHex(proof, 96);
      readHex(key, 48);
      draft.validators.push(key);
    },
  ],
  [`${DIRECTIVE} quorum`]: [
    1,
    1,
    (draft, [count]) => draft.putOnce("validators' quorum", readDecimal(count)),
  ],
  [`${DIRECTIVE} max-age-ms`]: [1, 1, (draft, [age]) => draft.putOnce("max-age-ms", readDecimal(age))],
};
