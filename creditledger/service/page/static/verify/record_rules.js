// Rules between the fields of a record: specs/records.md §8, §9, §11, §12 and §13.
import { equal, isZero } from "./octets.js";
import { need } from "./refusal.js";

const isPlan = (spans) =>
  spans.length >= 1 &&
  spans.length <= 256 &&
  spans.every(
    (span, at) =>
      span.layer_start < span.layer_stop && (at === 0 || span.layer_start === spans[at - 1].layer_stop),
  );

const isWindow = (it) =>
  it.layer_start < it.layer_stop &&
  it.window_start % 256n === 0n &&
  it.positions >= 1n &&
  it.positions <= 256n;

const areHeads = (heads) =>
  heads.length >= 1 && heads.every((head, at) => at === 0 || heads[at - 1].layer_start < head.layer_start);

const isHold = (it) => it.amount_micro > 0n && isZero(it.job) !== isZero(it.queue);

const RULES = {
  job: (it) => isPlan(it.plan) && it.max_positions >= 1n,
  receipt: (it) => isWindow(it) && (it.output_kind === 2n || (it.output_kind === 1n && isZero(it.sampler))),
  batch: (it) => it.count >= 1n && it.count <= 4_096n,
  delivery: (it) => areHeads(it.heads) && it.closes <= 1n,
  verdict: (it) => it.outcome >= 1n && it.outcome <= 3n && it.reason >= 1n && it.reason <= 10n,
  hold: isHold,
  delegated_hold: (it) => isHold(it) && isZero(it.job) && !equal(it.delegate, it.holder),
  account_state: (it) => it.available_micro === 0n || it.overdrawn_micro === 0n,
};

/** Refuses fields that no writer would put together. */
export const requireRules = (kind, fields) =>
  need(RULES[kind]?.(fields) ?? true, "its fields contradict each other", "fields of one record", "others");
