// Which fields the records have that stand in a bundle: specs/records.md §2 to §13, specs/bundle.md §1.
import { need } from "./refusal.js";

const unsigned = (most) => (value) => {
  need(typeof value === "bigint" && value <= most, "a field is no such integer", `0..${most}`, shown(value));
  return value;
};

const octets = (least, most) => (value) => {
  const fits = value instanceof Uint8Array && value.length >= least && value.length <= most;
  need(
    fits,
    "a field is no such byte string",
    least === most ? `${least} bytes` : `${least} to ${most} bytes`,
    shown(value),
  );
  return value;
};

const name = (value) => {
  octets(1, 64)(value);
  const text = String.fromCharCode(...value);
  need(/^[a-z0-9._-]+$/.test(text), "a field is no name", "a-z, 0-9 and . _ -", "something else");
  return text;
};

const many =
  (item, most = 65_535) =>
  (value) => {
    need(
      Array.isArray(value) && value.length <= most,
      "a field is no such array",
      `at most ${most} items`,
      shown(value),
    );
    return value.map(item);
  };

const shown = (value) => {
  if (typeof value === "bigint") return `${value}`;
  return Array.isArray(value) ? `an array of ${value.length}` : `${value.length} bytes`;
};

/** Reads an array of values as the named fields of `layout`. */
const row = (layout) => (values) => {
  const fields = Object.entries(layout);
  need(
    Array.isArray(values) && values.length === fields.length,
    "a row has another number of fields",
    `${fields.length}`,
    shown(values),
  );
  const read = Object.fromEntries(fields.map(([field, kind], at) => [field, kind(values[at])]));
  RULES.get(layout)?.(read);
  return read;
};

const U63 = unsigned(2n ** 63n - 1n);
const U32 = unsigned(2n ** 32n - 1n);
const LAYER = unsigned(65_535n);
const MEMBER = unsigned(1_023n);
const CODE = unsigned(127n);
const DIGEST = octets(32, 32);
const CLIENT_ID = octets(16, 16);

const SPAN = { layer_start: LAYER, layer_stop: LAYER, node: DIGEST };
const HEAD = { node: DIGEST, layer_start: LAYER, receipt: DIGEST, positions: U32 };
const NUMERICS = {
  weights: CODE,
  activations: CODE,
  accumulation: CODE,
  kv_cache: CODE,
  bf16_partials: CODE,
  kernel_class: CODE,
};
const HOLD = {
  id: CLIENT_ID,
  holder: DIGEST,
  amount_micro: U63,
  job: DIGEST,
  queue: DIGEST,
  hardware: name,
  gpus: U32,
  duration_ms: U63,
  micro_per_gpu_second: U63,
  expires_unix_ms: U63,
};
const LEAF = { index: U32, path: many(DIGEST) };
const PLACE = { time_unix_ms: U63, index: U63, path: many(DIGEST) };
const signed = (size, places) => ({
  record: octets(1, 32_768),
  signature: octets(size, size),
  place: many(row(PLACE), places),
});
const LOGGED = signed(64, 1);
const LOOSE = signed(64, 0);
const REVEALED = signed(96, 0);
const CERTIFIED = { round: row(LOGGED), signers: octets(1, 128), aggregate: octets(96, 96) };
const MAP_VALUE = { value: octets(0, 1_024), proof: octets(1, 16_384) };
const VERDICT_SHOWN = { reveal: row(REVEALED), verdict: octets(1, 512), leaf: row(LEAF) };

const RULES = new Map([
  [
    NUMERICS,
    (it) => need(it.bf16_partials <= 1n, "bf16_partials is neither 0 nor 1", "0 or 1", `${it.bf16_partials}`),
  ],
]);

const LAYOUTS = {
  job: [
    16n,
    {
      id: CLIENT_ID,
      client: DIGEST,
      model: DIGEST,
      plan: many(row(SPAN)),
      max_positions: U32,
      max_price_micro: U63,
      hold_id: CLIENT_ID,
      parameters: DIGEST,
      expires_unix_ms: U63,
    },
  ],
  receipt: [
    17n,
    {
      job: DIGEST,
      node: DIGEST,
      layer_start: LAYER,
      layer_stop: LAYER,
      window_start: U32,
      positions: U32,
      input_root: DIGEST,
      output_root: DIGEST,
      sketch: DIGEST,
      previous: DIGEST,
      model: DIGEST,
      numerics: row(NUMERICS),
      output_kind: CODE,
      sampler: DIGEST,
      started_unix_ms: U63,
      duration_ms: U63,
    },
  ],
  batch: [18n, { node: DIGEST, root: DIGEST, count: U32, sealed: DIGEST, audit_epoch: U32 }],
  delivery: [19n, { client: DIGEST, job: DIGEST, heads: many(row(HEAD)), closes: CODE }],
  round: [32n, { number: U63, log_size: U63, log_root: DIGEST, map_root: DIGEST, parameters: DIGEST }],
  reveal: [36n, { round: U63, member: MEMBER, count: U32, root: DIGEST, salt: DIGEST }],
  verdict: [
    37n,
    {
      round: U63,
      member: MEMBER,
      receipt: DIGEST,
      outcome: CODE,
      reason: CODE,
      cusum_step_biased: unsigned(12_000_000n),
      evidence: DIGEST,
    },
  ],
  hold: [50n, HOLD],
  delegated_hold: [59n, { ...HOLD, delegate: DIGEST }],
  account_state: [
    80n,
    {
      account: DIGEST,
      role: CODE,
      name,
      available_micro: U63,
      overdrawn_micro: U63,
      held_micro: U63,
      unvested_micro: U63,
      credit_line_micro: U63,
      verified_micro: U63,
      metered_micro: U63,
      suspended: CODE,
    },
  ],
  hold_state: [
    81n,
    {
      hold: DIGEST,
      holder: DIGEST,
      job: DIGEST,
      queue: DIGEST,
      amount_micro: U63,
      captured_micro: U63,
      status: CODE,
      expires_unix_ms: U63,
    },
  ],
  key_state: [82n, { key: DIGEST, account: DIGEST, role: CODE, from_index: U63, until_index: U63 }],
  receipt_state: [
    83n,
    {
      receipt: DIGEST,
      job: DIGEST,
      node: DIGEST,
      layer_start: LAYER,
      positions: U32,
      batch_index: U63,
      round: U63,
      due: CODE,
      upheld: CODE,
      refuted: CODE,
      inconclusive: CODE,
      outcome: CODE,
      settled: CODE,
    },
  ],
  lot_state: [
    84n,
    {
      job: DIGEST,
      node: DIGEST,
      layer_start: LAYER,
      amount_micro: U63,
      settled_round: U63,
      settled_unix_ms: U63,
      vested: CODE,
    },
  ],
  bundle: [
    96n,
    {
      subject: CODE,
      ledger: DIGEST,
      body: octets(0, 1_024),
      leaf: many(row(LEAF), 1),
      entry: many(row(LOGGED), 1),
      job: many(row(LOOSE), 1),
      delivery: many(row(LOOSE), 1),
      checkpoint: octets(0, 16_384),
      certified: many(row(CERTIFIED), 1),
      states: many(row(MAP_VALUE), 7),
      verdicts: many(row(VERDICT_SHOWN), 8),
    },
  ],
};

/** The number of a kind of record. */
export const kindNumber = (kind) => LAYOUTS[kind][0];

/** The fields of a record of `kind`, from the values behind kind and version. */
export const readFields = (kind, values) => row(LAYOUTS[kind][1])(values);
