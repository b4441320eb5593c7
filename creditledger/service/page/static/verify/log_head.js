// Whether a policy accepts a bundle's checkpoint: specs/log.md §10, specs/bundle.md §2.
import { parseCheckpoint } from "./checkpoint.js";
import { verifyLine } from "./cosignature.js";
import { parseNote } from "./note.js";
import { hex, isAscending } from "./octets.js";
import { NO_QUORUM, quorumTime } from "./quorum.js";
import { need } from "./refusal.js";
import { ED25519 } from "./verifier_key.js";

/** The tree of a checkpoint note, and each line with its key; no signature is verified. */
export const openHead = async (policy, encoded) => {
  const note = parseNote(encoded);
  need(
    isAscending(note.lines.map((line) => line.bytes)),
    "lines of the checkpoint are out of order",
    "ascending lines, each once",
    "others",
  );
  const known = new Map(policy.keys.map((key) => [`${key.id} ${key.name}`, key]));
  need(known.size === policy.keys.length, "two keys of the policy share name and id", "one key each", "two");
  const lines = note.lines.map((line) => ({ ...line, key: known.get(`${line.id} ${line.name}`) }));
  const stranger = lines.find((line) => line.key === undefined);
  need(
    stranger === undefined,
    "the checkpoint carries a line that the policy does not know",
    "lines of the policy's keys",
    stranger?.name,
  );
  need(
    new Set(lines.map((line) => line.key)).size === lines.length,
    "a key signed the checkpoint twice",
    "one line for each key",
    "two",
  );
  return { ...(await parseCheckpoint(note.text)), text: note.text, lines };
};

/** Refuses a head that no log of the policy signed under its own origin, at a size that is the key's. */
export const verifyLog = async (policy, head) => {
  const lines = head.lines.filter((line) => line.key.type === ED25519);
  for (const { key, body } of lines) await verifyLine(key, head.text, body);
  const signers = lines.map((line) => line.key);
  const own = policy.logs.filter((log) => signers.includes(log.key) && log.key.name === head.origin);
  need(
    own.length > 0,
    "its log did not sign the checkpoint",
    `a line by ${policy.logs.map((log) => log.key.name).join(" or ")}`,
    `a checkpoint of ${head.origin}, by ${signers.map((key) => key.name).join(", ") || "no log"}`,
  );
  const covers = ({ sizes }) =>
    sizes === null || (sizes.first <= head.size && (sizes.stop === 0n || head.size < sizes.stop));
  const covering = own.filter(covers);
  need(
    covering.length > 0,
    "the log's key does not sign checkpoints of this size",
    "a size in its range",
    `${head.size}`,
  );
  const isRetired = covering.every((log) => log.sizes !== null && log.sizes.stop > 0n);
  need(
    policy.quorum !== NO_QUORUM || !isRetired,
    "a retired key counts only with a quorum of witnesses",
    "a quorum",
    "none",
  );
  return covering.map((log) => hex(log.key.publicKey));
};

/** Refuses a head without a quorum of witnesses. `time`: since when, in Unix seconds; null where none is asked for.
 *  `isVerified`: whether the quorum is reached by signatures that a browser can verify; `unread`: those it cannot. */
export const verifyWitnesses = async (policy, head) => {
  const [all, verified, unread] = [new Map(), new Map(), []];
  for (const { key, body } of head.lines.filter((line) => line.key.type !== ED25519)) {
    const { time, isVerified } = await verifyLine(key, head.text, body);
    const [name] = [...policy.witnesses].find(([, one]) => one === key);
    all.set(name, time);
    if (isVerified) verified.set(name, time);
    else unread.push(name);
  }
  if (policy.quorum === NO_QUORUM) return { time: null, isVerified: true, names: [...all.keys()], unread };
  const [claimed, time] = [quorumTime(policy, all), quorumTime(policy, verified)];
  need(
    claimed > 0n,
    "the checkpoint lacks a quorum of witnesses",
    `quorum ${policy.quorum}`,
    [...all.keys()].join(", ") || "no cosignature",
  );
  return { time: time > 0n ? time : claimed, claimed, isVerified: time > 0n, names: [...all.keys()], unread };
};

/** Refuses a head that is too old for the policy, or from the future, where `nowUnixMs` tells the time.
 *  Answers whether that rests on what is verified. */
export const verifyAge = (policy, { time, claimed, isVerified }, nowUnixMs) => {
  if (policy.maxAgeMs === null || nowUnixMs === null) return true;
  const found = time === null ? "no cosignature asked for" : `${1_000n * time} ms`;
  const isFresh = (since) => since !== null && distance(BigInt(nowUnixMs), 1_000n * since) <= policy.maxAgeMs;
  need(
    isFresh(time) || (claimed !== undefined && isFresh(claimed)),
    "the checkpoint is not fresh",
    `within ${policy.maxAgeMs} ms of ${nowUnixMs} ms`,
    found,
  );
  return isVerified && isFresh(time);
};

const distance = (left, right) => (left < right ? right - left : left - right);
