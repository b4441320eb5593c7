// What a bundle says, in words: believed as far as its check goes.
import { hex } from "./octets.js";

const credits = (micro) => {
  const digits = `${micro}`.padStart(7, "0");
  const rest = digits.slice(-6).replace(/0+$/, "");
  const whole = digits.slice(0, -6).replace(/\B(?=(\d{3})+$)/g, ",");
  return `${whole}${rest === "" ? "" : "."}${rest} credits`;
};

const moment = (unixMs) =>
  unixMs < 8_640_000_000_000_000n
    ? `${new Date(Number(unixMs)).toISOString().slice(0, 19).replace("T", " ")} UTC`
    : `${unixMs} ms`;

const HOLD_STATUS = { 1: "open", 2: "captured", 3: "released", 4: "expired", 5: "settled" };

const OF = {
  receipt: ({ record }) => [
    ["Node", hex(record.node)],
    ["Job", hex(record.job)],
    ["Model", hex(record.model)],
    ["Layers", `${record.layer_start} to ${record.layer_stop - 1n}`],
    ["Positions", `${record.window_start} to ${record.window_start + record.positions - 1n}`],
    ["Output", record.output_kind === 1n ? "activations" : "tokens"],
    ["Started", moment(record.started_unix_ms)],
    ["Took", `${record.duration_ms} ms`],
  ],
  batch: ({ record }) => [
    ["Node", hex(record.node)],
    ["Receipts", `${record.count}`],
    ["Root", hex(record.root)],
  ],
  hold: ({ record, own }) => [
    ["Holder", hex(record.holder)],
    ["Queue", hex(record.queue)],
    ["Amount", credits(record.amount_micro)],
    ["Hardware", record.hardware],
    ["Expires", moment(record.expires_unix_ms)],
    ["Status, as the round says", HOLD_STATUS[own.status] ?? `${own.status}`],
    ["Captured, as the round says", credits(own.captured_micro)],
  ],
  account: ({ own }) => [
    ["Account", hex(own.account)],
    ["Name", own.name],
    ["Available, as the round says", credits(own.available_micro)],
    ["Overdrawn, as the round says", credits(own.overdrawn_micro)],
    ["Held, as the round says", credits(own.held_micro)],
    ["Unvested, as the round says", credits(own.unvested_micro)],
  ],
  key: ({ own }) => [
    ["Key", hex(own.key)],
    ["Account, as the round says", hex(own.account)],
    ["From entry", `${own.from_index}`],
    ["Until entry", own.until_index === 0n ? "still in force" : `${own.until_index}`],
  ],
  absent: ({ bundle }) => [["Never accepted, as the round says", hex(bundle.body)]],
};

/** Pairs of a name and a text. */
export const factsOf = (it) => [["Ledger", hex(it.bundle.ledger)], ...OF[it.bundle.subject](it)];
