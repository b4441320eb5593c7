// Records as they are signed: specs/records.md §3 and §5.
import { decode } from "./canonical.js";
import { sha256 } from "./digest.js";
import { kindNumber, readFields } from "./layouts.js";
import { ascii, concat } from "./octets.js";
import { requireRules } from "./record_rules.js";
import { need, Refusal } from "./refusal.js";

/** The record of `kind` that these bytes spell, with `kind` and `encoded` beside its fields. */
export const decodeRecord = (encoded, kind) => {
  try {
    const values = decode(encoded);
    const isKind = Array.isArray(values) && values[0] === kindNumber(kind) && values[1] === 1n;
    need(isKind, "its kind is another", `kind ${kindNumber(kind)}, version 1`, "something else");
    const fields = readFields(kind, values.slice(2));
    requireRules(kind, fields);
    return { ...fields, kind, encoded };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    throw new Refusal(`no ${kind.replace("_", " ")}: ${error.message}`, error);
  }
};

/** The number of the kind of record that a value spells; -1 for anything else. */
export const kindOf = (encoded) => {
  try {
    const values = decode(encoded);
    return Array.isArray(values) && typeof values[0] === "bigint" ? values[0] : -1n;
  } catch (error) {
    if (error instanceof Refusal) return -1n;
    throw error;
  }
};

/** What a signature of the record covers, in the ledger of that id. */
export const signingBytes = (record, ledger) =>
  concat(ascii(`creditledger/v1/${record.kind}\0`), ledger, record.encoded);

/** The record's id. */
export const recordDigest = (record, ledger) => sha256(signingBytes(record, ledger));
